# SPDX-License-Identifier: GPL-2.0-or-later
# A small vhost-user front-end, for tests of a vhost-user-blk export: one virtqueue, a few requests
# at a time, each message awaited. Its driver kicks only when it is asked to.
#
# Numbers and layouts are of the vhost-user specification (docs/interop/vhost-user.rst of QEMU)
# and of the virtio specification, 2.7 "Split Virtqueues", 2.8 "Packed Virtqueues" and 5.2 "Block
# Device".

import mmap
import os
import select
import socket
import struct
import threading
import time

from errors import Error

(GET_FEATURES, SET_FEATURES, SET_OWNER, RESET_OWNER, SET_MEM_TABLE) = (1, 2, 3, 4, 5)
(SET_LOG_BASE, SET_LOG_FD) = (6, 7)
(SET_VRING_NUM, SET_VRING_ADDR, SET_VRING_BASE, GET_VRING_BASE) = (8, 9, 10, 11)
(SET_VRING_KICK, SET_VRING_CALL, SET_VRING_ERR) = (12, 13, 14)
(GET_PROTOCOL_FEATURES, SET_PROTOCOL_FEATURES, GET_QUEUE_NUM, SET_VRING_ENABLE) = (15, 16, 17, 18)
(SET_BACKEND_REQ_FD, GET_CONFIG, SET_CONFIG) = (21, 24, 25)
(POSTCOPY_ADVISE, POSTCOPY_LISTEN, POSTCOPY_END) = (28, 29, 30)
(GET_INFLIGHT_FD, SET_INFLIGHT_FD) = (31, 32)
(GET_MAX_MEM_SLOTS, ADD_MEM_REG, REM_MEM_REG) = (36, 37, 38)
REPLIES = (GET_FEATURES, GET_PROTOCOL_FEATURES, GET_VRING_BASE, GET_QUEUE_NUM, GET_MAX_MEM_SLOTS,
           SET_LOG_BASE)
VERSION, NEED_REPLY = 1, 1 << 3
LOG_ALL, EVENT_IDX, PROTOCOL_FEATURES = 1 << 26, 1 << 29, 1 << 30
VERSION_1, RING_PACKED, IN_ORDER = 1 << 32, 1 << 34, 1 << 35
(MQ, LOG_SHMFD, REPLY_ACK, BACKEND_REQ, PAGEFAULT, CONFIG, INFLIGHT_SHMFD, CONFIGURE_MEM_SLOTS) = (
    1 << bit for bit in (0, 1, 3, 5, 8, 9, 12, 15))
NEXT, WRITABLE = 1, 2           # flags of a descriptor
NO_NOTIFY = 1                   # flag of the used ring
READ, WRITE, FLUSH = 0, 1, 4

# The memory: descriptors and buffers, then the two rings, so that it can be shared as two regions.
SIZE, SLOTS, SECTOR = 16, 5, 512
DESC, HEADERS, STATUS, DATA, AVAIL, USED, BYTES = (
    0, 0x1000, 0x2000, 0x4000, 0x8000, 0x9000, 0x10000)
GUEST, USER = 1 << 20, 1 << 40  # addresses of it that the front-end speaks of
WHOLE = ((0, BYTES),)
SPLIT = ((0, AVAIL), (AVAIL, BYTES - AVAIL))
PATIENCE = 600                  # seconds until an answer counts as lost


class Missing(Error):
    """An answer that does not come."""


def eventfd():
    return os.fdopen(os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC), "r+b", buffering=0)


