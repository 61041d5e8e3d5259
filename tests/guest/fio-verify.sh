# SPDX-License-Identifier: GPL-2.0-or-later
# The demo's part in the guest: fio writes a disk through all of its queues, and reads it back.
#
# From the environment, which is the kernel's command line:
#   PASSES  comma-separated: write, verify
#   CPUS    the processors fio is to run on, comma-separated; by default one for each queue
#
# Each pass is a fio process of its own. In the second one every area is read by the processor
# after the one that wrote it, so through another queue.

. /mq/guest.sh
disk=vda
[ -b /dev/$disk ] || { echo "there is no /dev/$disk" >&2; exit 1; }

# Without merging, one request of fio's is one request on the queue.
echo 2 > /sys/block/$disk/queue/nomerges

queue_cpus=
for queue in $(cd /sys/block/$disk/mq && echo *); do
    list=$(tr -d ' ' < /sys/block/$disk/mq/"$queue"/cpu_list)
    say queue "$queue" "$list"
    queue_cpus="$queue_cpus,${list%%[,-]*}"
done
[ -n "${CPUS-}" ] || CPUS=${queue_cpus#,}

# The flushes that the kernel has completed. (It makes one of those that fio asks for together.)
flushes() {
    awk '{ print $16 }' /sys/block/$disk/stat
}

# area CPU OPTION...: the next 32 MiB of the disk
area() {
    echo "[area$number]"
    echo "offset=$((number * 32))m"
    echo "cpus_allowed=$1"
    shift
    printf '%s\n' "$@"
    number=$((number + 1))
}

# jobs PASS CPU...: fio's job file, with two areas for each processor
jobs() {
    cat <<END
[global]
filename=/dev/$disk
direct=1
ioengine=io_uring
iodepth=16
thread=1
verify=crc32c
verify_fatal=1
percentile_list=50:99
END
    case $1 in
        write)  printf '%s\n' rw=randwrite do_verify=0 fsync=256 end_fsync=1 ;;
        verify) echo rw=randread ;;
    esac
    shift
    number=0
    for cpu; do
        area "$cpu" bs=4k size=16m
        area "$cpu" bs=64k size=32m
    done
}

ask start "$(flushes)"
for pass in $(echo "$PASSES" | tr , ' '); do
    # shellcheck disable=SC2046 # words are wanted
    set -- $(echo "$CPUS" | tr , ' ')
    if [ "$pass" = verify ]; then
        first=$1
        shift
        set -- "$@" "$first"
    fi
    jobs "$pass" "$@" > /tmp/jobs
    echo 3 > /proc/sys/vm/drop_caches
    failed=0
    fio --eta=never --output-format=json --output=/tmp/result /tmp/jobs \
        < /dev/null > /dev/null 2> /tmp/errors || failed=$?
    cat /tmp/errors >&2
    [ $failed = 0 ] || { show fio-errors /tmp/errors; exit $failed; }
    show "$pass" /tmp/result
    ask "$pass" "$(flushes)"
done
