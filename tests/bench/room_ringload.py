# SPDX-License-Identifier: GPL-2.0-or-later
# The load generator itself, against a server that does nothing: what it cannot
# reach here, no server can be seen to reach.

import load
import results

GOAL = 2_000_000
DEPTHS = (1, 32, 128)


def run(context):
    marks = []
    for depth in DEPTHS:
        iops = [load.ringload(context, ["--self", "--self-cpus", str(context.cpus[0])],
                              depth)["iops"] for _ in range(context.runs)]
        marks.append(results.mark("ringload", f"against nothing, depth {depth}", iops, "IOPS",
                                  GOAL, ">="))
    return marks
