# SPDX-License-Identifier: GPL-2.0-or-later
# Collects what a program and the host's kernel tell at one moment.

import time
from dataclasses import dataclass, field

from . import histograms, threads
from .names import short
from .qmp import Missing


@dataclass
class Answer:
    """What a command returned, and when; `value` is None where the program does not have it."""
    value: list
    at: float


@dataclass
class Sample:
    queues: Answer
    stats: Answer
    exports: Answer
    iothreads: Answer
    times: dict = field(default_factory=dict)       # threads.Times by thread


class Collector:
    """Samples of one program, by a monitor: qmp.Socket or libvirt.Domain."""

    def __init__(self, monitor):
        self._monitor = monitor
        self._missing = set()
        self.pid = None
        self.busy = False       # a question is without an answer still: nobody may ask another
        version = monitor.command("query-version")
        number = ".".join(str(version["qemu"][part]) for part in ("major", "minor", "micro"))
        self.program = f"QEMU {number} ({version['package'] or 'no package'})"
        self.target = monitor.target

    def sample(self):
        stats = self._ask("query-blockstats")
        exports = self._ask("query-block-exports")
        queues = self._ask("query-block-queues")
        iothreads = self._ask("query-iothreads")
        found = Sample(queues, stats, exports, iothreads)
        own = [thread["thread-id"] for thread in iothreads.value or []]
        if self.pid is None:
            self.pid = self._process(own)
        if self.pid is not None:
            found.times = {thread: threads.times(self.pid, thread) for thread in [self.pid, *own]}
        return found

    def _process(self, own):
        if not own and self._monitor.process(None) is None:
            own = [cpu["thread-id"] for cpu in self._ask("query-cpus-fast").value or []]
        return self._monitor.process(own[0] if own else None)

    def _ask(self, name):
        value = None
        if name not in self._missing:
            try:
                value = self._monitor.command(name)
            except Missing:
                self._missing.add(name)
        return Answer(value, time.monotonic())

    def notes(self, sample):
        """What a reader misses, and why, a line each."""
        if sample.queues.value is None:
            yield ("This is not a qemu-mq: it has no query-block-queues. Queues, requests in flight "
                   "and the fast path are not shown.")
        if sample.iothreads.value is None:
            yield "It has no query-iothreads: IOThreads are not shown."
        seen = [times for times in sample.times.values() if times]
        if not seen:
            yield "Its process cannot be seen from here: CPUs and busy shares are not shown."
        if sample.exports.value:
            yield "Exports keep no latencies."
        names = histograms.lacking(sample.stats.value)
        if names:
            yield f"P99: {', '.join(short(name) for name in names)} without histogram; see --histograms."
