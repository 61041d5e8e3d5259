# SPDX-License-Identifier: GPL-2.0-or-later
# Plots with gnuplot, from the medians of a room's cases.

import shutil
import subprocess
import sys

COLOURS = {"base": "#9aa5b1", "noinit": "#5f7285", "fork": "#d9480f"}
TITLES = {"base": "base", "noinit": "base without the memset", "fork": "qemu-mq"}


def bars(path, cases):
    """A chart each transport, client and depth: leaves along, a bar a build with its range."""
    if not shutil.which("gnuplot"):
        sys.exit("bench: gnuplot is missing; run ./configure --install-deps")
    charts = {}
    for case in cases:
        charts.setdefault((case.transport, case.client, case.depth), []).append(case)
    columns = len({case.depth for case in cases})
    rows = len(charts) // columns
    script = [f"set terminal svg size {360 * columns},{300 * rows} font 'sans,11' "
              "background '#ffffff'",
              f"set output '{path}'", f"set multiplot layout {rows},{columns}",
              "set style data histograms", "set style histogram errorbars gap 1 lw 1",
              "set style fill solid border -1", "set grid ytics", "set yrange [0:*]",
              "set xtics rotate by -20", "set key outside bottom center horizontal samplen 1"]
    for number, ((transport, client, depth), members) in enumerate(charts.items()):
        builds = [name for name in TITLES if name in members[0].values]
        script.append(f"$d{number} << EOD")
        for case in members:
            values = [f"{value:.2f}" for name in builds for value in
                      (case.median(name), min(case.values[name]), max(case.values[name]))]
            script.append(f'"{case.leaf}" ' + " ".join(values))
        script.append("EOD")
        script.append(f"set title '{transport}, client {client}, depth {depth}: "
                      f"{members[0].unit()}'")
        script.append("plot " + ", ".join(
            f"$d{number} using {2 + 3 * i}:{3 + 3 * i}:{4 + 3 * i}:xtic(1) "
            f"title '{TITLES[name]}' lc rgb '{COLOURS[name]}'" for i, name in enumerate(builds)))
    subprocess.run(["gnuplot"], input="\n".join(script) + "\n", text=True, check=True)
