# SPDX-License-Identifier: GPL-2.0-or-later
# The kind of group whose tests are programs registered with meson: a suite, or a list of names.
#
# The command and environment come from meson's own introspection, so that a test runs here as
# `meson test` runs it. One program is one result; TAP lines inside it that fail are named, and
# those that are skipped are remembered for the comparison with the reference.

from pathlib import Path
from typing import List, Optional

from .model import FAIL, PASS, SKIP, Build, CannotRun, Finished, Point, Test
from .tap import Tap

# meson's time limits are for idle machines; a run here only must not hang.
PATIENCE = 10


def tests(build: Build, suite: Optional[str] = None, names: Optional[List[str]] = None,
          prefix: str = '', in_build: bool = False) -> List[Test]:
    """Tests run in their own scratch, or in the build: the base's name files from there."""
    registered = build.meson_tests()
    if suite is not None:
        chosen = [t for t in registered
                  if any(s.split(':')[-1] == suite for s in t['suite'])]
    else:
        by_name = {t['name']: t for t in registered}
        missing = [n for n in names if prefix + n not in by_name]
        if missing:
            raise CannotRun('not registered in this build: ' + ' '.join(missing))
        chosen = [by_name[prefix + n] for n in names]
    return [to_test(t, prefix, build.dir if in_build else None) for t in chosen]


def to_test(t: dict, prefix: str, cwd: Optional[Path]) -> Test:
    return Test(t['name'][len(prefix):], t['cmd'],
                judge_tap if t['protocol'] == 'tap' else judge_exit,
                cwd=Path(t['workdir']) if t['workdir'] else cwd, env=t['env'],
                deadline=PATIENCE * max(t['timeout'], 30))


def judge_tap(test: Test, run: Finished) -> List[Point]:
    tap = Tap(run.stdout)
    failed = [p.name for p in tap.points if p.status == FAIL]
    fault = tap.fault(run)
    if failed or fault:
        why = '; '.join(filter(None, ['not ok: ' + ', '.join(failed) if failed else '', fault]))
        return [Point(test.name, FAIL, why)]
    skips = {p.name: p.reason for p in tap.points if p.status == SKIP}
    if tap.plan == 0:
        return [Point(test.name, SKIP, tap.skip_all)]
    if len(skips) == len(tap.points):
        return [Point(test.name, SKIP, next(iter(skips.values())))]
    return [Point(test.name, PASS, skips=skips)]


def judge_exit(test: Test, run: Finished) -> List[Point]:
    if run.timed_out or run.rc not in (0, 77):
        return [Point(test.name, FAIL, run.how_it_ended())]
    return [Point(test.name, SKIP if run.rc == 77 else PASS)]
