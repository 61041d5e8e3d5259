# SPDX-License-Identifier: GPL-2.0-or-later
# A small driver of a virtio-blk-pci device in a QEMU without guest: one virtqueue, split or packed,
# whose chains a test makes as it likes. What firmware does, it does by the qtest protocol; rings and
# buffers are in the guest's memory, a file.
#
# Numbers and layouts are of the virtio specification: 2.7 and 2.8 (the rings), 4.1 (PCI) and 5.2.

import mmap
import socket
import struct
import time

from errors import Error

EVENT_IDX, VERSION_1, PACKED, IN_ORDER, RING_RESET = 1 << 29, 1 << 32, 1 << 34, 1 << 35, 1 << 40
READ, WRITE, FLUSH, GET_ID = 0, 1, 4, 8
OK, IOERR, UNSUPP = 0, 1, 2
NEEDS_RESET = 64
NEXT, WRITABLE, INDIRECT = 1, 2, 4
AVAIL_BIT, USED_BIT = 1 << 7, 1 << 15
SECTOR = 512

# In the guest's memory: rings, and a slot of buffers a request.
RINGS, BUFFERS, SLOT = 16 << 20, 17 << 20, 128 << 10
BAR, BAR_SIZE = 0xe0000000, 1 << 20
APART = 16 << 20        # the memory of each device
PATIENCE = 600


class Qtest:
    """QEMU's qtest socket."""

    def __init__(self, path):
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.connect(str(path))
        self.file = self.socket.makefile("rw")

    def __call__(self, *words):
        self.file.write(" ".join(word if isinstance(word, str) else f"{word:#x}"
                                 for word in words) + "\n")
        self.file.flush()
        answer = self.file.readline().split()
        while answer and answer[0] == "IRQ":
            answer = self.file.readline().split()
        if not answer or answer[0] != "OK":
            raise Error(f"qtest: {words}: {answer}")
        return int(answer[1], 16) if len(answer) > 1 else None

    def close(self):
        self.file.close()
        self.socket.close()


class Pci:
    """The virtio-blk function of the root bus that has this number."""

    def __init__(self, qtest, number=0):
        self.qtest = qtest
        self.devfn = [devfn for devfn in range(256)
                      if self.config_of(devfn, 0) == 0x10421af4][number]
        bar = 0x10 + 4 * 4
        base = BAR + number * BAR_SIZE
        self.write(bar, base)
        self.write(bar + 4, 0)
        self.write(4, 6)        # memory, bus master
        self.at = {}
        cap = self.read(0x34) & 0xff
        while cap:
            head = self.read(cap)
            kind, where = head >> 24, self.read(cap + 4) & 0xff
            if head & 0xff == 9 and where == 4:
                self.at.setdefault(kind, base + self.read(cap + 8))
                if kind == 2:
                    self.multiplier = self.read(cap + 16)
            cap = head >> 8 & 0xff

    def config_of(self, devfn, offset):
        self.qtest("outl", 0xcf8, 1 << 31 | devfn << 8 | offset)
        return self.qtest("inl", 0xcfc)

    def read(self, offset):
        return self.config_of(self.devfn, offset)

    def write(self, offset, value):
        self.qtest("outl", 0xcf8, 1 << 31 | self.devfn << 8 | offset)
        self.qtest("outl", 0xcfc, value)


