# SPDX-License-Identifier: GPL-2.0-or-later
# One queue, 4 KiB random reads, one server CPU: the vhost-user-blk export and the
# virtio-blk device of the fork against those of the unpatched base.
#
# The base's export is measured a second time without -ftrivial-auto-var-init=zero,
# which makes it clear 48 KiB a request: a gain over the base must show there too.

import contextlib
import os
import statistics
from pathlib import Path

import load
import plot
import results

DEPTHS = (1, 32, 128)
FILE_SIZE = 256 << 20
# the foundation adds nothing to a request; what noise takes away is less than this
NO_SLOWER = 0.95


def run(context):
    context.build_base()
    with files(context) as (disk, tmpfs):
        cases = measure_all(context, leaves(disk, tmpfs))
    write_table(context, cases)
    plot.bars(context.figures / "devices.svg", cases)
    return [results.mark("devices", f"{case['transport']}, {case['leaf']}, depth {case['depth']}",
                         [fork / base for fork, base in zip(case["fork"], case["base"])],
                         "times the base", NO_SLOWER, ">=",
                         base=round(statistics.median(case["base"])),
                         iops=round(statistics.median(case["fork"]))) for case in cases]


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


def measure_all(context, graphs):
    transports = {
        "vhost-user-blk": (load.vhost_user, {"base": context.base, "noinit": context.noinit,
                                             "fork": context.fork}),
        "virtio-blk": (load.virtio_blk, {"base": context.base, "fork": context.fork}),
    }
    cases = []
    for transport, (start, builds) in transports.items():
        for leaf, blockdevs in graphs.items():
            for depth in DEPTHS:
                case = {"transport": transport, "leaf": leaf, "depth": depth}
                case.update({name: [] for name in builds})
                for _ in range(context.runs):
                    for name, build in builds.items():      # alternately
                        with start(context, build, blockdevs) as options:
                            case[name].append(load.ringload(context, options, depth)["iops"])
                cases.append(case)
                print(f"  {transport:14}  {leaf:16}  depth {depth:3}  " + "  ".join(
                    f"{name} {statistics.median(case[name]) / 1000:.1f}k" for name in builds),
                      flush=True)
    return cases


def write_table(context, cases):
    lines = [
        "<!-- written by make bench ROOM=devices -->",
        "| 4 KiB random reads, thousand a second | depth | base | base without the memset "
        "| fork | fork / base | fork / base without |",
        "|---|---|---|---|---|---|---|"]
    for case in cases:
        cells = [f"{case['transport']}, {case['leaf']}", str(case["depth"])]
        cells += [cell(case.get(name)) for name in ("base", "noinit", "fork")]
        cells += [ratio(case, "base"), ratio(case, "noinit")]
        lines.append("| " + " | ".join(cells) + " |")
    lines.append("")
    lines.append(f"Medians of {context.runs} runs of {context.seconds:g} s, taken in turns; "
                 "± is the range of the runs over their median. " + machine())
    (context.figures / "devices.md").write_text("\n".join(lines) + "\n")


def cell(values):
    if not values:
        return ""
    return f"{statistics.median(values) / 1000:.1f} ±{results.spread(values):.0%}"


def ratio(case, against):
    if against not in case:
        return ""
    return f"{statistics.median(case['fork']) / statistics.median(case[against]):.2f}"


def machine():
    model = "an unknown processor"
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            model = line.partition(":")[2].strip()
            break
    return f"{os.cpu_count()} CPUs ({model}), Linux {os.uname().release}."
