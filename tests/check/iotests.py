# SPDX-License-Identifier: GPL-2.0-or-later
# The kind of group that is a choice of the base's tests/qemu-iotests, for one way to run them.
#
# A way is an image format, and an AIO mode or a cache mode where it is not the default one.
# Every test is one call of the base's own `check`, which compares the test's output with the
# one recorded in the base.

import os
import re
import subprocess
from pathlib import Path
from typing import List, Optional

from .model import FAIL, PASS, SKIP, Build, CannotRun, Finished, Point, Test

PROGRAMS = ['qemu-system-x86_64', 'qemu-img', 'qemu-io', 'qemu-nbd',
            'storage-daemon/qemu-storage-daemon', 'pyvenv/bin/python3']
# A test says so itself when it is written for other formats, protocols or modes.
NOT_FOR_US = re.compile(r'not suitable for (this|cache mode|aio mode|image option)')


def tests(build: Build, way: List[str], label: str = '', group: Optional[str] = None,
          names: Optional[List[str]] = None, deadline: int = 1800) -> List[Test]:
    build.require(*PROGRAMS)
    build.require_firmware()
    if build.base is None:
        raise CannotRun(f'no base source named in {build.dir}/config-host.mak')
    source = build.base / 'tests/qemu-iotests'
    check = [build.python, str(source / 'check'), '--source-dir', str(source),
             '--build-dir', str(build.dir / 'tests/qemu-iotests'), *way]
    if group is not None:
        names = in_group(check, source, group)
    return [Test(label + n, check + [n], judge, env={'PYTHONDONTWRITEBYTECODE': '1'},
                 deadline=deadline) for n in names]


def in_group(check: List[str], source: Path, group: str) -> List[str]:
    # TEST_DIR and SOCK_DIR are made even by a dry run; the source's folder exists already.
    env = {**os.environ, 'TEST_DIR': str(source), 'SOCK_DIR': str(source),
           'PYTHONDONTWRITEBYTECODE': '1'}
    out = subprocess.run(check + ['-n', '-g', group], env=env, cwd=source, text=True,
                         stdin=subprocess.DEVNULL, capture_output=True, timeout=120, check=False)
    if out.returncode:
        raise CannotRun(f'iotests check -n: {out.stdout}{out.stderr}')
    return out.stdout.split()


def judge(test: Test, run: Finished) -> List[Point]:
    if run.timed_out:
        return [Point(test.name, FAIL, run.how_it_ended())]
    lines = run.stdout.splitlines()
    if any(line.startswith('Failures: ') for line in lines):
        said = re.search(r'(failed, exit status .*|output mismatch)', run.stdout)
        return [Point(test.name, FAIL, said.group(1) if said else 'failed')]
    if any(line.startswith('Not run: ') for line in lines):
        reason = ' '.join(p.read_text(errors='replace').strip()
                          for p in run.tmp.glob('*/*.notrun')) or no_reason(test, run.stdout)
        return [] if NOT_FOR_US.search(reason) else [Point(test.name, SKIP, reason)]
    if run.rc == 0 and 'Passed all 1 iotests' in lines:
        skips = dict(case(line) for line in lines if '[case not run]' in line)
        return [Point(test.name, PASS, skips=skips)]
    return [Point(test.name, FAIL, run.how_it_ended())]


def no_reason(test: Test, text: str) -> str:
    """`check` itself skips a test without an expected output, and says so in its line."""
    m = re.search(r'not run .*?\.\.\.\s+(\S.*)', text)
    return m.group(1).strip() if m else 'no reason given'


def case(line: str):
    """'[case not run] name: reason' as (name, reason)."""
    text = line.split('[case not run]', 1)[1].strip()
    name, sep, reason = text.partition(': ')
    return (name, reason) if sep else (text, text)
