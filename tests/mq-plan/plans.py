# SPDX-License-Identifier: GPL-2.0-or-later
# mq-plan, called as a package and as a program, for its tests.

import contextlib
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
sys.path.append(str(ROOT / "scripts"))

import sysfs
from mqplan import planner, topology, want

PLAN = ROOT / "scripts" / "mq-plan"
SECONDS = 600
GOOD = [name for name in sysfs.names() if not name.startswith("broken")]


@contextlib.contextmanager
def recorded(name):
    """Yields the folder of a copy of /sys."""
    with tempfile.TemporaryDirectory(prefix="plan-") as folder:
        yield sysfs.make(name, Path(folder))


def plan(host, *options):
    """The Layout for these options on a Host, or on that of this folder."""
    if isinstance(host, Path):
        host = topology.load(host)
    args = want.parser().parse_args([*map(str, options)])
    return planner.plan(host, want.check(args, host))


def run(*options, folder=None):
    return subprocess.run([PLAN, *map(str, options)], stdin=subprocess.DEVNULL, text=True,
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE, check=False,
                          timeout=SECONDS, cwd=folder)
