# SPDX-License-Identifier: GPL-2.0-or-later
# What is known beforehand: exclusions, and the result of every base test on the unpatched base.
#
# reference/<group> has a line a test: name, result, and what was skipped inside it (of a pass)
# or why (of a skip), with tabs between. A test that passes there and is skipped here has lost
# something, and fails, unless machine-reasons says that its reason is the machine's.

import datetime
import os
import re
from pathlib import Path
from typing import Dict, Iterable, List, Optional, Tuple

from .model import FAIL, PASS, SKIP, Build, CannotRun, Point

HERE = Path(__file__).parent


def lines_of(path: Path) -> List[str]:
    """A data file's lines without comments."""
    return [line.rstrip() for line in path.read_text().splitlines()
            if line.strip() and not line.startswith('#')]


def listed(name: str) -> Dict[str, str]:
    """The test names in lists/NAME, with what each needs of the machine ('' mostly)."""
    return {fields[0]: ' '.join(fields[1:])
            for fields in map(str.split, lines_of(HERE / 'lists' / name))}


def exclusions(path: Path) -> Dict[Tuple[str, str], str]:
    found = {}
    if not path.exists():
        return found
    for line in lines_of(path):
        fields = line.split(None, 2)
        if len(fields) < 3:
            raise CannotRun(f'{path}: an exclusion needs group, test and reason: {line}')
        found[fields[0], fields[1]] = fields[2]
    return found


class Reference:
    """One group's results on the unpatched base; empty when none were recorded."""

    def __init__(self, folder: Path, group: str):
        self.path = folder / 'reference' / group
        machine = folder / 'machine-reasons'
        self.machine = [re.compile(r) for r in lines_of(machine)] if machine.exists() else []
        self.results: Dict[str, Tuple[str, str]] = {}
        if self.path.exists():
            for line in lines_of(self.path):
                name, status, detail = (line.split('\t') + ['', ''])[:3]
                self.results[name] = (status, detail)

    def is_machines(self, reason: str) -> bool:
        return any(r.search(reason) for r in self.machine)

    def compare(self, point: Point) -> Point:
        """The point, turned into a failure when it skips what the base runs."""
        status, detail = self.results.get(point.name, ('', ''))
        if status != PASS:
            return point
        if point.status == SKIP and not self.is_machines(point.reason):
            return Point(point.name, FAIL, 'passes on the base, skipped here: ' + point.reason)
        if point.status == PASS:
            known = set(detail.split('; ')) if detail else set()
            lost = [f'{n} ({why})' for n, why in point.skips.items()
                    if n not in known and not self.is_machines(why)]
            if lost:
                return Point(point.name, FAIL,
                             'runs on the base, skipped here: ' + '; '.join(lost))
        return point

    def vanished(self, points: Iterable[Point]) -> List[Point]:
        """What the base ran and a whole run of this group did not come across."""
        seen = {p.name for p in points}
        return [Point(n, FAIL, 'passes on the base, is not among the tests here')
                for n, (status, _) in self.results.items() if status == PASS and n not in seen]

    def record(self, points: Iterable[Point], build: Build) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        rows = []
        for p in sorted(points, key=lambda p: p.name):
            detail = '; '.join(sorted(p.skips)) if p.status == PASS else p.reason
            rows.append(f'{p.name}\t{p.status}\t{detail}'.rstrip())
        self.path.write_text('\n'.join(header(build) + rows) + '\n')


def header(build: Build) -> List[str]:
    u = os.uname()
    version = (build.base / 'VERSION').read_text().strip() if build.base else 'unknown'
    distro = os_name() or u.sysname
    who = 'root' if os.geteuid() == 0 else 'an ordinary user'
    return [f'# Results of the unpatched base, QEMU {version}, {datetime.date.today()}:',
            f'# {distro}, Linux {u.release} {u.machine}, {len(os.sched_getaffinity(0))} cores, '
            f'{"with" if os.path.exists("/dev/kvm") else "no"} /dev/kvm, '
            f'{"with" if os.path.exists("/dev/fuse") else "no"} /dev/fuse, as {who}.']


def os_name() -> Optional[str]:
    try:
        text = Path('/etc/os-release').read_text()
    except OSError:
        return None
    m = re.search(r'^PRETTY_NAME="?([^"\n]*)', text, re.M)
    return m.group(1) if m else None
