# SPDX-License-Identifier: GPL-2.0-or-later
# For tests of the NVMe driver: a controller to test it against (tests/nvme-target) and what is asked
# of it, programs that use it, and a front-end whose requests lie in memory as a test wants it.

import contextlib
import json
import os
import socket
import struct
import subprocess
import tempfile
import time
from pathlib import Path

import programs
from frontend import (AVAIL, DESC, GUEST, HEADERS, NEXT, PATIENCE, SET_VRING_BASE, SET_VRING_NUM,
                      STATUS, USED, WRITABLE, Connection)
from objects import Daemon
from sockets import listens

TARGET = programs.BUILD / "mq" / "tests" / "nvme-target" / "nvme-target"
QEMU_IO = programs.BUILD / "qemu-io"
MIB = programs.MIB
SECONDS = programs.SECONDS
# opcodes, NVM Express
FLUSH, WRITE, READ, WRITE_ZEROES, DSM = "0x00", "0x01", "0x02", "0x08", "0x09"
IN, OUT = 0, 1              # requests of a virtio-blk device: a read, a write


def wait(what, true, seconds=SECONDS):
    """Until true() is; what is a text, or a function that shows what there is instead."""
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, what() if callable(what) else what
        time.sleep(0.002)


def connected(path):
    """A connection to a socket that a process will have soon."""
    deadline = time.monotonic() + PATIENCE
    while True:
        it = socket.socket(socket.AF_UNIX)
        it.settimeout(PATIENCE)
        try:
            it.connect(str(path))
            return it
        except (FileNotFoundError, ConnectionRefusedError):
            it.close()
            assert time.monotonic() < deadline, f"nobody listens on {path}"
            time.sleep(0.005)


class Target:
    """A running controller, with its control socket."""

    def __init__(self, folder, *options, name="nvme"):
        self.path, control = folder / name, folder / f"{name}-control"
        self.log = folder / f"{name}-log"
        with open(self.log, "wb") as log:
            self.process = subprocess.Popen(
                [TARGET, "--socket", self.path, "--control", control, *map(str, options)],
                stdin=subprocess.DEVNULL, stderr=log)
        self.lines = connected(control).makefile("rw")

    def ask(self, line):
        """One command; what it answers, which is not an error."""
        self.lines.write(line + "\n")
        self.lines.flush()
        verdict, _, rest = self.lines.readline().rstrip("\n").partition(" ")
        assert verdict == "ok", (line, verdict, rest)
        return rest

    def stats(self):
        return json.loads(self.ask("stats"))

    def io(self, *opcodes):
        """Commands of these kinds so far."""
        counts = self.stats()["io"]
        return sum(counts.get(opcode, 0) for opcode in opcodes)

    def blamed(self):
        """What the driver has done wrong."""
        return self.stats()["driver-errors"], self.log.read_text()

    def ends(self):
        """For a test that does not lead it astray: the driver has done nothing wrong."""
        errors, log = self.blamed()
        assert errors["total"] == 0, (errors, log)

    def close(self):
        self.process.kill()
        self.process.wait()
        self.lines.close()


@contextlib.contextmanager
def folder():
    with tempfile.TemporaryDirectory(prefix="nvme-") as name:
        yield Path(name)


@contextlib.contextmanager
def target(*options, astray=False):
    """A controller; the driver must have done nothing wrong, if nothing leads it astray."""
    with folder() as here:
        it = Target(here, *options)
        try:
            yield it
            if not astray:
                it.ends()
        finally:
            it.close()


@contextlib.contextmanager
def emulated(size=64 * MIB):
    """QEMU's own controller, over a file, offered by QEMU itself; the path of its socket."""
    with folder() as here:
        with open(here / "image", "wb") as image:
            image.truncate(size)
        server = {"qom-type": "x-vfio-user-server", "id": "server", "device": "nvme0",
                  "socket": {"type": "unix", "path": str(here / "nvme")}}
        process = subprocess.Popen(
            [programs.SYSTEM, "-machine", "x-remote,vfio-user=on,auto-shutdown=off",
             "-nodefaults", "-display", "none",
             "-drive", f"file={here}/image,if=none,id=disk,format=raw",
             "-device", "nvme,id=nvme0,drive=disk,serial=x", "-object", json.dumps(server)],
            stdin=subprocess.DEVNULL)
        try:
            # it serves one client, and has the name before it listens
            wait("no server", (here / "nvme").exists)
            wait("it does not listen", lambda: listens(here / "nvme"))
            yield here / "nvme"
        finally:
            process.kill()
            process.wait()


def options(path, **more):
    return {"driver": "nvme", "path": str(path), "namespace": 1, **more}