class Driver:
    """The device with one queue of @size entries at work.

    QEMU has one qtest socket: the drivers of further devices share that of the first.
    """

    def __init__(self, program, features=0, size=64, number=0, qtest=None):
        where = dict(zip(program.where[::2], program.where[1::2]))
        self.qtest = qtest or Qtest(where["--qtest"])
        with open(where["--mem"], "r+b") as file:
            self.memory = memoryview(mmap.mmap(file.fileno(), 0))
        self.pci = Pci(self.qtest, number)
        self.rings, self.buffers = RINGS + number * APART, BUFFERS + number * APART
        self.common = self.pci.at[1]
        self.features, self.size = features | VERSION_1, size
        self.packed = bool(features & PACKED)
        self.start()

    def close(self):
        self.qtest.close()

    def get(self, width, offset):
        return self.qtest("read" + width, self.common + offset)

    def put(self, width, offset, value):
        self.qtest("write" + width, self.common + offset, value)

    @property
    def status(self):
        return self.get("b", 20)

    def start(self):
        """4.1.4.3: resets the device and brings it up."""
        self.put("b", 20, 0)
        self.put("b", 20, 3)
        for half in range(2):
            self.put("l", 0, half)
            offered = self.get("l", 4)
            wanted = self.features >> 32 * half & 0xffffffff
            assert wanted & ~offered == 0, f"not offered: {wanted & ~offered:#x}"
            self.put("l", 8, half)
            self.put("l", 12, wanted)
        self.put("b", 20, 11)
        assert self.status == 11, self.status
        self.set_up(self.rings)
        self.put("b", 20, 15)

    def set_up(self, rings):
        """The queue at this address, empty."""
        self.desc, self.avail, self.used = rings, rings + 0x8000, rings + 0xa000
        self.memory[rings:rings + 0x10000] = bytes(0x10000)
        self.next = self.seen = 0
        self.next_wrap = self.seen_wrap = True
        self.free = list(range(self.size // 4))
        self.slot_of = {}       # by head or id
        self.length = {}        # of slots that are answered
        self.put("w", 22, 0)
        self.put("w", 24, self.size)
        for offset, value in ((32, self.desc), (40, self.avail), (48, self.used)):
            self.put("l", offset, value)
            self.put("l", offset + 4, 0)
        self.bell = self.pci.at[2] + self.get("w", 30) * self.pci.multiplier
        self.put("w", 28, 1)

    def kick(self):
        self.qtest("writew", self.bell, 0)

    def add(self, buffers):
        """A chain of buffers (address, length, whether the device writes), not published."""
        slot = self.free.pop(0)
        if self.packed:
            self.add_packed(slot, buffers)
            return slot
        first = slot * 4
        for i, (address, length, writable) in enumerate(buffers):
            last = i == len(buffers) - 1
            struct.pack_into("<QIHH", self.memory, self.desc + 16 * (first + i), address, length,
                             (WRITABLE if writable else 0) | (0 if last else NEXT), first + i + 1)
        struct.pack_into("<H", self.memory, self.avail + 4 + 2 * (self.next % self.size), first)
        self.next = (self.next + 1) % 65536
        self.slot_of[first] = slot, 1
        return slot

    def add_packed(self, slot, buffers):
        flags = []
        for i, (address, length, writable) in enumerate(buffers):
            last = i == len(buffers) - 1
            at = self.desc + 16 * self.next
            flags.append((at + 14, (WRITABLE if writable else 0) | (0 if last else NEXT) |
                          (AVAIL_BIT if self.next_wrap else USED_BIT)))
            struct.pack_into("<QIH", self.memory, at, address, length, slot)
            self.next += 1
            if self.next == self.size:
                self.next, self.next_wrap = 0, not self.next_wrap
        for at, value in reversed(flags):
            struct.pack_into("<H", self.memory, at, value)
        self.slot_of[slot] = slot, len(buffers)

    def publish(self):
        if not self.packed:
            struct.pack_into("<H", self.memory, self.avail + 2, self.next)
        self.kick()

    def used_index(self):
        return struct.unpack_from("<H", self.memory, self.used + 2)[0]

    def look(self):
        """Takes one answer; False if there is none."""
        if self.packed:
            at = self.desc + 16 * self.seen
            flags, = struct.unpack_from("<H", self.memory, at + 14)
            wrap = (bool(flags & AVAIL_BIT), bool(flags & USED_BIT))
            if wrap != (self.seen_wrap, self.seen_wrap):
                return False
            # the flags; then what the device wrote before them
            length, head = struct.unpack_from("<IH", self.memory, at + 8)
        else:
            if self.used_index() == self.seen:
                return False
            head, length = struct.unpack_from("<II", self.memory,
                                              self.used + 4 + 8 * (self.seen % self.size))
        slot, n = self.slot_of.pop(head)
        self.seen = (self.seen + n) % 65536
        if self.packed and self.seen >= self.size:
            self.seen, self.seen_wrap = self.seen - self.size, not self.seen_wrap
        self.length[slot] = length
        return True

    def wait(self, slot):
        """The used length of this slot, which is free again."""
        deadline = time.monotonic() + PATIENCE
        while slot not in self.length:
            if not self.look() and time.monotonic() > deadline:
                raise Error(f"slot {slot} is not answered; status {self.status}")
        self.free.append(slot)
        return self.length.pop(slot)

    def prepare(self, kind, sector=0, data=b"", room=0, data_at=None, split_header=False):
        """A request in the next slot, not published; its slot."""
        at = self.buffers + self.free[0] * SLOT
        header, status, body = at, at + 64, data_at or at + 4096
        self.memory[header:header + 16] = struct.pack("<IIQ", kind, 0, sector)
        self.memory[status] = 0xff
        if data:
            self.memory[body:body + len(data)] = data
        chain = [(header, 8, False), (header + 8, 8, False)] if split_header else [
            (header, 16, False)]
        if data or room:
            chain.append((body, len(data) or room, bool(room)))
        return self.add(chain + [(status, 1, True)])

    def finish(self, slot, room=0):
        """Its status, used length and data."""
        length = self.wait(slot)
        at = self.buffers + slot * SLOT
        return self.memory[at + 64], length, bytes(self.memory[at + 4096:at + 4096 + room])

    def request(self, kind, sector=0, data=b"", room=0, **options):
        slot = self.prepare(kind, sector, data, room, **options)
        self.publish()
        return self.finish(slot, room)

    def reset_queue(self):
        """4.1.4.3.1"""
        self.put("w", 22, 0)
        self.put("w", 58, 1)
        assert self.get("w", 58) == 0
