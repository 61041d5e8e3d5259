/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What --help prints: every option, the keys of the JSON, the exit status.
 */
#include "util.h"
#include "help.h"
#include "report.h"
#include <stdio.h>

static const char help[] =
"Usage: ringload (--vhost-user SOCKET | --qtest SOCKET --mem FILE |\n"
"                 --self[=MODE]) [OPTION]...\n"
"Drives the virtqueues of a block device from outside, one thread a queue.\n"
"\n"
"The server:\n"
"  --vhost-user SOCKET   any vhost-user-blk server, listening on SOCKET\n"
"  --qtest SOCKET        virtio-blk-pci of a QEMU without a guest, whose memory\n"
"  --mem FILE            is FILE. Such a QEMU is started so (ringload connects):\n"
"      qemu-system-x86_64 -M q35,memory-backend=mem -m 256M \\\n"
"        -object memory-backend-file,id=mem,size=256M,mem-path=FILE,share=on \\\n"
"        -accel qtest -qtest unix:SOCKET,server=on,wait=off -qtest-log none \\\n"
"        -display none -nodefaults -object iothread,id=io0 -blockdev ... \\\n"
"        -device virtio-blk-pci,disable-legacy=on,drive=...,iothread=io0\n"
"  --self[=MODE]         a server in ringload itself: null (the default) answers\n"
"                        at once and shows what the generator can do; memory\n"
"                        stores data; corrupt:KIND does so but errs, KIND being\n"
"                        data, lost, stale, place, status, length, id, twice,\n"
"                        silent, mute or death (corrupt alone is corrupt:data)\n"
"  --self-cpus LIST      CPUs of its threads, one thread each (default: one\n"
"                        thread, anywhere); queue i is served by thread i mod n\n"
"  --self-size BYTES     its disk (default 1G)\n"
"  --corrupt-every N     every which request it errs on (default 100)\n"
"\n"
"The load:\n"
"  --queues N            (default 1); each works in a part of the disk of its own\n"
"  --cpus LIST           CPUs of the queues' threads, such as 1-3,5\n"
"  --depth N             requests in flight on each queue (default 1)\n"
"  --block-size BYTES    (default 4K); sizes take the suffixes K, M and G\n"
"  --size BYTES          use only the start of the disk\n"
"  --rw HOW              read, write, randread (the default), randwrite or mix\n"
"  --read-percent P      share of reads in a mix (default 50)\n"
"  --flush-every N       a flush after every N writes\n"
"  --runtime S           seconds measured (default 5)\n"
"  --warmup S            seconds before that (default 1)\n"
"  --requests N          end after N requests a queue instead; no warm-up\n"
"  --think-time US       us between a completion and the next request in\n"
"                        its place (default 0): lets the server fall asleep at\n"
"                        depth 1, which a fast generator may never let it\n"
"  --seed N              of the random offsets (default 1)\n"
"\n"
"Verification:\n"
"  --verify              every 512 bytes written say where, when and by which\n"
"                        queue; what is read is compared with what was last\n"
"                        written, if by this run; at the end all that was\n"
"                        written is read again\n"
"  --prefill             write every block first, so that every read is checked\n"
"  --no-read-back        leave the reading at the end out\n"
"\n"
"The ring:\n"
"  --completion HOW      poll (the default), or eventfd: sleep until called; then\n"
"                        completions without their interrupt are an error\n"
"  --kick HOW            auto (the default): when the server asks for it; always;\n"
"                        ioeventfd: as auto, with --qtest not through the socket,\n"
"                        but by the device's eventfd, as KVM does for a guest;\n"
"                        the device is not to be stopped meanwhile\n"
"  --ring-size N         entries, a power of two (default: what depth needs)\n"
"  --indirect            indirect descriptors, even where the ring has room\n"
"  --no-indirect         never\n"
"  --no-event-idx        do not negotiate VIRTIO_RING_F_EVENT_IDX\n"
"  --timeout S           a queue that completes nothing for so long is an error\n"
"                        (default 30)\n"
"\n"
"Output:\n"
"  --json FILE           the results as JSON (- for stdout, without the table)\n"
"  --help\n"
"\n";

static const char help_end[] =
"\n"
"Exit status: 0 success; 1 usage, no server or server gone; 2 wrong data, an\n"
"I/O error, a broken ring or a request without an answer.\n";

void help_print(void)
{
    fputs(help, stdout);
    fputs(report_help, stdout);
    fputs(help_end, stdout);
}