class Ring:
    """A virtqueue of virtio-blk requests and its driver. It outlives connections."""

    features = 0

    def __init__(self, event_idx=False):
        self.event_idx = event_idx
        self.file = os.fdopen(os.memfd_create("ring"), "r+b")
        self.file.truncate(BYTES)
        self.bytes = memoryview(mmap.mmap(self.file.fileno(), BYTES))
        self.words = self.bytes.cast("H")       # each is read and written at once
        self.seen = 0                           # answers
        self.kind = {}                          # of what is not answered, by slot
        self.fence = threading.Lock()

    @property
    def added(self):
        return self.words[AVAIL // 2 + 1]

    @property
    def used(self):
        return self.words[USED // 2 + 1]

    @property
    def avail_event(self):
        return USED // 2 + 2 + SIZE * 4

    def quiet(self):
        """Leave behind what a device that polled leaves: no kick is wanted for what is added."""
        self.words[USED // 2] = NO_NOTIFY
        self.words[self.avail_event] = (self.added - 1) & 0xffff

    def add(self, kind):
        """Make a request available; whether the device asks for a kick."""
        slot, parts = self._prepare(kind)
        for i, (start, size, flags) in enumerate(parts):
            last = i == len(parts) - 1
            struct.pack_into("=QIHH", self.bytes, DESC + (slot * 3 + i) * 16, GUEST + start, size,
                             flags | (0 if last else NEXT), 0 if last else slot * 3 + i + 1)
        old = self.added
        new = (old + 1) & 0xffff
        self.words[AVAIL // 2 + 2 + old % SIZE] = slot * 3
        self._barrier()
        self.words[AVAIL // 2 + 1] = new
        self._barrier()
        if self.event_idx:
            event = self.words[self.avail_event]
            return (new - event - 1) & 0xffff < (new - old) & 0xffff
        return not self.words[USED // 2] & NO_NOTIFY

    def _prepare(self, kind):
        """A free slot with a request in it: start, size and flags of its buffers."""
        slot = next(slot for slot in range(SLOTS) if slot not in self.kind)
        parts = [(HEADERS + slot * 16, 16, 0)]
        if kind != FLUSH:
            parts.append((DATA + slot * SECTOR, SECTOR, WRITABLE if kind == READ else 0))
        parts.append((STATUS + slot, 1, WRITABLE))
        struct.pack_into("=IIQ", self.bytes, HEADERS + slot * 16, kind, 0, slot)
        data = DATA + slot * SECTOR
        self.bytes[data:data + SECTOR] = b"\xff" * SECTOR
        self.bytes[STATUS + slot] = 0xff
        self.kind[slot] = kind
        return slot, parts

    def _answered(self, slot):
        """Its answer is right."""
        kind = self.kind.pop(slot)              # KeyError: answered twice
        assert self.bytes[STATUS + slot] == 0, (kind, self.bytes[STATUS + slot])
        data = bytes(self.bytes[DATA + slot * SECTOR:DATA + (slot + 1) * SECTOR])
        assert kind != READ or data == bytes(SECTOR), data
        return kind

    def take(self):
        """Check the answers that are there; whether there were any."""
        self.words[AVAIL // 2 + 2 + SIZE] = self.seen   # used_event: call for the next one
        self._barrier()
        start = self.seen
        while self.seen != self.used:
            head, = struct.unpack_from("=I", self.bytes, USED + 4 + self.seen % SIZE * 8)
            self._answered(head // 3)
            self.seen = (self.seen + 1) & 0xffff
        return self.seen != start

    def _barrier(self):
        """What was stored is seen by the device before anything below is loaded."""
        with self.fence:                        # an atomic exchange
            pass


class PackedRing(Ring):
    """The same, as a packed virtqueue, with interrupts and kicks for everything."""

    features = RING_PACKED
    AVAILABLE, USED = 1 << 7, 1 << 15           # flags of a descriptor

    def __init__(self):
        super().__init__()
        self.next, self.wrap = 0, True          # where the next request goes
        self.place, self.place_wrap = 0, True   # and the next answer comes

    @property
    def used(self):
        """Where a device is to begin: all that was added is answered."""
        half = self.place | self.place_wrap << 15
        return half | half << 16

    def add(self, kind):
        slot, parts = self._prepare(kind)
        head = None
        for i, (start, size, flags) in enumerate(parts):
            flags |= NEXT if i < len(parts) - 1 else 0
            flags |= self.AVAILABLE if self.wrap else self.USED
            at = DESC + self.next * 16
            struct.pack_into("=QIH", self.bytes, at, GUEST + start, size, slot)
            if head is None:
                head = at + 14, flags           # last: it makes them all available
            else:
                struct.pack_into("=H", self.bytes, at + 14, flags)
            self.next, self.wrap = self._on(self.next, self.wrap, 1)
        self._barrier()
        self.words[head[0] // 2] = head[1]
        self._barrier()
        return self.words[USED // 2 + 1] != 1

    def take(self):
        found = False
        while True:
            at = DESC + self.place * 16
            flags = self.words[at // 2 + 7]
            bits = self.AVAILABLE | self.USED if self.place_wrap else 0
            if flags & (self.AVAILABLE | self.USED) != bits:
                return found
            self._barrier()
            kind = self._answered(self.words[at // 2 + 6])
            self.place, self.place_wrap = self._on(self.place, self.place_wrap,
                                                   2 if kind == FLUSH else 3)
            found = True

    @staticmethod
    def _on(at, wrap, slots):
        return (at + slots) % SIZE, wrap ^ (at + slots >= SIZE)


class Connection:
    """A vhost-user connection that shares the ring's memory."""

    PROTOCOL = REPLY_ACK | CONFIGURE_MEM_SLOTS      # features that it needs

    def __init__(self, path, ring, regions=WHOLE, protocol=0):
        self.ring = ring
        self.regions = regions
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(PATIENCE)
        self._connect(str(path))
        features = (VERSION_1 | PROTOCOL_FEATURES | ring.features |
                    (EVENT_IDX if ring.event_idx else 0))
        self.negotiated = features
        assert self.features() & features == features
        protocol |= self.PROTOCOL
        offered = self.ask(GET_PROTOCOL_FEATURES)
        assert offered & protocol == protocol, f"features: {offered:#x}"
        self.send(SET_PROTOCOL_FEATURES, struct.pack("=Q", protocol))
        self.ask(SET_FEATURES, struct.pack("=Q", features))
        self.ask(SET_OWNER)
        for region in regions:
            self.add_memory(region)

    def _connect(self, path):
        """A daemon that has just started has the socket's name before it listens."""
        deadline = time.monotonic() + PATIENCE
        while True:
            try:
                return self.socket.connect(path)
            except ConnectionRefusedError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.005)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.close()

    def send(self, request, payload=b"", fds=(), flags=VERSION):
        message = struct.pack("=III", request, flags, len(payload)) + payload
        try:
            socket.send_fds(self.socket, [message], fds)
        except (BrokenPipeError, ConnectionResetError):
            raise Missing("the connection ended") from None

    def ask(self, request, payload=b"", fds=()):
        """Send a message and wait for its reply, a number."""
        self.send(request, payload, fds,
                  VERSION if request in REPLIES else VERSION | NEED_REPLY)
        return self.reply(request)

    def reply(self, request):
        number, _, size = struct.unpack("=III", self._receive(12))
        assert number == request and size == 8, (number, request, size)
        value, = struct.unpack("=Q", self._receive(8))
        return value

    def exchange(self, request, payload, fds=()):
        """Send a message that has a reply of its own; that, and its file descriptor or None."""
        self.send(request, payload, fds)
        header, fds, _, _ = socket.recv_fds(self.socket, 12, 1)
        number, _, size = struct.unpack("=III", header)
        assert number == request, (number, request)
        return self._receive(size), fds[0] if fds else None

    def config(self, offset, size):
        """A part of the configuration space."""
        asked = struct.pack("=III", offset, size, 0) + bytes(size)
        payload, _ = self.exchange(GET_CONFIG, asked)
        assert struct.unpack_from("=III", payload) == (offset, size, 0), payload
        assert len(payload) == 12 + size
        return payload[12:]

    def ended(self):
        """Whether the other side closes, whatever it says before."""
        try:
            while self.socket.recv(4096):
                pass
        except (ConnectionResetError, BrokenPipeError):
            pass
        except TimeoutError:
            return False
        return True

    def _receive(self, size):
        data = b""
        while len(data) < size:
            try:
                more = self.socket.recv(size - len(data))
            except TimeoutError:
                raise Missing("no reply to a message") from None
            except ConnectionResetError:
                more = b""
            if not more:
                raise Missing("the connection ended")
            data += more
        return data

    def features(self):
        return self.ask(GET_FEATURES)

    def add_memory(self, region):
        self._memory(ADD_MEM_REG, region, [self.ring.file.fileno()])

    def remove_memory(self, region):
        self._memory(REM_MEM_REG, region, [])

    def _memory(self, request, region, fds):
        start, size = region
        payload = struct.pack("=QQQQQ", 0, GUEST + start, size, USER + start, start)
        assert self.ask(request, payload, fds) == 0

    def start(self):
        """Start the ring at the first request that is not answered."""
        self.set_base(self.ring.used)
        self.set_addresses()
        self.set_files()

    def set_base(self, base):
        self.ask(SET_VRING_NUM, struct.pack("=II", 0, SIZE))
        self.ask(SET_VRING_BASE, struct.pack("=II", 0, base))

    def set_addresses(self):
        self.ask(SET_VRING_ADDR, struct.pack("=IIQQQQ", 0, 0, USER + DESC, USER + USED,
                                             USER + AVAIL, 0))

    def set_files(self):
        self.calls, self.kicks = eventfd(), eventfd()
        self.ask(SET_VRING_CALL, struct.pack("=Q", 0), [self.calls.fileno()])
        self.ask(SET_VRING_KICK, struct.pack("=Q", 0), [self.kicks.fileno()])
        self.ask(SET_VRING_ENABLE, struct.pack("=II", 0, 1))

    def stop(self):
        """Stop the ring; the index of the request that it would have taken next."""
        return self.ask(GET_VRING_BASE, struct.pack("=II", 0, 0)) >> 32

    def kick(self):
        self.kicks.write(struct.pack("=Q", 1))

    def settle(self):
        """Until no kick is on its way: all are read, and what reads them is at a message."""
        deadline = time.monotonic() + PATIENCE
        while select.select([self.kicks], [], [], 0)[0]:
            if time.monotonic() > deadline:
                raise Missing("a kick is not read")
        self.features()

    def add(self, kind=READ):
        """A request, and a kick if the device asks for one; whether it does."""
        asked = self.ring.add(kind)
        if asked:
            self.kick()
        return asked

    def wait(self, seconds=PATIENCE):
        """Until everything is answered, and the device has called for it."""
        deadline = time.monotonic() + seconds
        while self.ring.kind:
            if self.ring.take():
                continue
            ready = select.select([self.calls, self.socket], [], [],
                                  max(0, deadline - time.monotonic()))[0]
            if self.socket in ready:
                raise Missing("the connection ended")
            if not ready:
                late = self.ring.take()
                raise Missing("answered without a call" if late else
                              f"{len(self.ring.kind)} not answered in {seconds} s")
            self.calls.read(8)

    def request(self, kind=READ):
        asked = self.add(kind)
        self.wait()
        return asked
