#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
# Runs the project's tests, and the base's own, in groups: what `make check` calls.
#
#   tests/check.py --build build/qemu                     everything
#   tests/check.py --build build/qemu --group base-unit   one group (repeatable)
#   tests/check.py --build build/qemu drain '14*'         what has one of these in its name
#   tests/check.py --build build/qemu --list              what there is
#
# The last line is "N passed, N failed, N skipped"; the exit status is 1 when anything failed or
# nothing ran. Every test leaves its log in build/check/<group>/. No test is run a second time.
#
# To add a test: put an executable test-* that prints TAP into tests/tooling, tests/sanitizer,
# tests/qtest, tests/stress, tests/guest, tests/libvirt, tests/package, tests/bench or
# tests/bench/ringload (it gets MQ_BUILD, MQ_SOURCE, MQ_BASE and a TMPDIR of its own), register a
# program with meson under the suite `mq`, or name a test of the base in tests/check/lists.
# To add a group: a line in GROUPS below. What a kind of group can do stands in tests/check:
# script.py, mesontest.py, qos.py, iotests.py; a kind lists its tests and judges their output.
#
# A test that must not run is named in tests/check/exclusions with the reason. How each test of
# the base ends on the unpatched base stands in tests/check/reference; a test that passes there
# must not be skipped here, but for the reasons in tests/check/machine-reasons (reference.py). The
# reference is written by --record, from a build of the unpatched base.

import sys
sys.dont_write_bytecode = True

import argparse                                             # noqa: E402
import fcntl                                                # noqa: E402
import os                                                   # noqa: E402
import shutil                                               # noqa: E402
import signal                                               # noqa: E402
from concurrent.futures import ThreadPoolExecutor           # noqa: E402
from dataclasses import dataclass                           # noqa: E402
from fnmatch import fnmatch                                 # noqa: E402
from pathlib import Path                                    # noqa: E402
from typing import Callable, List                           # noqa: E402

from check import iotests, machine, mesontest, process      # noqa: E402
from check import qos, reference, script                    # noqa: E402
from check.model import FAIL, PASS, SKIP, Build, CannotRun, Point, Test     # noqa: E402
from check.report import Report                             # noqa: E402

SOURCE = Path(__file__).resolve().parent.parent


@dataclass
class Group:
    name: str
    what: str
    tests: Callable[[Build], List[Test]]
    base: bool = False      # the base's own tests, compared with the reference
    alone: bool = False     # one at a time, whatever -j says


def base_qtests(b: Build) -> List[Test]:
    return (mesontest.tests(b, names=list(reference.listed('base-qtest')), prefix='qtest-x86_64/',
                            in_build=True) +
            qos.tests(b, list(reference.listed('base-qos'))))


# How to run the base's iotests, and what all tests of this way need of the machine.
EXTRA_WAYS = {
    'raw': (['-raw'], ''),
    'qcow2': (['-qcow2'], ''),
    'raw-uring': (['-raw', '-i', 'io_uring'], 'io_uring'),
    'raw-native': (['-raw', '-nocache', '-i', 'native'], ''),
    'raw-fuse': (['-raw', '-fuse'], 'fuse'),
    'qcow2-uring': (['-qcow2', '-i', 'io_uring'], 'io_uring'),
}


def extra_iotests(b: Build) -> List[Test]:
    found = []
    for label, (way, need) in EXTRA_WAYS.items():
        listed = reference.listed(f'iotests-{label}')
        tests = iotests.tests(b, way, label=label + ':', names=list(listed))
        for test, own_need in zip(tests, listed.values()):
            test.skip = machine.missing(need) or machine.missing(own_need)
        found += tests
    return found


WITH_BUILD = ['--build', '@BUILD@']

