# SPDX-License-Identifier: GPL-2.0-or-later
# The NVMe driver against tests/nvme-target, beside a polling loop without a driver (nvmeping), which
# is the ceiling: what a request costs between BlockBackend and doorbell.
#
# The base is not in it: its driver reaches no vfio-user server.

import contextlib
import json
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import load
import plot
import results
import room_devices

DEPTHS = {1: (0.9, 1.0), 32: (0.9, 2.5), 128: (0.9, 3.5)}       # of the ceiling; millions a second
WAYS = {"polled": ',"poll-queues":1', "interrupts": ""}
REQUESTS = 3200
SECONDS = 600           # for the target to start


def run(context):
    found = {depth: {name: [] for name in ("ceiling", *WAYS)} for depth in DEPTHS}
    with target(context, "--cpu", str(context.cpus[-1]), "--busy") as socket:
        for depth, values in found.items():
            for _ in range(context.runs):                       # in turns
                values["ceiling"].append(ping(context, socket, depth))
                for way in WAYS:
                    values[way].append(loop(context, socket, way, depth))
            print(f"  depth {depth:3}  " + "  ".join(
                f"{name} {statistics.median(runs) / 1e6:.3f}M" for name, runs in values.items()),
                flush=True)
    with target(context) as socket:
        instructions = count_instructions(context, socket)
        calls = count_calls(context, socket)
    write_table(context, found, instructions, calls)
    plot.bars(context.figures / "nvme.svg",
              [(f"depth {depth}: thousands a second",
                [("", {name: [one / 1e3 for one in runs] for name, runs in values.items()})])
               for depth, values in found.items()], len(found))
    return judge(found, instructions, calls)


@contextlib.contextmanager
def target(context, *options):
    program = context.fork / "mq" / "tests" / "nvme-target" / "nvme-target"
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        socket = Path(folder) / "nvme"
        with subprocess.Popen([program, "--socket", socket, "--namespace", "null", *options],
                              stderr=subprocess.PIPE, text=True) as process:
            try:
                deadline = time.monotonic() + SECONDS
                while not socket.exists():
                    if process.poll() is not None or time.monotonic() > deadline:
                        sys.exit("bench: nvme-target does not start")
                    time.sleep(0.01)
                yield socket
            finally:
                process.terminate()
                said = process.communicate()[1]
        if said:
            sys.exit(f"bench: {said.strip()}")


def output(command):
    done = subprocess.run([str(word) for word in command], text=True, stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, check=False)
    if done.returncode:
        sys.exit(f"bench: {command[0]}: {done.stderr.strip()}")
    return done


def iops(command):
    """Measured again where the target has stood still."""
    for _ in range(load.TIMES):
        found = json.loads(output(command).stdout)["iops"]
        if found:
            return found
    sys.exit(f"bench: {command[0]}: nothing was served")


def ping(context, socket, depth):
    program = context.fork / "mq" / "tests" / "nvme-target" / "nvmeping"
    return iops([program, "--socket", socket, "--depth", depth, "--seconds", context.seconds,
                 "--cpu", context.cpus[0]])


def blkloop(context, socket, way, *options):
    graph = json.loads(f'{{"driver":"nvme","path":"{socket}","namespace":1{WAYS[way]}}}')
    return [context.fork / "mq" / "tests" / "bench" / "inprocess" / "blkloop", "--graph",
            json.dumps(graph), "--way", "fast", "--busy", *options]


def loop(context, socket, way, depth):
    return iops(blkloop(context, socket, way, "--refill", "--batch", depth, "--cpus",
                        context.cpus[0], "--seconds", context.seconds))


def count_instructions(context, socket):
    """Of one polled read, from the BlockBackend to the doorbell and back, batches of 32."""
    if not shutil.which("valgrind"):
        sys.exit("bench: valgrind is missing; run ./configure --install-deps")
    few, many = (callgrind(context, socket, n) for n in (REQUESTS, 2 * REQUESTS))
    return {name: (many[name] - few[name]) / REQUESTS for name in many}


# Called for each request, or batch, and not within one another.
PARTS = {"submission": r"fast-path\.c:blk_fast_submit ", "doorbell": r"queue\.c:nvme_queue_ring ",
         "completion": r"queue\.c:nvme_queue_complete'2 "}


def callgrind(context, socket, requests):
    found = context.work / "callgrind.out"
    output(["valgrind", "--tool=callgrind", f"--callgrind-out-file={found}",
            *blkloop(context, socket, "polled", "--batch", 32, "--requests", requests)])
    lines = output(["callgrind_annotate", "--inclusive=yes", "--threshold=100", "--auto=no",
                    found]).stdout.splitlines()
    totals = {}
    for name, pattern in PARTS.items():
        line = next((one for one in lines if re.search(pattern, one)), "0 ")
        totals[name] = int(line.split()[0].replace(",", ""))
    return totals


def count_calls(context, socket):
    """System calls of a polled read, depth 1."""
    if not shutil.which("strace"):
        sys.exit("bench: strace is missing; run ./configure --install-deps")
    few, many = (strace(context, socket, n) for n in (REQUESTS, 2 * REQUESTS))
    return (many - few) / REQUESTS


def strace(context, socket, requests):
    with tempfile.NamedTemporaryFile(mode="r", dir=context.work) as counts:
        output(["strace", "-f", "-c", "-o", counts.name,
                *blkloop(context, socket, "polled", "--batch", 1, "--requests", requests)])
        total = [line.split() for line in counts.read().splitlines() if line.endswith(" total")]
    return int(total[0][2 if len(total[0]) < 6 else 3])


def judge(found, instructions, calls):
    def mark(name, values, unit, goal, op, **more):
        return results.mark("nvme", name, values, unit, goal, op, **more)

    marks = []
    for depth, (part, millions) in DEPTHS.items():
        values = found[depth]
        marks.append(mark(f"polled, depth {depth}, over the ceiling",
                          [a / b for a, b in zip(values["polled"], values["ceiling"])], "times",
                          part, ">="))
        marks.append(mark(f"polled, depth {depth}", [one / 1e6 for one in values["polled"]],
                          "M a second", millions, ">="))
    marks.append(mark("instructions of a request", [sum(instructions.values())],
                      "instructions", 250, "<="))
    marks.append(mark("system calls of a polled request", [calls], "calls", 0.01, "<="))
    return marks


def write_table(context, found, instructions, calls):
    lines = ["<!-- written by make bench ROOM=nvme -->",
             "| 4 KiB random reads of a null namespace, one queue, a second | "
             + " | ".join(f"depth {depth}" for depth in found) + " |",
             "|---|" + "---|" * len(found)]
    titles = {"ceiling": "polling loop without a driver (the ceiling)",
              "polled": "qemu-mq, polled queue", "interrupts": "qemu-mq, queue with interrupts, busy"}
    for name, title in titles.items():
        lines.append(f"| {title} | " + " | ".join(
            room_devices.cell([one / 1e3 for one in values[name]]) + "k"
            for values in found.values()) + " |")
    parts = ", ".join(f"{name} {n:.0f}" for name, n in instructions.items())
    lines += ["", f"Instructions of a polled request in batches of 32 (callgrind): "
              f"{sum(instructions.values()):.0f} ({parts}); system calls at depth 1: {calls:.4f}.",
              "", f"Medians of {context.runs} runs of {context.seconds:g} s, taken in turns, the "
              "target on a CPU of its own; ± is the range of the runs over their median. "
              + results.machine()]
    (context.figures / "nvme.md").write_text("\n".join(lines) + "\n")
