# SPDX-License-Identifier: GPL-2.0-or-later
# A vhost-user front-end with a verified load that outlives its back-end: the rings are its own, and
# so is the memory in which the back-end keeps what is in flight. When a back-end is killed, the
# next one is given both, and each request must still be answered, once.
#
# A journal, in memory that outlives the front-end too, says what each block holds: the version that
# was written last and answered, and the one that was written last. Where they differ, either may be
# there.
#
# Numbers and layouts are of the vhost-user specification (docs/interop/vhost-user.rst of QEMU,
# "Inflight I/O tracking") and of the virtio specification, 2.7 and 5.2.

import mmap
import os
import random
import select
import socket
import struct
import threading

import frontend
from frontend import (FLUSH, GUEST, NEED_REPLY, NEXT, NO_NOTIFY, PATIENCE, READ, USER, VERSION,
                      WRITABLE, WRITE, Connection, Missing)

(GET_INFLIGHT_FD, SET_INFLIGHT_FD) = (31, 32)
INFLIGHT = 1 << 12              # the protocol feature
SECTOR, BLOCK = 512, 4096

# A queue's memory: descriptors, the two rings, headers, states, data.
SIZE, SLOTS = 32, 8
DESC, AVAIL, USED, HEADERS, STATUS, DATA = 0, 0x200, 0x400, 0x800, 0xc00, 0x1000
QUEUE_BYTES = DATA + SLOTS * BLOCK


class Journal:
    """Versions of blocks, in a file that processes share."""

    ENTRY = 8

    def __init__(self, path, blocks):
        self.blocks = blocks
        with open(path, "a+b") as file:
            file.truncate(blocks * self.ENTRY)
            self.words = memoryview(mmap.mmap(file.fileno(), blocks * self.ENTRY)).cast("I")

    def answered(self, block):
        return self.words[2 * block]

    def written(self, block):
        return self.words[2 * block + 1]

    def write(self, block):
        """A new version is about to be written."""
        self.words[2 * block + 1] += 1
        return self.written(block)

    def answer(self, block):
        """The last written version is there."""
        self.words[2 * block] = self.words[2 * block + 1]

    def settle(self, block, version):
        """This version was found, and no write is in flight."""
        self.words[2 * block] = self.words[2 * block + 1] = version


