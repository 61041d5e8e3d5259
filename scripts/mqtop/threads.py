# SPDX-License-Identifier: GPL-2.0-or-later
# What the host's kernel says of a thread: where it ran last, and for how long.

import os
import time
from dataclasses import dataclass
from pathlib import Path

TICK_NS = 10 ** 9 // os.sysconf("SC_CLK_TCK")


@dataclass
class Times:
    """At one moment: nanoseconds on a CPU, and ready but waiting for one (None: not known)."""
    at: float
    cpu: int
    ran: int
    waited: int


def times(pid, thread):
    """The thread's, or None where it cannot be seen."""
    folder = Path(f"/proc/{pid}/task/{thread}")
    try:
        # the name before may have spaces and parentheses: fields 3 and on are behind the last
        fields = (folder / "stat").read_text(errors="replace").rpartition(")")[2].split()
        now = time.monotonic()
        try:
            ran, waited = (int(word) for word in (folder / "schedstat").read_text().split()[:2])
        except (OSError, ValueError):
            ran, waited = (int(fields[11]) + int(fields[12])) * TICK_NS, None
    except (OSError, IndexError, ValueError):
        return None
    return Times(now, int(fields[36]), ran, waited)
