# SPDX-License-Identifier: GPL-2.0-or-later
# Counts what each queue of a virtio-blk device served, and holds the counts against each other.
#
# A queue's figure is the used index of its ring, which moves by one for each request that the
# device has finished. It has 16 bits; a pass of less than 65536 requests a queue is told apart
# from any other by the sum that must come out.

import re
from pathlib import Path

from errors import Mismatch
from qmp import QmpError


class Queue:
    """A virtqueue and the IOThread that serves it, as QEMU says."""

    def __init__(self, number, iothread):
        self.number = number
        self.iothread = iothread["id"]
        self.thread_id = iothread["thread-id"]
        self.affinity = iothread.get("cpu-affinity")    # None when the base is run
        self.served = {}                                # by pass

    def total(self):
        return sum(self.served.values())

    def look(self, pid):
        """See which processors the IOThread may run on, and on which it ran last."""
        task = Path(f"/proc/{pid}/task/{self.thread_id}")
        self.allowed = re.search(r"^Cpus_allowed_list:\s*(\S+)",
                                 (task / "status").read_text(), re.M).group(1)
        # The name, in parentheses, may have spaces; the processor is field 39.
        self.last_cpu = int((task / "stat").read_text().rpartition(")")[2].split()[36])


class Counters:
    """The counters of the device with this id, over one pass after the other."""

    def __init__(self, qmp, device):
        self._qmp = qmp
        self._device = device
        self._path = f"/machine/peripheral/{device}/virtio-backend"
        threads = {thread["id"]: thread for thread in qmp.command("query-iothreads")}
        mapping = qmp.command("qom-get", {"path": f"/machine/peripheral/{device}",
                                          "property": "iothread-vq-mapping"})
        self.queues = sorted((Queue(number, threads[entry["iothread"]])
                              for entry in mapping for number in entry["vqs"]),
                             key=lambda queue: queue.number)
        self._last = None
        self.ways = None        # of all passes: fast and ordinary requests; None with the base
        self.fast_path = False

    def start(self, guest_flushes):
        """Take the counters; the guest is waiting, and has flushed so often since it started."""
        self._last = self._take(guest_flushes)

    def end_pass(self, name, guest_flushes, fio, fio_by_queue):
        """Add a pass, after which the guest is waiting; raises Mismatch if counters disagree.

        `fio` are fio's reads and writes, and `fio_by_queue` those of the processors whose queue
        it is, {queue: requests}. Returns the requests of the pass by kind.
        """
        before, self._last = self._last, self._take(guest_flushes)
        served, qemu, flushes = (difference(was, now) for was, now in zip(before, self._last))
        expect(f"requests in the {name} pass, as counted by fio and the guest's kernel and by "
               "QEMU's block statistics", {**fio, **flushes}, qemu)
        served = {number: count % 65536 for number, count in served.items()}
        expect(f"requests in the {name} pass, as the sum of the queues' used indexes and of "
               "QEMU's block statistics", sum(served.values()), sum(qemu.values()))
        for queue in self.queues:
            queue.served[name] = served[queue.number]
            if served[queue.number] < fio_by_queue.get(queue.number, 0):
                # More is right: the flushes. Fewer means that another queue was used.
                raise Mismatch(f"queue {queue.number} served {served[queue.number]} requests in "
                               f"the {name} pass, and fio made {fio_by_queue[queue.number]} on "
                               "its processors")
        return qemu

    def look_at_ways(self):
        """See which way the requests went; raises Mismatch if that is not all of them."""
        try:
            devices = self._qmp.command("query-block-queues")
        except QmpError:
            return              # the base
        one, = (one for one in devices if one.get("qdev") == self._path)
        self.fast_path = one["fast-path"]
        self.ways = {way: sum(queue[kind][f"{way}-requests"] for queue in one["queues"]
                              for kind in ("read", "write", "flush")
                              if queue.get("iothread") != "main-loop")   # QEMU's own
                     for way in ("fast", "ordinary")}
        stats = self._statistics()
        # what the device merged was submitted as one
        expect("requests as counted by query-block-queues and by QEMU's block statistics",
               sum(self.ways.values()),
               sum(stats[f"{kind}_operations"] - stats.get(f"{kind}_merged", 0)
                   for kind in ("rd", "wr", "flush")))

    def _take(self, guest_flushes):
        # The guest sees a request finished before QEMU has counted it. Stopping drains the
        # device, so that an IOThread that was held up just there has gone on.
        self._qmp.command("stop")
        taken = self._used(), self._block_statistics(), {"flushes": guest_flushes}
        self._qmp.command("cont")
        return taken

    def _used(self):
        used = {}
        for queue in self.queues:
            status = self._qmp.command("x-query-virtio-queue-status",
                                       {"path": self._path, "queue": queue.number})
            expect(f"requests in flight on queue {queue.number} while the guest waits",
                   status["inuse"], 0)
            used[queue.number] = status["used-idx"]
        return used

    def _block_statistics(self):
        stats = self._statistics()
        for kind in ("rd", "wr", "flush", "unmap"):
            expect(f"failed or invalid {kind} operations",
                   stats[f"failed_{kind}_operations"] + stats[f"invalid_{kind}_operations"], 0)
        return {"reads": stats["rd_operations"], "writes": stats["wr_operations"],
                "flushes": stats["flush_operations"]}

    def _statistics(self):
        for block in self._qmp.command("query-blockstats"):
            if block.get("qdev", "").startswith(f"/machine/peripheral/{self._device}/"):
                return block["stats"]
        raise Mismatch(f"QEMU has no block statistics for {self._device}")


def difference(was, now):
    return {key: now[key] - was[key] for key in now}


def expect(what, one, other):
    if one != other:
        raise Mismatch(f"{what}: {one} and {other} should be equal")