def content(block, version):
    return struct.pack("<II", block, version) * (BLOCK // 8) if version else bytes(BLOCK)


class Queue:
    """A split virtqueue with requests of one block, of blocks of its own."""

    def __init__(self, memory, index, blocks, journal, chance):
        self.index, self.start = index, index * QUEUE_BYTES
        self.bytes = memory[self.start:self.start + QUEUE_BYTES]
        self.words = self.bytes.cast("H")
        self.blocks, self.journal, self.chance = blocks, journal, chance
        self.seen = 0
        self.flying = {}                # kind, block and version by slot
        self.fence = threading.Lock()

    @property
    def used(self):
        return self.words[USED // 2 + 1]

    def barrier(self):
        with self.fence:                # an atomic exchange
            pass

    def choose(self):
        """A kind and a block, none that is in use."""
        block = self.chance.choice(self.blocks)
        if block in [one[1] for one in self.flying.values()]:
            return None
        if self.journal.answered(block) != self.journal.written(block):
            return READ, block
        return self.chance.choice((READ, WRITE, WRITE, WRITE, FLUSH)), block

    def fill(self):
        """Requests in all slots."""
        self.submit(filter(None, iter(self.choose, self)))

    def submit(self, requests):
        """Make requests available, of these, while there are slots."""
        added = self.words[AVAIL // 2 + 1]
        while len(self.flying) < SLOTS:
            request = next(requests, None)
            if request is None:
                break
            self.add(added, *request)
            added = (added + 1) & 0xffff
        self.barrier()                  # the requests; then the index
        self.words[AVAIL // 2 + 1] = added
        self.barrier()                  # the index; then the flag
        if not self.words[USED // 2] & NO_NOTIFY:
            self.kick()

    def kick(self):
        self.kicks.write(struct.pack("=Q", 1))

    def add(self, added, kind, block):
        slot = next(slot for slot in range(SLOTS) if slot not in self.flying)
        data = DATA + slot * BLOCK
        version = self.journal.write(block) if kind == WRITE else None
        self.bytes[data:data + BLOCK] = content(block, version) if version else b"\xff" * BLOCK
        struct.pack_into("=IIQ", self.bytes, HEADERS + slot * 16, kind, 0,
                         0 if kind == FLUSH else block * (BLOCK // SECTOR))
        self.bytes[STATUS + slot] = 0xff
        parts = [(HEADERS + slot * 16, 16, 0)]
        if kind != FLUSH:
            parts.append((data, BLOCK, WRITABLE if kind == READ else 0))
        parts.append((STATUS + slot, 1, WRITABLE))
        for i, (start, size, flags) in enumerate(parts):
            last = i == len(parts) - 1
            struct.pack_into("=QIHH", self.bytes, DESC + (slot * 3 + i) * 16,
                             GUEST + self.start + start, size, flags | (0 if last else NEXT),
                             0 if last else slot * 3 + i + 1)
        self.words[AVAIL // 2 + 2 + added % SIZE] = slot * 3
        self.flying[slot] = kind, block

    def take(self):
        """Check the answers that are there; how many there were."""
        start = self.seen
        while self.seen != self.used:
            self.barrier()
            head, = struct.unpack_from("=I", self.bytes, USED + 4 + self.seen % SIZE * 8)
            slot = head // 3
            assert slot in self.flying, f"descriptor {head} is answered twice"
            kind, block = self.flying.pop(slot)
            assert self.bytes[STATUS + slot] == 0, (kind, block, self.bytes[STATUS + slot])
            if kind == WRITE:
                self.journal.answer(block)
            elif kind == READ:
                self.check(block, bytes(self.bytes[DATA + slot * BLOCK:
                                                   DATA + (slot + 1) * BLOCK]))
            self.seen = (self.seen + 1) & 0xffff
        return (self.seen - start) & 0xffff

    def check(self, block, data):
        versions = {self.journal.answered(block), self.journal.written(block)}
        found = [version for version in versions if data == content(block, version)]
        assert found, (f"block {block} holds {data[:16].hex()}..., which is none of the versions "
                       f"{versions}")
        self.journal.settle(block, found[0])


class Queues(Connection):
    """A connection with several queues."""

    def start_queue(self, queue):
        """From the first request that is not answered."""
        where = USER + queue.start
        self.ask(frontend.SET_VRING_NUM, struct.pack("=II", queue.index, SIZE))
        self.ask(frontend.SET_VRING_BASE, struct.pack("=II", queue.index, queue.used))
        self.ask(frontend.SET_VRING_ADDR, struct.pack(
            "=IIQQQQ", queue.index, 0, where + DESC, where + USED, where + AVAIL, 0))
        queue.calls, queue.kicks = frontend.eventfd(), frontend.eventfd()
        self.ask(frontend.SET_VRING_CALL, struct.pack("=Q", queue.index), [queue.calls.fileno()])
        self.ask(frontend.SET_VRING_KICK, struct.pack("=Q", queue.index), [queue.kicks.fileno()])
        self.ask(frontend.SET_VRING_ENABLE, struct.pack("=II", queue.index, 1))
        queue.kick()


class Tracked(Queues):
    """A connection that takes part in the tracking."""

    PROTOCOL = Connection.PROTOCOL | INFLIGHT

    def ask_inflight(self, queues):
        """The memory for it: its file descriptor, and what the back-end says of it."""
        self.send(GET_INFLIGHT_FD, struct.pack("=QQHH", 0, 0, queues, SIZE))
        data, fds, _, _ = socket.recv_fds(self.socket, 12 + 20, 1)
        assert len(data) == 32 and len(fds) == 1, (data, fds)
        return fds[0], data[12:]

    def give_inflight(self, fd, described):
        self.send(SET_INFLIGHT_FD, described, [fd], VERSION | NEED_REPLY)
        assert self.reply(SET_INFLIGHT_FD) == 0


class FrontEnd:
    """The load. `connect` it to a back-end, let it `run`, and connect it again when that died;
    for this it must be tracked.
    """

    event_idx, features = False, 0      # what Connection asks of a ring

    def __init__(self, journal, queues, seed, tracked):
        self.tracked = tracked
        self.file = os.fdopen(os.memfd_create("queues"), "r+b")
        self.file.truncate(queues * QUEUE_BYTES)
        memory = memoryview(mmap.mmap(self.file.fileno(), queues * QUEUE_BYTES))
        chance = random.Random(seed)
        share = journal.blocks // queues
        self.queues = [Queue(memory, index, range(index * share, (index + 1) * share), journal,
                             chance) for index in range(queues)]
        self.inflight = None
        self.answered = 0

    def connect(self, path):
        regions = ((0, len(self.queues) * QUEUE_BYTES),)
        self.connection = (Tracked if self.tracked else Queues)(path, self, regions)
        if self.tracked and self.inflight is None:
            self.inflight = self.connection.ask_inflight(len(self.queues))
        if self.tracked:
            self.connection.give_inflight(*self.inflight)
        for queue in self.queues:
            self.connection.start_queue(queue)

    def run(self, until):
        """Keep the queues full until this says so, and then wait for what is in flight."""
        self.run_some(until)
        self.settle()

    def run_some(self, until):
        """Keep the queues full until this says so."""
        while not until():
            for queue in self.queues:
                queue.fill()
            self.wait()

    def settle(self):
        """All answers must come."""
        while any(queue.flying for queue in self.queues):
            self.wait()

    def read_all(self):
        """Check every block."""
        left = [iter([(READ, block) for block in queue.blocks]) for queue in self.queues]
        answered = self.answered
        while self.answered - answered < sum(len(queue.blocks) for queue in self.queues):
            for queue, requests in zip(self.queues, left):
                queue.submit(requests)
            self.wait()

    def wait(self):
        """For an answer."""
        while not self.take():
            files = [queue.calls for queue in self.queues]
            ready = select.select([*files, self.connection.socket], [], [], PATIENCE)[0]
            if self.connection.socket in ready:
                self.take()
                raise Missing("the connection ended")
            if not ready:
                flying = [queue.flying for queue in self.queues]
                raise AssertionError(f"not answered in {PATIENCE} s: {flying}")
            for file in ready:
                file.read(8)

    def take(self):
        answers = sum(queue.take() for queue in self.queues)
        self.answered += answers
        return answers
