# SPDX-License-Identifier: GPL-2.0-or-later
# A guest that writes and verifies without an end, while the test asks it how far it is.
#
# The first 16 MiB of the disk are written once. On each processor, and so on each queue, fio then
# writes 1 MiB at random and verifies them, round after round, each with contents of its own.
# Answers: "rounds": how many have ended, or "failed"; "kept": whether the first 16 MiB hold what
# was written; "stop": the end.

. /mq/guest.sh
disk=/dev/vda

# run_fio OPTION...
run_fio() {
    fio --eta=never --output=/tmp/result --filename=$disk --direct=1 --ioengine=io_uring \
        --thread=1 --verify=crc32c --verify_fatal=1 "$@" < /dev/null >&2
}

kept() {
    run_fio --name=kept --offset=0 --size=16m --bs=64k --iodepth=8 --rw="$1" --do_verify=0
}

rounds() {
    round=0
    while [ ! -e /tmp/stop ]; do
        run_fio --randseed="$((round + 1))" --bs=4k --iodepth=16 --rw=randwrite --size=1m \
            --fsync=64 --do_verify=1 \
            --name=queue0 --offset=16m --cpus_allowed=0 --name=queue1 --offset=24m --cpus_allowed=1
        round=$((round + 1))
        echo $round > /tmp/rounds.new
        mv /tmp/rounds.new /tmp/rounds
    done
}

echo 0 > /tmp/rounds
kept write
{ rounds || { cat /tmp/result >&2; echo failed > /tmp/rounds; }; } &
ask ready
while [ "$answer" != stop ]; do
    case $answer in
    rounds) ask rounds "$(cat /tmp/rounds)" ;;
    kept) kept read && status=0 || status=$?; ask kept $status ;;
    *) echo "unknown: $answer" >&2; exit 1 ;;
    esac
done
touch /tmp/stop
wait
[ "$(cat /tmp/rounds)" != failed ]
kept read
