# SPDX-License-Identifier: GPL-2.0-or-later
# What the scripts of base/ share: paths, the pin, messages, git without the
# user's settings.  Sourced by bash.

set -euo pipefail

# What other programs say is read here; cd must not search or print.
export LC_ALL=C.UTF-8
unset CDPATH LANGUAGE GREP_OPTIONS

repo=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cache=${XDG_CACHE_HOME:-${HOME:?HOME is not set; set XDG_CACHE_HOME or HOME}/.cache}/qemu-mq
case $cache in /*) ;; *) cache=$PWD/$cache ;; esac
tree=${MQ_TREE:-$repo/build/base}
# shellcheck source=pin
. "$repo/base/pin"

say() {
    printf '%s\n' "$*"
}

# One line that says what went wrong and what to do about it.
die() {
    printf '%s: %s\n' "${0##*/}" "$*" >&2
    exit 1
}

# need_room DIR MIB WHAT: ends unless DIR's file system has MIB mebibytes free.
need_room() {
    local free
    free=$(df -Pm "$1" | awk 'NR == 2 { print $4 }')
    [ "${free:-0}" -ge "$2" ] ||
        die "$3 needs $2 MiB and $1 has ${free:-0} MiB free; free some space"
}

# git in the laid-out tree; the user's and the machine's settings (signing,
# line endings, diff drivers, hooks) must not change what is written there.
tree_git() {
    env -u GIT_DIR -u GIT_WORK_TREE -u GIT_INDEX_FILE \
        GIT_CONFIG_GLOBAL=/dev/null GIT_CONFIG_NOSYSTEM=1 GIT_TEMPLATE_DIR= git -C "$tree" \
        -c core.hooksPath=/dev/null \
        -c user.name=qemu-mq -c user.email=qemu-mq@localhost \
        -c core.autocrlf=false -c gc.auto=0 "$@"
}
