# SPDX-License-Identifier: GPL-2.0-or-later
# Enter this repository into a laid-out base tree, by links.  Sourced after
# lib.sh.
#
# mq            -> the repository: meson.build enters it with subdir('mq')
# qapi/X.json   -> qapi/X.json here: the schema generator makes a module's files
#                  beside the main schema's only for modules of that folder
# qapi/mq       -> qapi here: its meson.build names our modules

# graft_links: the links' paths in the base tree, a line each.
graft_links() {
    local schema
    printf '%s\n' mq qapi/mq
    for schema in "$repo"/qapi/*.json; do
        [ ! -e "$schema" ] || printf 'qapi/%s\n' "${schema##*/}"
    done
}

# graft TREE: makes the links, which git there does not see; leaves right ones
# alone.
graft() {
    local link target
    mkdir -p "$1/.git/info"
    { printf '/roms/\n'; graft_links | sed 's|^|/|'; } > "$1/.git/info/exclude"
    for link in $(graft_links); do
        case $link in
        mq) target=$repo ;;
        qapi/mq) target=$repo/qapi ;;
        *) target=$repo/$link ;;
        esac
        target=$(realpath -m --relative-to="$1/$(dirname "$link")" "$target")
        [ "$(readlink "$1/$link" || true)" = "$target" ] && continue
        if [ -e "$1/$link" ] && [ ! -L "$1/$link" ]; then
            die "the base has its own $link; give the file of this repository another name"
        fi
        ln -sfn "$target" "$1/$link"
    done
}