GROUPS = [
    Group('tooling', "the project's scripts",
          lambda b: script.tests(b, 'tooling', deadline=1800)),
    Group('unit', 'our unit tests',
          lambda b: mesontest.tests(b, suite='mq')),
    Group('sanitizer', 'our threads and event loops under sanitizers',
          lambda b: script.tests(b, 'sanitizer', deadline=2400), alone=True),
    Group('qtest', 'our options and commands, in the programs that have them',
          lambda b: script.tests(b, 'qtest', deadline=1200)),
    Group('stress', 'verified load while something changes',
          lambda b: script.tests(b, 'stress', deadline=2400)),
    Group('base-unit', "the base's unit tests of block layer, event loops, threads, QOM and QAPI",
          lambda b: mesontest.tests(b, names=list(reference.listed('base-unit')), in_build=True),
          base=True),
    Group('iotests-raw', "the base's iotests, group auto, raw",
          lambda b: iotests.tests(b, ['-raw'], group='auto'), base=True),
    Group('bench', 'the load generator and the benchmarks; no figure is judged',
          lambda b: (script.tests(b, 'bench/ringload', deadline=1200) +
                     script.tests(b, 'bench', deadline=1200)),
          alone=True),
    Group('guest', 'Linux guests',
          lambda b: script.tests(b, 'guest', WITH_BUILD, deadline=2400)),
    Group('libvirt', "Debian's libvirt with our binaries",
          lambda b: script.tests(b, 'libvirt', WITH_BUILD, deadline=2400), alone=True),
    Group('package', 'the Debian package, in a fresh Debian',
          lambda b: script.tests(b, 'package', WITH_BUILD, deadline=2400), alone=True),
    Group('base-qtest', "the base's qtests of block devices, QMP and QOM", base_qtests, base=True),
    Group('iotests-extra', "the base's iotests beyond auto, and other AIO modes",
          extra_iotests, base=True),
    Group('iotests-qcow2', "the base's iotests, group auto, qcow2",
          lambda b: iotests.tests(b, ['-qcow2'], group='auto'), base=True),
]


def parse() -> argparse.Namespace:
    p = argparse.ArgumentParser(description="Runs the project's tests and the base's own.")
    p.add_argument('--build', required=True, type=Path, help='build directory of QEMU')
    p.add_argument('--group', action='append', choices=[g.name for g in GROUPS],
                   help='only this group (may be given again)')
    p.add_argument('-j', type=int, default=len(os.sched_getaffinity(0)), metavar='N',
                   help='tests at a time (default: one a core)')
    p.add_argument('--deadline', type=int, metavar='SECONDS',
                   help='for every test, in place of its own')
    p.add_argument('--list', action='store_true', help='list groups and tests, run none')
    p.add_argument('--out', type=Path, default=SOURCE / 'build/check',
                   help='folder of the logs (default: build/check)')
    p.add_argument('--source', type=Path, default=SOURCE, help=argparse.SUPPRESS)
    p.add_argument('--data', type=Path, default=reference.HERE, help=argparse.SUPPRESS)
    p.add_argument('--grace', type=float, default=process.GRACE, help=argparse.SUPPRESS)
    p.add_argument('--record', action='store_true',
                   help="write the reference from this build, which must be the unpatched base's")
    p.add_argument('name', nargs='*', help='only tests with this in their name (may have * and ?)')
    return p.parse_args()


def wanted(test: Test, patterns: List[str]) -> bool:
    return not patterns or any(fnmatch(test.name, f'*{p}*') for p in patterns)


