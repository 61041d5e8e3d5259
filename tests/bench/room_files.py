# SPDX-License-Identifier: GPL-2.0-or-later
# Files beneath the block layer: blkloop over a raw file, in the fork by the fast path and in the
# unpatched base, and fio's io_uring engine on the same file, in turns.
#
# fio has its buffers and the file registered with the kernel, as t/io_uring of its sources has,
# which Debian does not package. The file is written once, so that no read finds a hole.

import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import plot
import results

SIZE = 256 << 20
DEPTHS = (1, 32, 128)
AIO = ("io_uring", "native")


def run(context):
    context.build_base()
    marks, rows = [], []
    for name, folder in (("tmpfs", Path("/dev/shm")), ("disk", context.work)):
        with tempfile.NamedTemporaryFile(prefix="bench-", dir=folder) as image:
            fill(image)
            for aio in AIO:
                for depth in DEPTHS:
                    found = measure(context, image.name, aio, depth)
                    marks += judge(name, aio, depth, found)
                    rows.append((name, aio, depth, found))
    write_table(context, rows)
    plot.bars(context.figures / "files.svg", charts(rows), len(AIO))
    return marks


def charts(rows):
    """A chart each file system and aio, with the depths along."""
    found = {}
    for name, aio, depth, ways in rows:
        values = {who: [iops / 1000 for iops, _ in runs] for who, runs in ways.items()}
        found.setdefault(f"{name}, aio={aio}: thousand IOPS", []).append((f"depth {depth}", values))
    return list(found.items())


def fill(image):
    for _ in range(SIZE >> 20):
        image.write(os.urandom(1 << 20))
    image.flush()
    os.fsync(image.fileno())


def measure(context, path, aio, depth):
    graph = {"driver": "raw", "file": {"driver": "file", "filename": path, "aio": aio,
                                       "cache": {"direct": True}}}
    options = ["--graph", json.dumps(graph), "--refill", "--batch", depth, "--seconds",
               context.seconds, "--cpus", context.cpus[-1]]
    fork = context.fork / "mq" / "tests" / "bench" / "inprocess" / "blkloop"
    ways = {"fork": lambda: blkloop([fork, "--way", "fast", *options]),
            "base": lambda: blkloop([context.base / "mq-inprocess" / "blkloop", *options]),
            "fio": lambda: fio(context, path, depth, context.cpus[-1])}
    found = {name: [] for name in ways}
    for _ in range(context.runs):
        for name, way in ways.items():      # in turns
            found[name].append(way())
    return found


def output(command):
    command = [str(word) for word in command]
    done = subprocess.run(command, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                          check=False)
    if done.returncode:
        sys.exit(f"bench: {command[0]}: {done.stderr.strip()}")
    return json.loads(done.stdout)


def blkloop(command):
    """IOPS, and us of processor time a request."""
    done = output(command)
    return done["iops"], done["cpu_ns_per_request"] / 1000


def fio(context, path, depth, cpu):
    job, = output(["fio", "--name=bench", f"--filename={path}", "--ioengine=io_uring",
                   "--fixedbufs", "--registerfiles", "--direct=1", "--rw=randread", "--bs=4k",
                   "--norandommap", f"--iodepth={depth}", f"--iodepth_batch={depth}",
                   "--iodepth_batch_complete_min=1", f"--iodepth_batch_complete_max={depth}",
                   "--time_based", f"--runtime={context.seconds}",
                   f"--ramp_time={context.seconds / 4}", f"--cpus_allowed={cpu}",
                   "--output-format=json"])["jobs"]
    iops = job["read"]["iops"]
    return iops, (job["usr_cpu"] + job["sys_cpu"]) / 100 * 1e6 / iops


def judge(name, aio, depth, found):
    def ratios(over, under, which):
        return [a[which] / b[which] for a, b in zip(found[over], found[under])]

    what = f"{name}, aio={aio}, depth {depth}: "
    marks = [results.mark("files", what + "IOPS over fio's", ratios("fork", "fio", 0), "times",
                          1.0 if name == "tmpfs" else 0.97, ">=",
                          base=round(statistics.median(ratios("base", "fio", 0)), 4))]
    if name != "tmpfs":
        marks.append(results.mark("files", what + "processor time over the base's",
                                  ratios("fork", "base", 1), "times", 1.0, "<="))
    return marks


def write_table(context, rows):
    lines = ["<!-- written by make bench ROOM=files -->",
             "| 4 KiB random reads, O_DIRECT | base | qemu-mq | fio | base, CPU | qemu-mq, CPU "
             "| fio, CPU |", "|---|---|---|---|---|---|---|"]
    for name, aio, depth, found in rows:
        cells = [f"{name}, aio={aio}, depth {depth}"]
        for which, scale, unit in ((0, 1e3, "k"), (1, 1, " us")):
            for who in ("base", "fork", "fio"):
                values = [one[which] for one in found[who]]
                cells.append(f"{statistics.median(values) / scale:.3g}{unit} "
                             f"±{results.spread(values):.0%}")
        lines.append("| " + " | ".join(cells) + " |")
    lines += ["", "Requests a second, and processor time a request, the kernel's for it "
              "included. fio: io_uring, buffers and file registered. Medians of "
              f"{context.runs} runs of {context.seconds:g} s, taken in turns; ± is the range of "
              "the runs over their median. " + results.machine()]
    (context.figures / "files.md").write_text("\n".join(lines) + "\n")
