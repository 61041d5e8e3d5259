# SPDX-License-Identifier: GPL-2.0-or-later
# The kind of group that is a choice of paths of the base's tests/qtest/qos-test.
#
# qos-test walks a graph of machines, buses and devices; each path is a test, and runs here in
# a process of its own.

import os
import subprocess
from typing import List

from .mesontest import judge_tap
from .model import Build, CannotRun, Test

PROGRAM = 'tests/qtest/qos-test'


def tests(build: Build, devices: List[str], deadline: int = 1200) -> List[Test]:
    build.require(PROGRAM, 'qemu-system-x86_64')
    build.require_firmware()
    entry = next((t for t in build.meson_tests() if t['name'].endswith('/qos-test')), None)
    if entry is None:
        raise CannotRun('qos-test is not registered in this build')
    paths = listed(build, entry)
    found = []
    for device in devices:
        # The graph's node is named like the device, with or without the bus (virtio-blk-pci).
        mine = [p for p in paths if {device, device + '-pci'} & set(p.split('/'))]
        if not mine:
            raise CannotRun(f'qos-test has no path through {device}')
        found += [Test(p.lstrip('/'), [entry['cmd'][0], '--tap', '-k', '-p', p], judge_tap,
                       cwd=build.dir, env=entry['env'], deadline=deadline) for p in mine]
    return found


def listed(build: Build, entry: dict) -> List[str]:
    out = subprocess.run([entry['cmd'][0], '-l'], cwd=build.dir, env={**os.environ, **entry['env']},
                         stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=120,
                         check=False)
    if out.returncode:
        raise CannotRun(f'qos-test -l: exit status {out.returncode}\n{out.stderr}')
    # newer glib lists the paths as TAP comments
    lines = (line.removeprefix('# ') for line in out.stdout.splitlines())
    return [line for line in lines if line.startswith('/')]
