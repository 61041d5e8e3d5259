# SPDX-License-Identifier: GPL-2.0-or-later
# Programs under load, for tests of the fast path: a qemu-storage-daemon or a QEMU without guest,
# its QMP, and ringload that drives its virtqueues.

import contextlib
import io
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
sys.path.insert(0, str(ROOT / "tests" / "guest"))

import errors
from lines import Deadline, Lines
from qmp import Qmp

BUILD = Path(os.environ.get("MQ_BUILD", ROOT / "build" / "qemu"))
RINGLOAD = BUILD / "mq" / "tests" / "bench" / "ringload" / "ringload"
# one that was built otherwise, such as with sanitizers
DAEMON = Path(os.environ.get("MQ_DAEMON", BUILD / "storage-daemon" / "qemu-storage-daemon"))
SYSTEM = BUILD / "qemu-system-x86_64"
# For all that a test does with one program: a slow and busy host, on which a disk has been seen to
# stand still for minutes, must not make it fail.
SECONDS = 600
KINDS = ("read", "write", "flush", "discard", "write-zeroes")
MIB = 1 << 20
NULL = f"null-co,node-name=null0,size={256 * MIB},read-zeroes=off"
# what the server needs more time for than ringload: the ring is always full
BUSY_NULL = NULL.replace("zeroes=off", "zeroes=on")
BUSY_LOAD = ["--rw", "randread", "--block-size", "1M", "--depth", "128"]
LOAD = ["--rw", "mix", "--flush-every", "10", "--requests", "5000"]


class Program:
    """A running program, its QMP and the words that tell ringload where it is."""

    def __init__(self, process, qmp, where=None):
        self.process = process
        self.qmp = qmp
        self.where = where
        self.command = qmp.command

    def queues(self):
        """query-block-queues, once no path is being looked for any more."""
        deadline = time.monotonic() + SECONDS
        while True:
            found = self.command("query-block-queues")
            if not any("changing" in one["reasons"] for one in found):
                return found
            assert time.monotonic() < deadline, found

    def idle(self):
        """The one export or device, once nothing is in flight: who has an answer may have it
        before its request is counted as ended."""
        deadline = time.monotonic() + SECONDS
        while True:
            one, = self.queues()
            if one["in-flight"] == 0:
                return one
            assert time.monotonic() < deadline, one

    def reasons(self):
        """Those of the one export or device."""
        one, = self.queues()
        assert one["fast-path"] == (not one["reasons"]), one
        return one["reasons"]

    def hmp(self, line):
        return self.command("human-monitor-command", {"command-line": line})


@contextlib.contextmanager
def run(program, arguments, monitor, environment=None, enter=None):
    """A program, which calls enter before it is one; monitor makes its options of a file
    descriptor. Yields process and QMP."""
    ours, theirs = socket.socketpair()
    process = subprocess.Popen([program, *monitor(theirs.fileno()), *arguments],
                               pass_fds=[theirs.fileno()], stdin=subprocess.DEVNULL,
                               env={**os.environ, **(environment or {})}, preexec_fn=enter)
    theirs.close()
    try:
        qmp = Qmp(Lines(ours, Deadline(SECONDS), io.BytesIO()),
                  lambda: errors.Error(f"{program.name} ended"))
        qmp.negotiate()
        yield process, qmp
    finally:
        process.kill()
        process.wait()
        ours.close()


@contextlib.contextmanager
def captured():
    """For a program's errors: what it is to enter with, and a function that returns the lines
    since the last call."""
    with tempfile.TemporaryFile("w+b") as file, \
            open(f"/proc/self/fd/{file.fileno()}", "rb") as reader:    # with a place of its own
        yield lambda: os.dup2(file.fileno(), 2), lambda: reader.read().decode().splitlines()


@contextlib.contextmanager
def daemon(*blockdevs, node="null0", thread=",iothread=io0", export="", environment=None,
           enter=None):
    """A storage daemon that exports this node as export e0, from IOThread io0."""
    with tempfile.TemporaryDirectory(prefix="fast-") as folder:
        path = Path(folder) / "s"
        arguments = ["--object", "iothread,id=io0", "--object", "iothread,id=io1",
                     "--object", "throttle-group,id=g0"]
        for blockdev in blockdevs:
            arguments += ["--blockdev", blockdev]
        arguments += ["--export", f"vhost-user-blk,id=e0,node-name={node}{thread},"
                      f"writable=on,addr.type=unix,addr.path={path}{export}"]

        def monitor(fd):
            return ["--chardev", f"socket,id=qmp,fd={fd}", "--monitor", "chardev=qmp"]

        with run(DAEMON, arguments, monitor, environment, enter) as (process, qmp):
            yield Program(process, qmp, ["--vhost-user", path])


@contextlib.contextmanager
def system(*arguments, environment=None, enter=None):
    """A QEMU without guest, which ringload can drive by qtest."""
    with tempfile.TemporaryDirectory(prefix="fast-") as folder, \
            tempfile.NamedTemporaryFile(prefix="fast-", dir="/dev/shm") as memory:
        path = Path(folder) / "q"
        fixed = ["-M", "q35,memory-backend=mem", "-m", "256M", "-accel", "qtest", "-object",
                 f"memory-backend-file,id=mem,size=256M,mem-path={memory.name},share=on",
                 "-display", "none", "-nodefaults", "-qtest-log", "none",
                 "-qtest", f"unix:{path},server=on,wait=off",
                 "-object", "iothread,id=io0", "-object", "iothread,id=io1"]

        def monitor(fd):
            return ["-chardev", f"socket,id=qmp,fd={fd}", "-mon", "chardev=qmp,mode=control"]

        with run(SYSTEM, fixed + list(arguments), monitor, environment, enter) as (process, qmp):
            yield Program(process, qmp, ["--qtest", path, "--mem", memory.name])


def disk(options="", thread=",iothread=io0", blockdev=NULL):
    """The arguments of a QEMU with one virtio-blk device."""
    return ["-blockdev", blockdev, "-device",
            f"virtio-blk-pci,id=disk0,disable-legacy=on,drive=null0{thread}{options}"]


@contextlib.contextmanager
def loaded(program, *options):
    """ringload at work; yields its process, which is to be ended by a signal or by its end."""
    process = subprocess.Popen([str(word) for word in (RINGLOAD, *program.where, "--timeout",
                                                       SECONDS // 2, *options, "--json", "-")],
                               stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def result(process):
    """What ringload found, at its end; it must have found nothing wrong."""
    out, err = process.communicate(timeout=SECONDS)
    assert process.returncode == 0, (process.returncode, err)
    return json.loads(out)


def load(program, *options):
    with loaded(program, *(options or LOAD)) as process:
        return result(process)


def counts(one, way):
    """Requests that took this way, by kind, of all threads.

    A device looks for a partition table at its start, in the main loop, once.
    """
    by_kind = {kind: sum(queue[kind][f"{way}-requests"] for queue in one["queues"])
               for kind in KINDS}
    if way == "ordinary" and "qdev" in one:
        by_kind["read"] -= 1
    return by_kind
