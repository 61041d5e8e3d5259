# SPDX-License-Identifier: GPL-2.0-or-later
# What serves disks to the domains: qemu-storage-daemon, by the command that the document shows, and
# the controller that the NVMe driver is tested against.

import contextlib
import os
import re
import shlex
import sys
from pathlib import Path

import domain

sys.path.append(str(Path(__file__).resolve().parent.parent / "qtest"))

IMAGE, SOCKET = "/var/lib/libvirt/images/disk0.img", "/run/disk0.sock"


@contextlib.contextmanager
def storage_daemon(world, heading, image):
    """The command of a section of the document, with this image and a socket of ours: yields the
    socket, its QMP, and a function that kills it."""
    programs = qtest_module(world, "programs")
    socket = world.host.work / "export.sock"
    text, = re.findall(r"^    (qemu-storage-daemon (?:.*\\\n)*.*)$", domain.sections()[heading], re.M)
    words = shlex.split(text.replace("\\\n", " ").replace(IMAGE, str(image))
                        .replace(SOCKET, str(socket)))[1:]

    def monitor(fd):
        return ["--chardev", f"socket,id=qmp,fd={fd}", "--monitor", "chardev=qmp"]

    with programs.run(programs.DAEMON, words, monitor) as (process, qmp):
        def kill():
            process.kill()
            process.wait()

        yield socket, qmp, kill


@contextlib.contextmanager
def nvme_controller(world, size):
    """A controller with a namespace of this size; yields it, whose driver must do nothing wrong."""
    with qtest_module(world, "nvme").target("--namespace", f"mem,size={size}") as controller:
        yield controller


def qtest_module(world, name):
    """One of tests/qtest, which find their programs by MQ_BUILD."""
    os.environ.setdefault("MQ_BUILD", str(world.host.arguments.build.resolve()))
    return __import__(name)
