#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-or-later
# The guest's part in the tests of libvirt: load of a disk with verification.
#
#   load keep DISK     write the first 8 MiB
#   load kept DISK     verify them
#   load start DISK    go on writing and verifying behind them, on each processor, in the background
#   load rounds DISK   how many rounds of that have ended; fails if one did
#   load more DISK     wait for two more rounds, so that one was begun after now
#   load stop DISK     end it; fails as `rounds` does

set -eu
verb=$1 disk=$2
state=/tmp/load.$disk
export PATH=/bin

# run_fio OPTION...: says what went wrong
run_fio() {
    log=$state.$verb.log
    fio --eta=never --filename="/dev/$disk" --direct=1 --thread=1 --ioengine=io_uring \
        --verify=crc32c --verify_fatal=1 "$@" < /dev/null > "$log" 2>&1 || {
        grep -m 3 -e verify: -e error "$log" || tail -n 5 "$log"
        return 1
    }
}

kept() {
    run_fio --name=kept --offset=0 --size=8m --bs=64k --iodepth=8 --rw="$1" --do_verify=0
}

round() {
    run_fio --randseed="$1" --bs=4k --iodepth=16 --rw=randwrite --size=1m --fsync=64 \
        --do_verify=1 --name=queue0 --offset=8m --cpus_allowed=0 \
        --name=queue1 --offset=12m --cpus_allowed=1
}

rounds() {
    number=0
    while [ ! -e "$state.stop" ]; do
        number=$((number + 1))
        round $number > "$state.said" || { mv "$state.said" "$state.failed"; break; }
        echo $number > "$state.new"
        mv "$state.new" "$state.rounds"
    done
    touch "$state.ended"
}

# said: the rounds that have ended
said() {
    [ ! -e "$state.failed" ] || { cat "$state.failed"; return 1; }
    cat "$state.rounds"
}

case $verb in
keep) kept write ;;
kept) kept read ;;
start)
    rm -f "$state".*
    echo 0 > "$state.rounds"
    # of a function alone ash keeps the caller's descriptors open, and who reads them waits
    (exec < /dev/null > /dev/null 2>&1; rounds) &
    ;;
rounds) said ;;
more)
    enough=$(($(said) + 2))
    while [ "$(said)" -lt $enough ]; do sleep 0.1; done
    ;;
stop)
    touch "$state.stop"
    while [ ! -e "$state.ended" ]; do sleep 0.1; done
    said
    ;;
esac
