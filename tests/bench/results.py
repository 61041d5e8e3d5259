# SPDX-License-Identifier: GPL-2.0-or-later
# The marks of the benchmarks: build/bench/results.json, and their table.

import json
import os
import statistics
from pathlib import Path


def mark(room, name, values, unit, goal, op, base=None, **more):
    """One mark, the median of its runs.

    op is ">=" or "<="; base is the unpatched base's value in the same runs, in
    the unit that it has itself; spread is the runs' range over their median.
    """
    value = statistics.median(values)
    met = value >= goal if op == ">=" else value <= goal
    return {"room": room, "mark": name, "value": round(value, 4), "unit": unit, "goal": goal,
            "op": op, "met": met, "base": base, "spread": round(spread(values), 4),
            "runs": [round(one, 4) for one in values], **more}


def spread(values):
    median = statistics.median(values)
    return (max(values) - min(values)) / median if median else 0.0


def keep(path, room, marks):
    """Replace the room's marks in the file; those of other rooms stay."""
    kept = json.loads(path.read_text()) if path.exists() else []
    kept = [one for one in kept if one["room"] != room] + marks
    scratch = path.with_suffix(".tmp")
    scratch.write_text(json.dumps(kept, indent=1) + "\n")
    scratch.replace(path)


def show(room, marks):
    width = max(len(one["mark"]) for one in marks)
    print(f"\n{room}: marks")
    for one in marks:
        print(f"  {'met    ' if one['met'] else 'NOT MET'}  {one['mark']:{width}}  "
              f"{one['value']:>12,.2f} {one['unit']} (goal {one['op']} {one['goal']:,}, "
              f"spread {one['spread']:.0%})")
    missed = sum(not one["met"] for one in marks)
    print(f"{room}: {len(marks) - missed} of {len(marks)} marks met", flush=True)


def machine():
    """The machine, for below a table."""
    model = "an unknown processor"
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            model = line.partition(":")[2].strip()
            break
    return f"{os.cpu_count()} CPUs ({model}), Linux {os.uname().release}."
