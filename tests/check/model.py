# SPDX-License-Identifier: GPL-2.0-or-later
# The objects the runner's parts hand to each other: Build, Test, Finished, Point.

import json
import os
import subprocess
from dataclasses import dataclass, field
from pathlib import Path
from typing import Callable, Dict, List, Optional

PASS, FAIL, SKIP = 'pass', 'fail', 'skip'


class CannotRun(Exception):
    """A group's tests cannot be listed (nothing built, a list names an unknown test)."""


@dataclass
class Point:
    """One counted result. `skips` are the parts inside a passed test that did not run."""
    name: str
    status: str
    reason: str = ''
    skips: Dict[str, str] = field(default_factory=dict)


@dataclass
class Finished:
    """What is left of a test's process when a judge looks at it."""
    rc: int
    timed_out: bool
    deadline: int
    stdout: str
    stderr: str
    tmp: Path
    leftovers: List[str]

    def how_it_ended(self) -> str:
        if self.timed_out:
            return f'still running after its deadline of {self.deadline} s, ended'
        if self.rc < 0:
            return f'killed by signal {-self.rc}'
        return f'exit status {self.rc}'


@dataclass
class Test:
    """One process to run, and how to read what it said.

    `judge` returns the points to count; none at all means the test does not apply
    (an iotest for another image format) and leaves no trace in the totals.
    """
    name: str
    argv: List[str]
    judge: Callable[['Test', Finished], List[Point]]
    cwd: Optional[Path] = None              # its own scratch directory when None
    env: Dict[str, str] = field(default_factory=dict)
    deadline: int = 300
    skip: str = ''                          # why this machine cannot run it


class Build:
    """A build directory of QEMU (the fork's or the base's) and the sources behind it."""

    def __init__(self, build: Path, source: Path):
        self.dir = build.resolve()
        self.source = source.resolve()

    @property
    def base(self) -> Optional[Path]:
        """The laid-out base source this build was configured from."""
        try:
            for line in (self.dir / 'config-host.mak').read_text().splitlines():
                if line.startswith('SRC_PATH='):
                    return Path(self.dir, line.split('=', 1)[1]).resolve()
        except OSError:
            pass
        return None

    @property
    def python(self) -> str:
        return str(self.dir / 'pyvenv/bin/python3')

    def require(self, *names: str) -> None:
        for name in names:
            if not os.access(self.dir / name, os.X_OK):
                raise CannotRun(f'{self.dir / name} is not built')

    def require_firmware(self) -> None:
        """Nearly every qtest and iotest with a machine dies without; say so once."""
        wanted = ['bios-256k.bin', 'vgabios-stdvga.bin', 'efi-e1000.rom']
        out = subprocess.run([str(self.dir / 'qemu-system-x86_64'), '-L', 'help'], text=True,
                             stdin=subprocess.DEVNULL, capture_output=True, check=False)
        folders = out.stdout.split()
        missing = [n for n in wanted if not any(Path(d, n).exists() for d in folders)]
        if missing:
            raise CannotRun(f'qemu-system-x86_64 finds no {", ".join(missing)} in its folders: '
                            + ' '.join(folders))

    def meson_tests(self) -> List[dict]:
        try:
            return json.loads((self.dir / 'meson-info/intro-tests.json').read_text())
        except OSError as e:
            raise CannotRun(f'not a configured build: {e}') from e
