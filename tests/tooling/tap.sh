# SPDX-License-Identifier: GPL-2.0-or-later
# TAP for the shell tests: each promise is a function that is run in a subshell;
# what it printed is shown when it fails.  Sourced by bash.

set -u
unset CDPATH
repo=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
tap_count=0 tap_failed=0

# promise FUNCTION: a return of 77 is a skip, whose reason is the last line.
promise() {
    local output status
    tap_count=$((tap_count + 1))
    output=$(set -e; "$1" 2>&1)
    status=$?
    case $status in
    0) echo "ok $tap_count - $1" ;;
    77) echo "ok $tap_count - $1 # SKIP $(tail -n 1 <<<"$output")" ;;
    *)
        echo "not ok $tap_count - $1"
        sed 's/^/# /' <<<"$output"
        tap_failed=1
        ;;
    esac
}

tap_end() {
    echo "1..$tap_count"
    exit $tap_failed
}

# refused WORDS COMMAND...: the command fails with one line that holds WORDS.
refused() {
    local words=$1 output
    shift
    if output=$("$@" 2>&1 >/dev/null); then
        echo "succeeded: $*"
        return 1
    fi
    if [ "$(grep -c . <<<"$output")" != 1 ] || ! grep -qF -- "$words" <<<"$output"; then
        printf 'expected one line with "%s", got:\n%s\n' "$words" "$output"
        return 1
    fi
}
