# SPDX-License-Identifier: GPL-2.0-or-later
# The storage daemon under the sanitizers, for tests of it that MQ_DAEMON has use another.

daemon=storage-daemon/qemu-storage-daemon
log=$work/report
export MQ_STRESS_SECONDS=${MQ_STRESS_SECONDS:-3}

daemons_build() {
    "$repo/base/sanitized" threads "$daemon"
    "$repo/base/sanitized" memory "$daemon"
}

# under KIND COMMAND...: fails as the test does, or with what a sanitizer has found, in daemons that
# are killed too. All that a daemon has lost it says when it ends of itself, as in stress/test-export.
under() {
    local build=$repo/build/sanitized/$1 status=0
    shift
    MQ_DAEMON=$build/$daemon \
        ASAN_OPTIONS="exitcode=66 detect_leaks=1 log_path=$log" \
        UBSAN_OPTIONS="halt_on_error=1 print_stacktrace=1" \
        TSAN_OPTIONS="exitcode=66 log_path=$log suppressions=$repo/tests/sanitizer/base-races" \
        "$@" || status=1
    if grep -qs SUMMARY: "$log".*; then
        cat "$log".*
        status=1
    fi
    rm -f "$log".*
    return $status
}

# Address space randomisation of new kernels does not leave this one room.
races() { under threads setarch -R "$@"; }
memory() { under memory "$@"; }