def qemu_io(where, *commands, arguments=()):
    """Run commands on a node, as options or a name; exit status and what it printed."""
    words = [QEMU_IO, *arguments]
    for command in commands:
        words += ["-c", command]
    if not isinstance(where, str):
        where = "json:" + json.dumps(where)
    done = subprocess.run([*words, where], stdin=subprocess.DEVNULL, capture_output=True, text=True,
                          timeout=SECONDS, check=False)
    return done.returncode, done.stdout, done.stderr


def succeeds(where, *commands, arguments=()):
    """They must all do; what is said on stderr is returned. Other data are said on stdout."""
    status, out, err = qemu_io(where, *commands, arguments=arguments)
    assert status == 0 and "Pattern verification failed" not in out and "failed:" not in out, \
        (status, out, err)
    return err


@contextlib.contextmanager
def daemon(*threads, enter=None, environment=None):
    """A storage daemon with these IOThreads; it must end well when told to, if it has not."""
    arguments = [word for thread in threads for word in ("--object", f"iothread,{thread}")]
    with folder() as here, programs.run(programs.DAEMON, arguments, Daemon.monitor,
                                        environment, enter) as (process, qmp):
        it = programs.Program(process, qmp)
        it.folder = here
        yield it
        if process.poll() is None:
            it.command("quit")
        status = process.wait(SECONDS)
        assert status == 0, f"the daemon ended with {status}"


def export(it, iothread, node="n", name="e0", **more):
    """A vhost-user-blk export of a node; it.where is for ringload."""
    path = it.folder / name
    it.command("block-export-add", {
        "type": "vhost-user-blk", "id": name, "node-name": node, "writable": True,
        **({"iothread": iothread} if iothread else {}),
        "addr": {"type": "unix", "path": str(path)}, **more})
    it.where = ["--vhost-user", path]
    return path


def statistics(it, node="n"):
    """What the driver says of itself."""
    found, = (one for one in it.command("query-blockstats", {"query-nodes": True})
              if one.get("node-name") == node)
    return found["driver-specific"]


class Memory:
    """Guest memory with one virtqueue of 256 descriptors and data; one request at a time."""

    features, event_idx, SIZE = 0, False, 256
    data = 1 << 16              # from here on it is the test's

    def __init__(self, size=8 * MIB):
        self.file = os.fdopen(os.memfd_create("memory"), "r+b", buffering=0)
        self.file.truncate(size)
        self.size = size
        self.used = 0

    def put(self, at, data):
        os.pwrite(self.file.fileno(), data, at)

    def get(self, at, size):
        return os.pread(self.file.fileno(), size, at)


class FrontEnd(Connection):
    """Whose requests are in pieces (offset in the memory, bytes) that a test chooses."""

    def __init__(self, path, memory):
        super().__init__(path, memory, regions=((0, memory.size),))
        self.start()

    def set_base(self, base):
        self.ask(SET_VRING_NUM, struct.pack("=II", 0, Memory.SIZE))
        self.ask(SET_VRING_BASE, struct.pack("=II", 0, base))

    def do(self, kind, sector, pieces):
        """The request's status byte: 0, 1 for an error, 2 for what is unsupported."""
        ring, parts = self.ring, [(HEADERS, 16, 0)]
        parts += [(*piece, WRITABLE if kind == 0 else 0) for piece in pieces]
        parts.append((STATUS, 1, WRITABLE))
        ring.put(HEADERS, struct.pack("=IIQ", kind, 0, sector))
        ring.put(STATUS, b"\xff")
        for i, (start, size, flags) in enumerate(parts):
            last = i == len(parts) - 1
            ring.put(DESC + i * 16, struct.pack("=QIHH", GUEST + start, size,
                                                flags | (0 if last else NEXT),
                                                0 if last else i + 1))
        ring.put(AVAIL + 4 + ring.used % Memory.SIZE * 2, struct.pack("=H", 0))
        ring.used = (ring.used + 1) & 0xffff
        ring.put(AVAIL + 2, struct.pack("=H", ring.used))
        self.kick()
        wait("a request is not answered", lambda: ring.get(USED + 2, 2) ==
             struct.pack("=H", ring.used), PATIENCE)
        return ring.get(STATUS, 1)[0]


@contextlib.contextmanager
def attached(it, thread="id=io0,poll-mode=adaptive", environment=None, enter=None, **nvme):
    """A front-end of an export over a controller; and the daemon."""
    with daemon(thread, environment=environment, enter=enter) as program:
        program.command("blockdev-add", options(it.path, **{"node-name": "n", **nvme}))
        path = export(program, ["io0"])
        with FrontEnd(path, Memory()) as front:
            yield front, program
        program.command("block-export-del", {"id": "e0", "mode": "hard"})
        program.qmp.event("BLOCK_EXPORT_DELETED")
        program.command("blockdev-del", {"node-name": "n"})
