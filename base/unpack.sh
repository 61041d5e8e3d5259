# SPDX-License-Identifier: GPL-2.0-or-later
# Unpack what base/fetch answered.  Sourced after lib.sh.

# unpack SOURCE DIR: a tree, a tarball or a .dsc, as a pristine tree in DIR.
unpack() {
    local source=$1 dir=$2 log=$2.log
    if [ -d "$source" ]; then
        mkdir "$dir"
        tar -C "$source" --exclude=./.git --exclude=./build -cf - . | tar -C "$dir" -xf - ||
            die "cannot copy $source to $dir"
        return
    fi
    case $source in
    *.dsc)
        dpkg-source --no-copy -x "$source" "$dir" >"$log" 2>&1 ||
            die "dpkg-source cannot unpack $source ($(tail -n 1 "$log"));" \
                "remove $(dirname "$source") to fetch it again"
        ;;
    *)
        mkdir "$dir"
        tar -C "$dir" --strip-components=1 -xf "$source" 2>"$log" ||
            die "QEMU_SOURCE=$source is no tarball that tar can unpack" \
                "($(tail -n 1 "$log"))"
        ;;
    esac
    rm -f "$log"
}
