# SPDX-License-Identifier: GPL-2.0-or-later
# The hooks as patches/ holds them and as commits of the laid-out tree: apply,
# export, compare.  Sourced after lib.sh.
#
# A hook's file is the commit's message and its diff, with one line of context
# and nothing that differs between two machines: no hash, date, mode or function
# name.  In the tree the trailer "Hook:" of a commit names its file.

patches=$repo/patches

# series_names: the hooks' names (TOPIC/NAME) in order.
series_names() {
    cat "$patches/series"
}

# series_check: ends unless the series and every file that it names are there.
series_check() {
    local name
    [ -s "$patches/series" ] || die "patches/series is missing or empty; restore it" \
        "(git checkout patches)"
    for name in $(series_names); do
        [ -e "$patches/$name.patch" ] || die "patches/series names $name and" \
            "patches/$name.patch is missing; restore it or drop the line"
    done
}

# series_digest: one word for the content of the whole series.
series_digest() {
    local name
    for name in $(series_names); do
        printf '%s\n' "$name"
        cat "$patches/$name.patch"
    done | sha256sum | cut -d ' ' -f 1
}

# series_apply: commit every hook onto the tree.  Context must match exactly (git
# apply knows no fuzz).  One line of context may match elsewhere too, so on the
# pinned version a hook must stand where it says, and on another 10.0.z it is said
# when one has moved.
series_apply() {
    local name file error
    for name in $(series_names); do
        file=$patches/$name.patch
        if ! error=$(tree_git apply -v --index --whitespace=nowarn -p1 "$file" 2>&1); then
            die "hook patches/$name.patch does not apply to QEMU $(cat "$tree/VERSION"):" \
                "$(sed -n 's/^error: patch failed: //p;s/^error: \(.*does not exist.*\)/\1/p' \
                    <<<"$error" | sed -n 1p);" \
                "correct it (docs/developing.md) or set QEMU_SOURCE to QEMU $version"
        fi
        if grep -q '(offset' <<<"$error"; then
            [ "$(cat "$tree/VERSION")" != "$version" ] ||
                die "hook patches/$name.patch does not stand at the lines that it names;" \
                    "correct it in build/base and run 'make hooks'"
            say "base: hook patches/$name.patch has moved with this version: see that it" \
                "is in the right place (git -C build/base log -p)" >&2
        fi
        {
            sed '/^--- a\//,$d' "$file"
            printf '\nHook: %s\n' "$name"
        } | tree_git commit -q --no-verify --cleanup=strip -F -
    done
}

# hook_text COMMIT: what a hook's file holds for this commit.
hook_text() {
    tree_git log -1 --format=%B "$1" | sed '/^Hook: /d' | sed -e :a -e '/^\n*$/{$d;N;ba' -e '}'
    printf '\n'
    tree_git diff-tree -p -U1 --no-renames --no-color --no-ext-diff --no-textconv \
        --diff-algorithm=myers --inter-hunk-context=0 \
        --src-prefix=a/ --dst-prefix=b/ "$1^" "$1" |
    sed -E '/^(diff --git|index) /d; s/^(@@ [^@]* @@).*/\1/'
}

# hook_name COMMIT: from the trailer, else from the subject: "room: what it
# hooks" is room/what-it-hooks.
hook_name() {
    local name subject
    name=$(tree_git log -1 --format=%B "$1" | sed -n 's/^Hook: //p')
    if [ -z "$name" ]; then
        subject=$(tree_git log -1 --format=%s "$1" | tr '[:upper:]' '[:lower:]')
        case $subject in
        *': '*) ;;
        *) die "the subject of commit '$subject' names no room; write 'room: what it hooks'" \
               "(git -C build/base commit --amend)" ;;
        esac
        name=$(sed -E 's/[^a-z0-9]+/-/g; s/^-|-$//g' <<<"${subject%%: *}")/$(
            sed -E 's/[^a-z0-9]+/-/g; s/^-|-$//g' <<<"${subject#*: }")
    fi
    printf '%s\n' "$name"
}

# series_export DIR: write the tree's commits as a series into DIR.
series_export() {
    local commit name foreign
    mkdir -p "$1"
    : > "$1/series"
    for commit in $(tree_git rev-list --reverse base..hooks); do
        name=$(hook_name "$commit")
        foreign=$(tree_git diff-tree -r --no-renames --name-only --diff-filter=ADT \
            "$commit^" "$commit" | sed -n 1p)
        [ -z "$foreign" ] || die "hook $name adds or removes $foreign: a hook only changes" \
            "a line or two of the base; a new source belongs into this repository"
        ! grep -qx "$name" "$1/series" || die "two commits in build/base are called $name;" \
            "reword one or join them (git -C build/base rebase -i base)"
        mkdir -p "$1/$(dirname "$name")"
        hook_text "$commit" > "$1/$name.patch"
        printf '%s\n' "$name" >> "$1/series"
    done
}

# series_exported: true when nothing in the tree would be lost with it: its commits
# are what was laid out or last exported, with no edit, stash or branch beside them.
series_exported() {
    [ -z "$(tree_git status --porcelain 2>/dev/null)" ] &&
    [ "$(tree_git symbolic-ref --short -q HEAD)" = hooks ] &&
    [ "$(tree_git rev-parse hooks 2>/dev/null)" = "$(cat "$tree/.git/mq-hooks" 2>/dev/null)" ] &&
    [ -z "$(tree_git for-each-ref --format='%(refname)' |
        grep -vxE 'refs/(heads/(pristine|hooks)|tags/base)')" ]
}

# series_mark: the tree is now what patches/ lays out.
series_mark() {
    series_digest > "$tree/.git/mq-series"
    tree_git rev-parse hooks > "$tree/.git/mq-hooks"
}
