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

NULL = {"driver": "null-co", "size": 1 << 30, "read-zeroes": False}
RAW = {"driver": "raw", "file": NULL}
QCOW2_SIZE = 64 << 20
CALLGRIND_REQUESTS = 3200

# The ordinary way must not be slower. Of two programs as fast as each other, the
# median of so many ratios is found within this on a noisy machine.
NOISE = 0.97


def run(context):
    context.build_base()
    fork = context.fork / "mq" / "tests" / "bench" / "inprocess" / "blkloop"
    programs = {"base": [context.base / "mq-inprocess" / "blkloop"],
                "ordinary": [fork], "fast": [fork, "--way", "fast"]}
    loads = measure(context, programs)
    formats = measure_formats(context, {name: programs[name] for name in ("base", "ordinary")})
    instructions = {name: count(context, program) for name, program in programs.items()}

    def ns(name):
        return [one["ns_per_request"] for one in loads[name, "one"]]

    def ratios(name, over, under):
        return [a["iops"] / b["iops"] for a, b in zip(loads[name, over], loads[name, under])]

    def mark(what, values, base, unit, goal, op):
        return results.mark("core", what, values, unit, goal, op,
                            base=base and round(statistics.median(base), 4))

    marks = [mark("the fast path: one thread", ns("fast"), ns("base"), "ns a request", 50, "<="),
             mark("the fast path: one thread, callgrind", [instructions["fast"]],
                  [instructions["base"]], "instructions a request", 200, "<=")]
    for way, title in (("fast", "the fast path"), ("ordinary", "the ordinary way")):
        marks += [mark(f"{title}: 2 threads on one node over 2 on two",
                       ratios(way, "two", "own"), ratios("base", "two", "own"), "times",
                       0.95, ">="),
                  mark(f"{title}: 2 threads on one node over 1", ratios(way, "two", "one"),
                       ratios("base", "two", "one"), "times", 1.9, ">=")]
    formats["raw"] = {name: loads[name, "one"] for name in ("base", "ordinary")}
    for name, found in sorted(formats.items()):
        marks.append(mark(f"the ordinary way: {name}, one thread, over the base",
                          [a["iops"] / b["iops"]
                           for a, b in zip(found["ordinary"], found["base"])],
                          None, "times", NOISE, ">="))
    write_table(context, marks, instructions)
    return marks


def measure(context, programs):
    cpus = ",".join(str(cpu) for cpu in (context.cpus[-1], context.cpus[0]))
    shapes = {"one": [], "two": ["--threads", "2"], "own": ["--threads", "2", "--own-nodes"]}
    found = {(name, shape): [] for name in programs for shape in shapes}
    for _ in range(context.runs):
        for shape, options in shapes.items():
            for name, program in programs.items():      # in turns
                found[name, shape].append(blkloop(context, program, RAW, "--cpus", cpus, *options))
    return found


def measure_formats(context, programs):
    """What stays on the ordinary way."""
    image = context.work / "image.qcow2"
    subprocess.run([context.fork / "qemu-img", "create", "-q", "-f", "qcow2", "-o",
                    "preallocation=metadata", image, str(QCOW2_SIZE)], check=True)
    graphs = {"qcow2": {"driver": "qcow2", "file": {"driver": "file", "filename": str(image)}},
              "blkdebug, a filter,": {"driver": "blkdebug", "image": RAW}}
    found = {}
    for label, graph in graphs.items():
        found[label] = {name: [] for name in programs}
        for _ in range(context.runs):
            for name, program in programs.items():
                found[label][name].append(blkloop(context, program, graph,
                                                  "--cpus", str(context.cpus[-1])))
    return found


def blkloop(context, program, graph, *options):
    command = [str(word) for word in (*program, "--graph", json.dumps(graph),
                                      "--seconds", context.seconds, *options)]
    done = subprocess.run(command, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                          check=False)
    if done.returncode:
        sys.exit(f"bench: {command[0]}: {done.stderr.strip()}")
    return json.loads(done.stdout)


def count(context, program):
    """Instructions of one request."""
    if not shutil.which("valgrind"):
        sys.exit("bench: valgrind is missing; run ./configure --install-deps")
    totals = []
    for requests in (CALLGRIND_REQUESTS, 2 * CALLGRIND_REQUESTS):
        command = [str(word) for word in (*program, "--graph", json.dumps(RAW), "--requests",
                                          requests)]
        done = subprocess.run(
            ["valgrind", "--tool=callgrind", f"--callgrind-out-file={context.work}/callgrind.out",
             *command], text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE, check=False)
        found = re.search(r"Collected : (\d+)", done.stderr)
        if done.returncode or not found:
            sys.exit(f"bench: valgrind {command[0]}: {done.stderr.strip()}")
        totals.append(int(found.group(1)))
    return (totals[1] - totals[0]) / CALLGRIND_REQUESTS


def write_table(context, marks, instructions):
    lines = ["<!-- written by make bench ROOM=core -->",
             "| blkloop, 4 KiB random reads of null-co under raw, batches of 32 | unit | goal "
             "| base | qemu-mq |", "|---|---|---|---|---|"]
    for mark in marks:
        base = "" if mark["base"] is None else f"{mark['base']:.4g}"
        lines.append(f"| {mark['mark']} | {mark['unit']} | {mark['op']} {mark['goal']} "
                     f"| {base} | {mark['value']:.4g} ±{mark['spread']:.0%} |")
    lines += ["", f"Instructions of a request on the ordinary way: {instructions['ordinary']:.0f}, "
              f"in the base {instructions['base']:.0f}.", "",
              f"Medians of {context.runs} runs of {context.seconds:g} s, taken in turns; ± is "
              "the range of the runs over their median. " + results.machine()]
    (context.figures / "core.md").write_text("\n".join(lines) + "\n")
