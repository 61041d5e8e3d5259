# SPDX-License-Identifier: GPL-2.0-or-later
# An NVMe driver for tests, which sends exactly what it is told to: it drives tests/nvme-target
# over vfio-user, and starts it.

import contextlib
import json
import mmap
import os
import socket
import struct
import subprocess
import tempfile
import time
from pathlib import Path

from nvme import connected
from programs import BUILD, SECONDS, captured

TARGET = BUILD / "mq" / "tests" / "nvme-target" / "nvme-target"
PING = BUILD / "mq" / "tests" / "nvme-target" / "nvmeping"
PAGE = 4096
SIZE = 1 << 20          # of the memory that the controller sees
IOVA = 0x100000000

VERSION, DMA_MAP, DMA_UNMAP, REGION_INFO, SET_IRQS, READ, WRITE, RESET = 1, 2, 3, 5, 8, 9, 10, 13
CC, CSTS, AQA, ASQ, ACQ = 0x14, 0x1c, 0x24, 0x28, 0x30
ENABLE = 6 << 16 | 4 << 20 | 1
READY, FAILED = 1, 2
DNR = 0x4000


class Refused(Exception):
    """An error from the target; its errno."""


class Target:
    """A running nvme-target."""

    def __init__(self, process, folder, lines):
        self.process = process
        self.path = folder / "s"
        self.control_path = folder / "c"
        self.lines = lines

    def control(self, command):
        """What it answers to this, after "ok"."""
        with connected(self.control_path) as connection:
            connection.sendall(command.encode() + b"\n")
            answer = connection.makefile().readline()
        verdict, _, text = answer.strip().partition(" ")
        assert verdict == "ok", f"{command}: {answer!r}"
        return text

    def stats(self):
        return json.loads(self.control("stats"))

    def errors(self):
        """Mistakes of the driver, by kind."""
        found = self.stats()["driver-errors"]
        assert found.pop("total") == sum(found.values())
        return found

    def ping(self, *options):
        words = [PING, "--socket", self.path, *options]
        return subprocess.Popen([str(word) for word in words], stdout=subprocess.PIPE,
                                stderr=subprocess.PIPE, text=True)

    def load(self, *options):
        out, err = self.ping(*options).communicate(timeout=SECONDS)
        assert not err, err
        return json.loads(out)


@contextlib.contextmanager
def target(*options):
    with tempfile.TemporaryDirectory(prefix="nvme-") as folder, captured() as (enter, lines):
        folder = Path(folder)
        process = subprocess.Popen([str(word) for word in (
            TARGET, "--socket", folder / "s", "--control", folder / "c", *options)],
            preexec_fn=enter)
        try:
            connected(folder / "c").close()
            yield Target(process, folder, lines)
        finally:
            process.kill()
            process.wait()


def wait_for(condition):
    deadline = time.monotonic() + SECONDS
    while not (found := condition()):
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.002)
    return found


class Queue:
    """A submission queue and its completion queue."""

    def __init__(self, client, number, sq, cq, entries):
        self.client, self.number, self.entries = client, number, entries
        self.sq, self.cq = sq, cq
        self.tail = self.head = self.cid = 0
        self.phase = 1

    def put(self, opcode, nsid=0, prp1=0, prp2=0, cdw=(), cid=None, flags=0):
        """Into the queue; the doorbell is rung by ring()."""
        if cid is None:
            self.cid = cid = (self.cid + 1) & 0xfff
        words = list(cdw) + [0] * (6 - len(cdw))
        entry = struct.pack("<BBHIQQQQ6I", opcode, flags, cid, nsid, 0, 0, prp1, prp2, *words)
        at = self.sq + 64 * self.tail
        self.client.memory[at:at + 64] = entry
        self.tail = (self.tail + 1) % self.entries
        return cid

    def ring(self):
        self.client.doorbell(2 * self.number, self.tail)

    def reap(self, wait=True):
        """(result, submission queue's head, cid, status) of the next completion, or None."""
        at = self.cq + 16 * self.head

        def entry():
            result, _, head, _, cid, status = struct.unpack(
                "<IIHHHH", self.client.memory[at:at + 16])
            return (result, head, cid, status >> 1) if status & 1 == self.phase else None

        found = wait_for(entry) if wait else entry()
        if found:
            self.head = (self.head + 1) % self.entries
            self.phase ^= self.head == 0
            self.client.doorbell(2 * self.number + 1, self.head)
        return found

    def send(self, *arguments, **options):
        cid = self.put(*arguments, **options)
        self.ring()
        return cid

    def run(self, *arguments, **options):
        """(status, result)"""
        cid = self.send(*arguments, **options)
        result, _, answered, status = self.reap()
        assert answered == cid, (answered, cid)
        return status, result


