# SPDX-License-Identifier: GPL-2.0-or-later
# Plots with gnuplot: bars of medians, each with the range of its runs.

import shutil
import statistics
import subprocess
import sys

COLOURS = {"base": "#9aa5b1", "noinit": "#5f7285", "fork": "#d9480f", "fio": "#2b8a3e",
           "adaptive": "#d9480f", "busy": "#862e9c", "off": "#1971c2",
          "ceiling": "#9aa5b1", "polled": "#d9480f", "interrupts": "#1971c2"}
TITLES = {"base": "base", "noinit": "base without the memset", "fork": "qemu-mq", "fio": "fio",
          "adaptive": "adaptive", "busy": "busy", "off": "off",
          "ceiling": "no driver", "polled": "polled", "interrupts": "interrupts"}


def bars(path, charts, columns):
    """Charts in rows of so many: of each a title and groups, a label with the runs by name."""
    if not shutil.which("gnuplot"):
        sys.exit("bench: gnuplot is missing; run ./configure --install-deps")
    rows = -(-len(charts) // columns)
    script = [f"set terminal svg size {360 * columns},{300 * rows} font 'sans,11' "
              "background '#ffffff'",
              f"set output '{path}'", f"set multiplot layout {rows},{columns}",
              "set style data histograms", "set style histogram errorbars gap 1 lw 1",
              "set style fill solid border -1", "set grid ytics", "set yrange [0:*]",
              "set xtics rotate by -20", "set key outside bottom center horizontal samplen 1"]
    for number, (title, groups) in enumerate(charts):
        names = [name for name in TITLES if name in groups[0][1]]
        script.append(f"$d{number} << EOD")
        for label, runs in groups:
            values = [f"{value:.2f}" for name in names for value in
                      (statistics.median(runs[name]), min(runs[name]), max(runs[name]))]
            script.append(f'"{label}" ' + " ".join(values))
        script += ["EOD", f"set title '{title}'", "plot " + ", ".join(
            f"$d{number} using {2 + 3 * i}:{3 + 3 * i}:{4 + 3 * i}:xtic(1) "
            f"title '{TITLES[name]}' lc rgb '{COLOURS[name]}'" for i, name in enumerate(names))]
    subprocess.run(["gnuplot"], input="\n".join(script) + "\n", text=True, check=True)
