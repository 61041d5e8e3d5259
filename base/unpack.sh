# SPDX-License-Identifier: GPL-2.0-or-later
# Name and unpack what base/fetch answered.  Sourced after lib.sh.
#
# A source is known by an id: "pin VERSION DIGEST PATH" for the pinned package,
# "given SIZE DATE PATH" for what QEMU_SOURCE names.

# source_id PATH
source_id() {
    if [ -n "${QEMU_SOURCE:-}" ]; then
        printf 'given %s %s\n' "$(stat -c '%s %Y' "$1")" "$1"
    else
        printf 'pin %s %s %s\n' "$version" "$sha256" "$1"
    fi
}

# path_of ID
path_of() {
    cut -d ' ' -f 4- <<<"$1"
}

# unpack SOURCE DIR: a tree, a tarball or a .dsc, as a pristine tree in DIR.
unpack() {
    local source=$1 dir=$2 log=$2.log
    if [ -d "$source" ]; then
        mkdir "$dir"
        tar -C "$source" --exclude=./.git --exclude=./build -cf - . | tar -C "$dir" --no-same-owner -xf - ||
            die "cannot copy $source to $dir"
        return
    fi
    case $source in
    *.dsc)
        dpkg-source --no-copy -x "$source" "$dir" >"$log" 2>&1 ||
            die "dpkg-source cannot unpack $source ($(tail -n 1 "$log"));" \
                "run ./configure to fetch it again"
        ;;
    *)
        mkdir "$dir"
        tar -C "$dir" --no-same-owner --strip-components=1 -xf "$source" 2>"$log" ||
            die "QEMU_SOURCE=$source is no tarball that tar can unpack" \
                "($(tail -n 1 "$log"))"
        ;;
    esac
    rm -f "$log"
}
