# SPDX-License-Identifier: GPL-2.0-or-later
# UNIX sockets of programs that have just been started.

from pathlib import Path


def listens(path):
    """Whether somebody listens there, without connecting: who does has had the name before."""
    for line in Path("/proc/net/unix").read_text().splitlines():
        words = line.split()
        if words[-1] == str(path) and int(words[3], 16) & 1 << 16:
            return True
    return False
