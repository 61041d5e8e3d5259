# SPDX-License-Identifier: GPL-2.0-or-later
# One queue, 4 KiB random reads, one server CPU: the vhost-user-blk export and the
# virtio-blk device of the fork, whose IOThread has poll-mode=busy, against those of
# the unpatched base, and, on files, against fio on the host.
#
# The base's export is measured a second time without -ftrivial-auto-var-init=zero,
# which makes it clear 48 KiB a request: a gain over the base must show there too.

import contextlib
import os
import shutil
import statistics
import sys
from pathlib import Path

import load
import plot
import results
import room_files

DEPTHS = (1, 32, 128)
FILE_SIZE = 256 << 20
BUSY = ",poll-mode=busy"
# times the base, by depth: what SPDK's vhost target is, and, on files, what fio is; at least
# not slower where there is no such mark
NULL = {1: 20, 32: 2.9, 128: 3.4}
MARKS = {"null-co": NULL, "raw over null-co": NULL, "raw file, tmpfs": {1: 4, 32: 2.7}}
NO_SLOWER = 0.95
OF_FIO = {("raw file, disk", 1): 0.97, ("raw file, disk", 32): 0.97,
          ("raw file, tmpfs", 1): 1.0, ("raw file, tmpfs", 32): 1.0}
# the device is to gain what the export is, within so much
OF_EXPORT = 0.85

# A client that polls shows the server alone; one that sleeps until it is called
# shows what a guest without polling sees, its own wake-up included.  A client that
# polls and has the next request ready at once is back before the server has gone
# to sleep, or just not, from run to run: at depth 1 on a null device it thinks for a
# while, as a guest does, and the latency is what counts.
CLIENTS = {"polls": ["--completion", "poll"], "sleeps": ["--completion", "eventfd"]}
THINK = ["--think-time", "20"]


def run(context):
    context.build_base()
    with files(context) as (disk, tmpfs):
        cases = measure_all(context, leaves(disk, tmpfs),
                            {"raw file, disk": disk, "raw file, tmpfs": tmpfs})
        merging = measure_merging(context, leaves(disk, tmpfs))
    write_table(context, cases, merging)
    plot.bars(context.figures / "devices.svg", charts(cases), len({case.depth for case in cases}))
    return [mark for case in cases for mark in case.marks()]


def charts(cases):
    """A chart each transport, client and depth, with the leaves along."""
    found = {}
    for case in cases:
        title = (f"{case.transport}, client {case.client}, depth {case.depth}: {case.unit()}")
        found.setdefault(title, []).append((case.leaf, case.values))
    return list(found.items())


class Case:
    """One line of the table: what is measured, and each build's values in its runs."""

    def __init__(self, transport, leaf, client, depth, builds):
        self.transport = transport
        self.leaf = leaf
        self.client = client
        self.depth = depth
        self.latency = depth == 1 and "file" not in leaf
        self.values = {name: [] for name in builds}

    def options(self):
        return CLIENTS[self.client] + (THINK if self.latency else [])

    def add(self, name, total):
        self.values[name].append(total["p50_us"] if self.latency else total["iops"] / 1000)

    def name(self):
        return f"{self.transport}, {self.leaf}, client {self.client}, depth {self.depth}"

    def unit(self):
        return "us" if self.latency else "thousand IOPS"

    def median(self, name):
        return statistics.median(self.values[name])

    def speedups(self, against):
        """How many times as fast the fork was, in each pair of runs."""
        pairs = zip(self.values["fork"], self.values[against])
        return [base / fork if self.latency else fork / base for fork, base in pairs]

    def marks(self):
        goal = MARKS.get(self.leaf, {}).get(self.depth) if self.client == "polls" else None
        if not goal:
            goal = NO_SLOWER
        elif self.transport == "virtio-blk":
            goal *= OF_EXPORT
        marks = [results.mark("devices", self.name(), self.speedups("base"), "times the base",
                              goal, ">=", base=round(self.median("base"), 2),
                              base_unit=self.unit(), fork=round(self.median("fork"), 2))]
        if "fio" in self.values and (self.leaf, self.depth) in OF_FIO:
            marks.append(results.mark("devices", self.name() + ": of fio's IOPS",
                                      self.speedups("fio"), "times fio",
                                      OF_FIO[self.leaf, self.depth], ">=",
                                      base=round(self.median("fio"), 2)))
        return marks


def leaves(disk, tmpfs):
    """The block graphs, as --blockdev options; the last is named leaf."""
    null = f"null-co,size={1 << 30},read-zeroes=off,node-name="
    file = "file,aio=io_uring,cache.direct=on,node-name=file,filename="
    raw = "raw,cache.direct=on,node-name=leaf,file=file"
    return {"null-co": [null + "leaf"],
            "raw over null-co": [null + "null", "raw,node-name=leaf,file=null"],
            "raw file, disk": [file + disk, raw],
            "raw file, tmpfs": [file + tmpfs, raw]}


