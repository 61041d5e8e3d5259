# SPDX-License-Identifier: GPL-2.0-or-later
# IOThreads: how long one request at a time takes in each poll mode, how many kicks and system
# calls requests cost, and how soon a thread that polls a saturated queue answers others.

import json
import re
import shutil
import statistics
import subprocess
import sys
import tempfile

import load
import plot
import results
import room_devices
import room_files

NULL = [f"null-co,size={1 << 30},read-zeroes=off,node-name=leaf"]
MODES = ("adaptive", "busy", "off")

# A client that polls, with a pause between requests and without; and one that sleeps.
CLIENTS = {"polls, pauses 20 us": ["--completion", "poll", "--think-time", "20"],
           "polls": ["--completion", "poll"],
           "sleeps": ["--completion", "eventfd"]}
JUDGED = "polls, pauses 20 us"

REQUESTS = 20000


def run(context):
    context.build_base()
    latencies = measure_latencies(context)
    kicks = measure_kicks(context)
    calls = count_calls(context)
    answers = measure_answers(context)
    write_tables(context, latencies, kicks, calls, answers)
    plot.bars(context.figures / "iothreads.svg",
              [(f"depth 1, client {client}: us", [("", found)])
               for client, found in latencies.items()], len(CLIENTS))
    return judge(latencies, kicks, calls, answers)


def servers(context):
    """What is measured: a name, the build, and options of the IOThread."""
    return {"base": (context.base, ""),
            **{mode: (context.fork, f",poll-mode={mode}") for mode in MODES}}


def measure_latencies(context):
    """The median latency of one request at a time, for each client and server."""
    found = {}
    for client, options in CLIENTS.items():
        found[client] = {name: [] for name in servers(context)}
        for _ in range(context.runs):
            for name, (build, iothread) in servers(context).items():     # in turns
                with load.vhost_user(context, build, NULL, iothread) as target:
                    total = load.ringload(context, target, 1, options)
                found[client][name].append(total["p50_us"])
        print(f"  depth 1, client {client:20} "
              + "  ".join(f"{name} {statistics.median(values):.2f}"
                          for name, values in found[client].items()) + "  us", flush=True)
    return found


def measure_kicks(context):
    """Kicks a request under load."""
    found = {}
    for name, (build, iothread) in servers(context).items():
        found[name] = []
        for _ in range(context.runs):
            with load.vhost_user(context, build, NULL, iothread) as target:
                total = load.ringload(context, target, 32, CLIENTS["polls"])
            found[name].append(total["kicks_per_request"])
    return found


def count_calls(context):
    """System calls a request of the file leaf, at depth 1, as strace -c counts them."""
    if not shutil.which("strace"):
        sys.exit("bench: strace is missing; run ./configure --install-deps")
    found = {}
    with tempfile.NamedTemporaryFile(prefix="bench-", dir=context.work) as image:
        room_files.fill(image)
        for mode, option in (("asleep", []), ("polling", ["--busy"])):
            few, many = (strace(context, image.name, option, n)
                         for n in (REQUESTS, 2 * REQUESTS))
            found[mode] = {call: (many[call] - few.get(call, 0)) / REQUESTS for call in many
                           if many[call] - few.get(call, 0) > REQUESTS // 1000}
    return found


def strace(context, path, options, requests):
    """The calls of a whole run of blkloop, by name."""
    blkloop = context.fork / "mq" / "tests" / "bench" / "inprocess" / "blkloop"
    graph = {"driver": "file", "filename": path, "aio": "io_uring", "cache": {"direct": True}}
    with tempfile.NamedTemporaryFile(mode="r", dir=context.work) as counts:
        command = ["strace", "-f", "-c", "-o", counts.name, blkloop, "--way", "fast", "--graph",
                   json.dumps(graph), "--batch", 1, "--requests", requests,
                   "--cpus", context.cpus[-1], *options]
        room_files.output(command)
        lines = counts.read().splitlines()
    rows = [line.split() for line in lines if re.match(r"\s*[\d.]+ ", line)]
    return {row[-1]: int(row[3]) for row in rows if row[-1] != "total"}


def measure_answers(context):
    program = context.fork / "mq" / "tests" / "bench" / "answers" / "answers"
    cpus = f"{context.cpus[0]},{context.cpus[-1]}"
    return [json.loads(subprocess.run([program, "--cpus", cpus], check=True, text=True,
                                      stdout=subprocess.PIPE).stdout)
            for _ in range(context.runs)]


def judge(latencies, kicks, calls, answers):
    def times(mode, client):
        return [base / fork for base, fork in zip(latencies[client]["base"],
                                                  latencies[client][mode])]

    def mark(name, values, unit, goal, op, **more):
        return results.mark("iothreads", name, values, unit, goal, op, **more)

    base = statistics.median(latencies[JUDGED]["base"])
    marks = [mark("depth 1, busy, over the base's default", times("busy", JUDGED), "times", 20,
                  ">=", base=base),
             mark("depth 1, adaptive, over the base's default", times("adaptive", JUDGED),
                  "times", 5, ">=", base=base),
             mark("depth 1, busy, median latency", latencies[JUDGED]["busy"], "us", 1.5, "<=",
                  base=base)]
    for mode in ("busy", "adaptive"):
        marks.append(mark(f"depth 32, {mode}, kicks a request", kicks[mode], "kicks", 0.001, "<=",
                          base=statistics.median(kicks["base"])))
    for mode, counted in calls.items():
        marks.append(mark(f"file, depth 1, {mode}, system calls a request",
                          [sum(counted.values())], "calls", 1.05, "<="))
    for kind in ("bottom_half", "eventfd", "timer"):
        marks.append(mark(f"busy, saturated: {kind.replace('_', ' ')} answered, p99",
                          [one[kind]["p99_us"] for one in answers], "us", 100, "<="))
    return marks


def write_tables(context, latencies, kicks, calls, answers):
    lines = ["<!-- written by make bench ROOM=iothreads -->",
             "| one 4 KiB read at a time, null device, median latency | base "
             + "".join(f"| poll-mode={mode} " for mode in MODES) + "|",
             "|---|---|" + "---|" * len(MODES)]
    for client, found in latencies.items():
        lines.append(f"| client {client} | "
                     + " | ".join(room_devices.cell(values) + " us" for values in found.values())
                     + " |")
    lines.append("| kicks a request at depth 32 | "
                 + " | ".join(f"{statistics.median(values):.5f}" for values in kicks.values())
                 + " |")
    lines += ["", "| file on disk, aio=io_uring, depth 1 | system calls a request (strace -c) |",
              "|---|---|"]
    for mode, counted in calls.items():
        each = ", ".join(f"{call} {n:.3f}" for call, n in sorted(counted.items()))
        lines.append(f"| {mode} | {each} |")
    lines += ["", "| poll-mode=busy, queue saturated "
              f"({statistics.median(one['iops'] for one in answers) / 1e6:.1f}M requests a second) "
              "| p50 | p99 | worst |", "|---|---|---|---|"]
    for kind in ("bottom_half", "eventfd", "timer"):
        cells = (f"{statistics.median(one[kind][which] for one in answers):.1f} us"
                 for which in ("p50_us", "p99_us", "max_us"))
        lines.append(f"| {kind.replace('_', ' ')} answered | " + " | ".join(cells) + " |")
    lines += ["", f"Medians of {context.runs} runs, taken in turns, one CPU for the server and "
              "one for its client; ± is the range of the runs over their median. "
              + results.machine()]
    (context.figures / "iothreads.md").write_text("\n".join(lines) + "\n")
