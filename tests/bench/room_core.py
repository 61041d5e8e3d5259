# SPDX-License-Identifier: GPL-2.0-or-later
# The block layer by itself: blkloop in the fork and in the unpatched base, in turns.
#
# Instructions are counted by callgrind over two runs of different length, whose
# difference has no start-up in it; they do not depend on the machine's mood.

import json
import re
import shutil
import statistics
import subprocess
import sys

import results

NULL = json.dumps({"driver": "raw", "file": {"driver": "null-co", "size": 1 << 30,
                                             "read-zeroes": False}})
CALLGRIND_REQUESTS = 3200


def run(context):
    context.build_base()
    programs = {"base": context.base / "mq-inprocess" / "blkloop",
                "fork": context.fork / "mq" / "tests" / "bench" / "inprocess" / "blkloop"}
    one, two, own = ({name: [] for name in programs} for _ in range(3))
    cpus = ",".join(str(cpu) for cpu in (context.cpus[-1], context.cpus[0]))
    for _ in range(context.runs):
        for name, program in programs.items():      # in turns
            time = ["--cpus", cpus, "--seconds", str(context.seconds)]
            one[name].append(blkloop(program, *time))
            two[name].append(blkloop(program, *time, "--threads", "2"))
            own[name].append(blkloop(program, *time, "--threads", "2", "--own-nodes"))
    instructions = {name: count(context, program) for name, program in programs.items()}

    def ratios(name, over, under):
        return [a["iops"] / b["iops"] for a, b in zip(over[name], under[name])]

    def mark(what, values, unit, goal, op):
        return results.mark("core", "raw over null-co, " + what, values("fork"), unit, goal, op,
                            base=round(statistics.median(values("base")), 4))

    marks = [
        mark("batch 32", lambda name: [one_run["ns_per_request"] for one_run in one[name]],
             "ns a request", 50, "<="),
        mark("batch 32, callgrind", lambda name: [instructions[name]],
             "instructions a request", 200, "<="),
        mark("2 threads on one node over 2 on two", lambda name: ratios(name, two, own),
             "times", 0.95, ">="),
        mark("2 threads on one node over 1", lambda name: ratios(name, two, one),
             "times", 1.9, ">="),
    ]
    write_table(context, marks)
    return marks


def blkloop(program, *arguments):
    done = subprocess.run([str(program), "--graph", NULL, *arguments], text=True,
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE, check=False)
    if done.returncode:
        sys.exit(f"bench: {program}: {done.stderr.strip()}")
    return json.loads(done.stdout)


def count(context, program):
    """Instructions of one request."""
    if not shutil.which("valgrind"):
        sys.exit("bench: valgrind is missing; run ./configure --install-deps")
    totals = []
    for requests in (CALLGRIND_REQUESTS, 2 * CALLGRIND_REQUESTS):
        done = subprocess.run(
            ["valgrind", "--tool=callgrind", f"--callgrind-out-file={context.work}/callgrind.out",
             str(program), "--graph", NULL, "--requests", str(requests)],
            text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE, check=False)
        found = re.search(r"Collected : (\d+)", done.stderr)
        if done.returncode or not found:
            sys.exit(f"bench: valgrind {program}: {done.stderr.strip()}")
        totals.append(int(found.group(1)))
    return (totals[1] - totals[0]) / CALLGRIND_REQUESTS


def write_table(context, marks):
    lines = ["<!-- written by make bench ROOM=core -->",
             "| blkloop, 4 KiB random reads | unit | goal | base | qemu-mq |", "|---|---|---|---|---|"]
    for mark in marks:
        lines.append(f"| {mark['mark']} | {mark['unit']} | {mark['op']} {mark['goal']} "
                     f"| {mark['base']:.4g} | {mark['value']:.4g} ±{mark['spread']:.0%} |")
    lines.append("")
    lines.append(f"Medians of {context.runs} runs of {context.seconds:g} s, taken in turns; ± is "
                 "the range of the runs over their median. " + results.machine())
    (context.figures / "core.md").write_text("\n".join(lines) + "\n")