@contextlib.contextmanager
def files(context):
    """Two images with data in them: on the build's file system, and on tmpfs."""
    paths = [context.work / "disk.raw", Path("/dev/shm") / f"mq-bench-{os.getpid()}.raw"]
    for path in paths:
        if shutil.disk_usage(path.parent).free < FILE_SIZE + (32 << 20):
            sys.exit(f"bench: {path.parent} has no room for an image of {FILE_SIZE >> 20} MiB; "
                     "free some, or give the container a larger one")
    try:
        for path in paths:
            with open(path, "wb") as image:
                for _ in range(FILE_SIZE >> 20):
                    image.write(os.urandom(1 << 20))
                os.fsync(image.fileno())
        yield [str(path) for path in paths]
    finally:
        for path in paths:
            path.unlink(missing_ok=True)


def measure_all(context, graphs, paths):
    exports = {"base": context.base, "noinit": context.noinit, "fork": context.fork}
    devices = {"base": context.base, "fork": context.fork}
    cases = []
    for leaf, blockdevs in graphs.items():
        for client in CLIENTS:
            for depth in DEPTHS:
                names = list(exports) + (["fio"] if leaf in paths and client == "polls" else [])
                cases.append(measure(context, load.vhost_user, exports, blockdevs,
                                     Case("vhost-user-blk", leaf, client, depth, names),
                                     paths.get(leaf)))
    for leaf, blockdevs in graphs.items():
        for depth in DEPTHS:        # qtest brings no interrupts to sleep for
            cases.append(measure(context, load.virtio_blk, devices, blockdevs,
                                 Case("virtio-blk", leaf, "polls", depth, devices)))
    return cases


def measure(context, start, builds, blockdevs, case, path=None):
    for _ in range(context.runs):
        for name, build in builds.items():      # in turns
            with start(context, build, blockdevs, BUSY if name == "fork" else "") as options:
                case.add(name, load.ringload(context, options, case.depth, case.options()))
        if "fio" in case.values:
            # where the server is: interrupts of a drive may favour a CPU
            iops, _ = room_files.fio(context, path, case.depth, context.cpus[0])
            case.add("fio", {"iops": iops})
    print(f"  {case.name():58}  " + "  ".join(f"{name} {case.median(name):.1f}"
                                              for name in case.values)
          + f"  {case.unit()}", flush=True)
    return case


def measure_merging(context, graphs):
    """Sequential reads of the device, in thousands a second, by leaf: merged, and not."""
    found = {}
    for leaf, blockdevs in graphs.items():
        runs = found[leaf] = {"on": [], "off": []}
        for _ in range(context.runs):
            for merging, values in runs.items():
                with load.virtio_blk(context, context.fork, blockdevs, BUSY,
                                     f",request-merging={merging}") as options:
                    total = load.ringload(context, options, 32, ["--rw", "read"])
                    values.append(total["iops"] / 1000)
    return found


def write_table(context, cases, merging):
    lines = [
        "<!-- written by make bench ROOM=devices -->",
        "| 4 KiB random reads | client | depth | | base | base without the memset | qemu-mq "
        "| fio | times the base | times the base without |",
        "|---|---|---|---|---|---|---|---|---|---|"]
    for case in cases:
        cells = [f"{case.transport}, {case.leaf}", case.client, str(case.depth), case.unit()]
        cells += [cell(case.values.get(name)) for name in ("base", "noinit", "fork", "fio")]
        cells += [f"{statistics.median(case.speedups(name)):.2f}" if name in case.values else ""
                  for name in ("base", "noinit")]
        lines.append("| " + " | ".join(cells) + " |")
    lines.append("")
    lines.append(f"Medians of {context.runs} runs of {context.seconds:g} s, taken in turns, one "
                 "CPU for the server and one for its client; ± is the range of the runs over "
                 "their median, and a ratio is the median of the pairs' ratios. qemu-mq: "
                 "poll-mode=busy. Depth 1 on null devices: median latency, the client idle for "
                 "20 us between requests. " + results.machine())
    lines += ["", "| virtio-blk, sequential 4 KiB reads, depth 32, thousand IOPS | "
              "request-merging=on | off |", "|---|---|---|"]
    lines += [f"| {leaf} | {cell(runs['on'])} | {cell(runs['off'])} |"
              for leaf, runs in merging.items()]
    (context.figures / "devices.md").write_text("\n".join(lines) + "\n")


def cell(values):
    if not values:
        return ""
    return f"{statistics.median(values):.1f} ±{results.spread(values):.0%}"
