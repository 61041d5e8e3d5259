# SPDX-License-Identifier: GPL-2.0-or-later
# The kind of group whose tests are our own programs, test-* in one folder, that print TAP.
#
# Each TAP line is one counted result. A program that prints no TAP at all is one result by
# its exit status (77: skipped, its last line is the reason). Leaving a process running is a
# failure.

import os
from typing import List

from .model import FAIL, PASS, SKIP, Build, CannotRun, Finished, Point, Test
from .tap import Tap


def tests(build: Build, folder: str, args: List[str] = (), deadline: int = 300) -> List[Test]:
    where = build.source / 'tests' / folder
    try:
        names = sorted(n for n in os.listdir(where) if n.startswith('test-'))
    except OSError:
        names = []
    found = []
    for name in names:
        path = where / name
        if not path.is_file():
            continue
        if not os.access(path, os.X_OK):
            raise CannotRun(f'{path} is not executable')
        argv = [a.replace('@BUILD@', str(build.dir)) for a in args]
        found.append(Test(name, [str(path), *argv], judge, cwd=build.source, deadline=deadline))
    return found


def judge(test: Test, run: Finished) -> List[Point]:
    tap = Tap(run.stdout)
    if not tap.seen():
        points = [by_exit_status(test, run)]
    elif tap.plan == 0 and not tap.fault(run):
        points = [Point(test.name, SKIP, tap.skip_all)]
    else:
        points = [Point(f'{test.name}: {p.name}', p.status, p.reason) for p in tap.points]
        if tap.fault(run):
            points.append(Point(test.name, FAIL, tap.fault(run)))
    if run.leftovers:
        points.append(Point(f'{test.name}: leaves no process running', FAIL,
                            'killed: ' + ', '.join(run.leftovers)))
    return points


def by_exit_status(test: Test, run: Finished) -> Point:
    if run.rc == 77 and not run.timed_out:
        said = (run.stdout.strip() or 'no reason given').splitlines()[-1]
        return Point(test.name, SKIP, said)
    if run.rc == 0 and not run.timed_out:
        return Point(test.name, PASS)
    return Point(test.name, FAIL, run.how_it_ended())