class Run:
    """One call of the program: groups one after the other, their tests side by side."""

    def __init__(self, args: argparse.Namespace):
        self.args = args
        self.build = Build(args.build, args.source)
        self.out = args.out.resolve()
        self.excluded = reference.exclusions(args.data / 'exclusions')
        self.report = Report()
        self.env = {**os.environ, 'MQ_BUILD': str(self.build.dir),
                    'MQ_SOURCE': str(self.build.source), 'MQ_BASE': str(self.build.base or ''),
                    'LC_ALL': 'C.UTF-8', 'PYTHONDONTWRITEBYTECODE': '1'}

    def groups(self, groups: List[Group]) -> None:
        self.runner = process.Runner(process.Scratch(self.out), self.args.grace)
        try:
            for group in groups:
                self.group(group)
        except KeyboardInterrupt:
            self.report.say('interrupted')
            self.report.counts[FAIL] += 1
        finally:
            self.runner.close()

    def group(self, group: Group) -> None:
        logs = self.out / group.name
        shutil.rmtree(logs, ignore_errors=True)
        try:
            listed = group.tests(self.build)
            if not listed:
                raise CannotRun('there are no tests in this group')
        except Exception as e:      # one group that cannot be listed must not hide the others
            self.report.start_group(group.name, group.what, 0)
            self.report.add(Point('(all of it)', FAIL, str(e)), logs)
            self.report.end_group()
            return
        chosen = [t for t in listed if wanted(t, self.args.name)]
        if not chosen:
            return
        self.report.start_group(group.name, group.what, len(chosen))
        known = reference.Reference(self.args.data, group.name)
        points = self.run_all(group, chosen, known)
        if not self.args.name:
            self.whole_group(group, listed, points, known, logs)
        self.report.end_group()

    def run_all(self, group: Group, tests: List[Test], known: reference.Reference) -> List[Point]:
        points: List[Point] = []
        pool = ThreadPoolExecutor(1 if group.alone else max(1, self.args.j))
        try:
            for result in [pool.submit(self.one, group, t, known) for t in tests]:
                points += result.result()
        except BaseException:
            self.runner.stop()
            pool.shutdown(cancel_futures=True)
            raise
        pool.shutdown()
        return points

    def one(self, group: Group, test: Test, known: reference.Reference) -> List[Point]:
        log = self.out / group.name / (test.name.replace('/', '.').replace(':', '-') + '.log')
        why = self.excluded.get((group.name, test.name))
        why = 'excluded: ' + why if why else test.skip
        if why:
            points = [Point(test.name, SKIP, why)]
            self.report.done(test.name, points, log)
            return points
        if self.args.deadline:
            test.deadline = self.args.deadline
        self.report.start(test.name)
        try:
            done = self.runner.run(test, log, self.env)
        except OSError as e:
            points = [Point(test.name, FAIL, f'cannot be started: {e}')]
        else:
            try:
                points = test.judge(test, done)
            except Exception as e:      # a judge must not take the run down
                points = [Point(test.name, FAIL, f'its output cannot be judged: {e!r}')]
            self.runner.clean(done)
        if group.base and not self.args.record:
            points = [known.compare(p) for p in points]
        self.report.done(test.name, points, log)
        return points

    def whole_group(self, group: Group, listed: List[Test], points: List[Point],
                    known: reference.Reference, logs: Path) -> None:
        """What can be said only of a group that ran without a filter."""
        names = {t.name for t in listed}
        extra = [Point(n, FAIL, 'excluded, but there is no such test')
                 for g, n in self.excluded if g == group.name and n not in names]
        if group.base and self.args.record:
            known.record(points, self.build)
            extra += [Point(p.name, FAIL, 'an unpatched base must not fail: exclude it')
                      for p in points if p.status == FAIL]
        elif group.base:
            extra += known.vanished(points)
        for p in extra:
            self.report.add(p, logs)

    def list(self, groups: List[Group]) -> int:
        status = 0
        for group in groups:
            print(f'{group.name}: {group.what}')
            try:
                for t in group.tests(self.build):
                    if wanted(t, self.args.name):
                        why = self.excluded.get((group.name, t.name))
                        print(f'    {t.name}' + (f'  (excluded: {why})' if why else ''))
            except CannotRun as e:
                print(f'    cannot be listed: {e}')
                status = 1
        return status


def one_at_a_time(out: Path):
    """Two runs would take each other's scratch away."""
    out.mkdir(parents=True, exist_ok=True)
    lock = open(out / 'lock', 'w')      # held until the program ends
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        sys.exit(f'check: another run is writing to {out}')
    return lock


def interrupt(*_):
    raise KeyboardInterrupt


def main() -> int:
    args = parse()
    groups = [g for g in GROUPS if args.group is None or g.name in args.group]
    try:
        run = Run(args)
    except CannotRun as e:
        sys.exit(f'check: {e}')
    if args.list:
        return run.list(groups)
    lock = one_at_a_time(run.out)
    # a shell that starts it in the background has it ignore the interrupt
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for s in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(s, interrupt)
    run.groups(groups)
    run.report.close()
    lock.close()
    counts = run.report.counts
    return 1 if counts[FAIL] or not counts[PASS] else 0


if __name__ == '__main__':
    sys.exit(main())
