#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
# make bench: runs the benchmark rooms and prints their marks, met or not.
#
# A room is a module of this folder with a function run(context), which measures
# and returns marks (results.py), and writes its table and plots below docs/.
# Figures are ratios between programs that run alternately in one call: see
# docs/measuring.md.

import argparse
import importlib
import os
import subprocess
import sys
from pathlib import Path

import results

HERE = Path(__file__).resolve().parent
SOURCE = HERE.parent.parent
ROOMS = ["ringload", "core", "iothreads", "files", "devices", "nvme"]


class Context:
    """What a room needs to know: paths, and how long to measure."""

    def __init__(self, arguments):
        self.source = SOURCE
        self.fork = arguments.build.resolve()
        self.base = SOURCE / "build" / "unpatched" / "qemu"
        self.noinit = SOURCE / "build" / "unpatched" / "qemu-noinit"
        self.ringload = self.fork / "mq" / "tests" / "bench" / "ringload" / "ringload"
        self.work = SOURCE / "build" / "bench"
        self.figures = arguments.figures.resolve()
        self.runs = arguments.runs
        self.seconds = arguments.seconds
        self.cpus = sorted(os.sched_getaffinity(0))

    def build_base(self):
        """Build the unpatched base, once; rooms that compare with it call this."""
        subprocess.run([SOURCE / "base" / "unpatched"], check=True)


def main():
    parser = argparse.ArgumentParser(description="Measure the fork against the unpatched base.")
    parser.add_argument("--build", type=Path, default=SOURCE / "build" / "qemu")
    parser.add_argument("--room", action="append", choices=ROOMS, help="only this room")
    parser.add_argument("--runs", type=int, default=3, help="of each program (default: 3)")
    parser.add_argument("--seconds", type=float, default=1.5,
                        help="measured in a run, after a quarter as warm-up (default: 1.5)")
    parser.add_argument("--figures", type=Path, default=SOURCE / "docs" / "figures",
                        help="where tables and plots go (default: docs/figures)")
    arguments = parser.parse_args()
    context = Context(arguments)
    if not context.ringload.exists():
        sys.exit(f"bench: there is no {context.ringload}; run make first")
    if len(context.cpus) < 2:
        sys.exit("bench: needs two CPUs, one for the server and one for its client")
    context.work.mkdir(parents=True, exist_ok=True)
    context.figures.mkdir(parents=True, exist_ok=True)
    for name in arguments.room or ROOMS:
        marks = importlib.import_module(f"room_{name}").run(context)
        results.keep(context.work / "results.json", name, marks)
        results.show(name, marks)


if __name__ == "__main__":
    main()
