# SPDX-License-Identifier: GPL-2.0-or-later
# A guest that writes a disk with fio through all of its queues and verifies it: fio-verify.sh.

import collections
import json
import os
from pathlib import Path

import initramfs
from errors import Error, GuestError, Mismatch
from queues import Counters, expect
from vm import comma

QUEUES = 2
AREA = 32 << 20                             # two for each queue, see fio-verify.sh
DEVICE = "disk0"
SCRIPT = Path(__file__).parent / "fio-verify.sh"


class Disk:
    """A raw image, used with O_DIRECT where its file system takes that."""

    def __init__(self, path):
        """Makes the image, empty, unless it is there."""
        self.path = Path(path)
        self.size = 2 * QUEUES * AREA
        if not self.path.exists():
            with open(path, "wb") as image:
                image.truncate(self.size)
        if self.path.stat().st_size != self.size:
            raise Error(f"{path} is not a disk of this test, which has {self.size >> 20} MiB; "
                        "name a file that does not exist, to have it made")
        try:
            os.close(os.open(path, os.O_RDWR | os.O_DIRECT))
            self.direct = "on"
        except OSError:
            self.direct = "off"

    def __str__(self):
        return f"raw, {self.size >> 20} MiB, aio=io_uring, cache.direct={self.direct}"


class Run:
    """What was seen of one guest: .queues, and by pass .requests and fio's .figures."""

    def __init__(self):
        self.queues = []
        self.requests = {}
        self.figures = {}
        self.ways = None            # see Counters
        self.fast_path = False


def make_initramfs(host):
    path = host.work / "initramfs"
    initramfs.build(path, host.kernel, SCRIPT, modules=("virtio_pci", "virtio_blk"),
                    programs=("fio",))
    return path


def run(host, name, image, disk, passes=("write", "verify"), environment=None):
    """Boot a guest for these passes over the disk; raises GuestError unless all is well."""
    environment = {"PASSES": ",".join(passes), **(environment or {})}
    affinity = host_cpus(host)
    with host.vm(name, initramfs=image, cpus=QUEUES, environment=environment,
                 args=device_args(disk, affinity)) as guest:
        result = Passes(guest, affinity).follow(passes)
    check(result)
    return result


def host_cpus(host):
    """The host processor for each queue's IOThread, or nothing."""
    cpus = sorted(os.sched_getaffinity(0))
    if not host.arguments.affinity or len(cpus) < 2:
        return []
    return [cpus[i % len(cpus)] for i in range(QUEUES)]


def device_args(disk, affinity):
    args = []
    for i in range(QUEUES):
        bound = f",cpu-affinity={affinity[i]}" if affinity else ""
        args += ["-object", f"iothread,id=io{i}{bound}"]
    args += ["-blockdev", f"driver=file,node-name=file,filename={comma(disk.path)},aio=io_uring,"
             f"cache.direct={disk.direct}",
             "-blockdev", f"driver=raw,node-name=disk,file=file,cache.direct={disk.direct}",
             "-device", json.dumps({
                 "driver": "virtio-blk-pci", "id": DEVICE, "drive": "disk", "num-queues": QUEUES,
                 "iothread-vq-mapping": [{"iothread": f"io{i}", "vqs": [i]}
                                         for i in range(QUEUES)]})]
    return args


class Passes:
    """Follows the guest's messages, one method a message."""

    def __init__(self, guest, affinity):
        self._guest = guest
        self._affinity = affinity
        self._files = {}
        self._queue_of = {}         # the queue of each of the guest's processors
        self._run = Run()

    def follow(self, passes):
        while True:
            word, rest = self._guest.message()
            if word == "exit":
                self._exit(int(rest))
                return self._run
            if word == "file":
                self._files[rest[0]] = rest[1]
            elif word == "queue":
                number, cpus = rest.split()
                self._queue_of.update({int(cpu): int(number) for cpu in cpus.split(",")})
            elif word == "start":
                self._start(int(rest))
            elif word in passes:
                self._end_pass(word, int(rest))
            else:
                raise GuestError(f"the guest said something unexpected: {word} {rest}")

    def _start(self, flushes):
        self._counters = Counters(self._guest.qmp, DEVICE)
        self._run.queues = self._counters.queues
        self._run.up = self._guest.age()
        if set(self._queue_of.values()) != {queue.number for queue in self._run.queues}:
            raise Mismatch(f"the guest uses the queues {sorted(set(self._queue_of.values()))} of "
                           f"{len(self._run.queues)}")
        self._counters.start(flushes)
        self._guest.answer()

    def _end_pass(self, name, flushes):
        jobs = fio_jobs(self._files[name])
        done = {kind + "s": sum(job[kind]["total_ios"] for job in jobs)
                for kind in ("read", "write")}
        by_queue = collections.Counter()
        for job in jobs:
            queue = self._queue_of[int(job["job options"]["cpus_allowed"])]
            by_queue[queue] += job["read"]["total_ios"] + job["write"]["total_ios"]
        self._run.requests[name] = self._counters.end_pass(name, flushes, done, by_queue)
        self._run.figures[name] = jobs
        self._counters.look_at_ways()
        self._run.ways, self._run.fast_path = self._counters.ways, self._counters.fast_path
        for i, queue in enumerate(self._run.queues):
            queue.look(self._guest.pid)
            if self._affinity:
                expect(f"the processors that IOThread {queue.iothread} is bound to, as asked for "
                       "and as QEMU says", [self._affinity[i]], queue.affinity)
                expect(f"the processors that IOThread {queue.iothread} is bound to, as asked for "
                       "and as the host's kernel says", str(self._affinity[i]), queue.allowed)
        self._guest.answer()

    def _exit(self, status):
        if "fio-errors" in self._files:
            raise GuestError("fio in the guest: " + self._files["fio-errors"].strip())
        self._guest.finish(status)


def check(result):
    """A run that ended well must have used what it is there to show."""
    for queue in result.queues:
        for name, served in queue.served.items():
            if not served:
                raise GuestError(f"queue {queue.number} ({queue.iothread}) served no request in "
                                 f"the {name} pass")
    if "write" in result.requests and not result.requests["write"]["flushes"]:
        raise GuestError("the write pass made no flush")
    if result.fast_path and not result.ways["fast"]:
        raise GuestError("the fast path is open, and no request took it")


def fio_jobs(text):
    # fio may say something before its JSON begins.
    return json.loads(text[text.index("{"):])["jobs"]