class Client:
    """A connection. Addresses in the memory that both see are offsets; iova() is the other's."""

    def __init__(self, target, mapped=True):
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(SECONDS)
        self.socket.connect(str(target.path))
        self.message = 0
        self.call(VERSION, struct.pack("<HH", 0, 1) + b'{"capabilities":{"max_msg_fds":8}}\0')
        reply, fds = self.call(REGION_INFO, struct.pack("<IIIIQQ", 4096, 0, 0, 0, 0, 0))
        self.doorbells = mmap.mmap(fds[0], PAGE, offset=PAGE) if fds and mapped else None
        for fd in fds:
            os.close(fd)
        self.fd = os.memfd_create("client")
        os.ftruncate(self.fd, SIZE)
        self.memory = mmap.mmap(self.fd, SIZE)
        self.map(IOVA, SIZE)
        self.admin = Queue(self, 0, 0, PAGE, 16)
        self.io = None

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        self.socket.close()
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1

    def ask(self, command, data, fds=()):
        self.message += 1
        head = struct.pack("<HHIII", self.message, command, 16 + len(data), 0, 0)
        socket.send_fds(self.socket, [head + data], list(fds))

    def call(self, *arguments):
        """Ask, and return the reply and its descriptors."""
        self.ask(*arguments)
        head, got, _, _ = socket.recv_fds(self.socket, 16, 8)
        assert len(head) == 16, "the target has gone"
        _, _, size, flags, error = struct.unpack("<HHIII", head)
        body = b""
        while len(body) < size - 16:
            part = self.socket.recv(size - 16 - len(body))
            assert part, "the target has gone"
            body += part
        if flags & 0x20:
            raise Refused(error)
        return body, got

    def map(self, iova, size, offset=0, flags=3):
        self.call(DMA_MAP, struct.pack("<IIQQQ", 32, flags, offset, iova, size), [self.fd])

    def unmap(self, iova, size, wait=True):
        (self.call if wait else self.ask)(DMA_UNMAP, struct.pack("<IIQQ", 24, 0, iova, size))

    def interrupt(self, vector):
        """An eventfd that this vector signals."""
        fd = os.eventfd(0, os.EFD_NONBLOCK)
        self.call(SET_IRQS, struct.pack("<IIIII", 20, 4 | 1 << 5, 2, vector, 1), [fd])
        return fd

    def read(self, offset, size=4):
        body, _ = self.call(READ, struct.pack("<QII", offset, 0, size))
        return int.from_bytes(body[16:], "little")

    def write(self, offset, value, size=4):
        self.call(WRITE, struct.pack("<QII", offset, 0, size) + value.to_bytes(size, "little"))

    def doorbell(self, index, value):
        if self.doorbells:
            self.doorbells[4 * index:4 * index + 4] = value.to_bytes(4, "little")
        else:
            self.write(PAGE + 4 * index, value)

    def iova(self, offset):
        return IOVA + offset

    def disable(self):
        self.write(CC, 0)
        assert self.read(CSTS) == 0
        self.memory[:8 * PAGE] = bytes(8 * PAGE)
        self.admin = Queue(self, 0, 0, PAGE, 16)

    def enable(self):
        """Ready for admin commands."""
        self.write(AQA, 15 << 16 | 15)
        self.write(ASQ, self.iova(0), 8)
        self.write(ACQ, self.iova(PAGE), 8)
        self.write(CC, ENABLE)
        return self.read(CSTS)

    def create_queues(self, entries=16, interrupts=False, number=1):
        at = (2 + 2 * number) * PAGE
        size = (entries - 1) << 16 | number
        flags = 3 | number << 16 if interrupts else 1
        for opcode, offset, word in ((5, at + PAGE, flags), (1, at, number << 16 | 1)):
            status, _ = self.admin.run(opcode, prp1=self.iova(offset), cdw=(size, word))
            assert status == 0, hex(status)
        self.io = Queue(self, number, at, at + PAGE, entries)
        return self.io


@contextlib.contextmanager
def driven(*options, entries=16, mapped=True, interrupts=False):
    """A target, and a client with a pair of I/O queues; the driver's mistakes are the test's."""
    with target(*options) as running, Client(running, mapped) as client:
        assert client.enable() == READY
        client.create_queues(entries, interrupts)
        yield running, client
