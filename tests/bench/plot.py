# SPDX-License-Identifier: GPL-2.0-or-later
# Plots with gnuplot, from the medians of a room's cases.

import shutil
import statistics
import subprocess
import sys

COLOURS = {"base": "#9aa5b1", "noinit": "#5f7285", "fork": "#d9480f"}
TITLES = {"base": "base", "noinit": "base without the memset", "fork": "qemu-mq"}


def bars(path, cases):
    """One chart a transport and depth: leaves along, a bar a build, range as error bars."""
    if not shutil.which("gnuplot"):
        sys.exit("bench: gnuplot is missing; run ./configure --install-deps")
    groups = {}
    for case in cases:
        groups.setdefault((case["transport"], case["depth"]), []).append(case)
    rows = len({transport for transport, _ in groups})
    script = [f"set terminal svg size 1080,{340 * rows} font 'sans,11' background '#ffffff'",
              f"set output '{path}'",
              f"set multiplot layout {rows},{len(groups) // rows}",
              "set style data histograms", "set style histogram errorbars gap 1 lw 1",
              "set style fill solid border -1", "set grid ytics", "set yrange [0:*]",
              "set xtics rotate by -20", "set key top left samplen 1"]
    for (transport, depth), members in groups.items():
        builds = [name for name in TITLES if name in members[0]]
        block = f"$d{len(script)}"
        script.append(f"{block} << EOD")
        for case in members:
            values = [f"{value / 1000:.2f}" for name in builds for value in
                      (statistics.median(case[name]), min(case[name]), max(case[name]))]
            script.append(f'"{case["leaf"]}" ' + " ".join(values))
        script.append("EOD")
        script.append(f"set title '{transport}, depth {depth}: thousand reads a second'")
        script.append("plot " + ", ".join(
            f"{block} using {2 + 3 * i}:{3 + 3 * i}:{4 + 3 * i}:xtic(1) "
            f"title '{TITLES[name]}' lc rgb '{COLOURS[name]}'" for i, name in enumerate(builds)))
    subprocess.run(["gnuplot"], input="\n".join(script) + "\n", text=True, check=True)
