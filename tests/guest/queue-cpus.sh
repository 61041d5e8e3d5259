# SPDX-License-Identifier: GPL-2.0-or-later
# Says which processors use each queue of the disk.

. /mq/guest.sh
for queue in /sys/block/vda/mq/*; do
    say queue "${queue##*/}" "$(tr -d ' ' < "$queue/cpu_list")"
done
