# SPDX-License-Identifier: GPL-2.0-or-later
# What a driver must not put into a ring: a table of faults, for any device that has virtio-blk
# requests, each for a ring on which nothing was made available yet.
#
# Numbers and layouts are of the virtio specification: 2.7 and 2.8 (the rings) and 5.2 (requests).

import collections
import os
import random
import struct
import time

NEXT, WRITABLE, INDIRECT = 1, 2, 4
AVAIL_BIT, USED_BIT = 1 << 7, 1 << 15
READ, WRITE, FLUSH = 0, 1, 4
SECTOR = 512
FAR = (1 << 64) - 16
MOST = 0xffffffff
LONGEST = 1024          # buffers of a chain, 2.7.5.3.1 as QEMU limits it

# Where a fault writes: memory and the addresses that the driver has for its offsets; offsets of
# descriptors, the available ring, 64 bytes of headers and states, data, and room for a table of
# descriptors; the size of the ring; where addresses of RAM end, and one of nothing.
Place = collections.namedtuple("Place", "memory address desc avail head data table size end nowhere "
                               "packed")


class Maker:
    """Puts chains into a ring; made anew for each fault."""

    def __init__(self, place):
        self.place = place
        self.state = place.head + 32
        self.header()
        place.memory[self.state] = 0xff

    def header(self, kind=READ, sector=0):
        struct.pack_into("<IIQ", self.place.memory, self.place.head, kind, 0, sector)

    def at(self, offset):
        return self.place.address + offset

    @property
    def out(self):
        return self.at(self.place.head), 16, 0

    @property
    def data(self):
        return self.at(self.place.data), SECTOR, WRITABLE

    @property
    def status(self):
        return self.at(self.state), 1, WRITABLE

    def write(self, where, i, address, length, flags, following):
        """A descriptor, of the ring or of a table."""
        struct.pack_into("<QI", self.place.memory, where + 16 * i, address, length)
        struct.pack_into("<HH", self.place.memory, where + 16 * i + 12,
                         *((0, flags) if self.place.packed else (flags, following)))

    def chain(self, *buffers, following=None):
        """Buffers, one after the other; `following` is what the last says follows."""
        for i, (address, length, flags) in reversed(list(enumerate(buffers))):
            last = i == len(buffers) - 1
            if not last or following is not None:
                flags |= NEXT
            if self.place.packed:
                flags |= AVAIL_BIT
            self.write(self.place.desc, i, address, length, flags,
                       following if last and following is not None else i + 1)
        if not self.place.packed:
            self.available(0, 1)

    def available(self, head, index):
        struct.pack_into("<H", self.place.memory, self.place.avail + 4, head)
        struct.pack_into("<H", self.place.memory, self.place.avail + 2, index & 0xffff)

    def through(self, length, n=4, **changes):
        """A table of so many bytes and @n descriptors, of which some are changed."""
        for i in range(n):
            flags = 0 if i == n - 1 else NEXT
            change = changes.get(f"at{i}", {})
            self.write(self.place.table, i, self.at(self.place.head), change.get("length", 16),
                       change.get("flags", flags), change.get("next", i + 1))
        self.chain((self.at(self.place.table), length, INDIRECT))

    def request(self, kind, sector, *data):
        self.header(kind, sector)
        self.chain(self.out, *(data or [self.data]), self.status)


BROKEN = "broken"       # the device needs a reset, or the front-end is dropped
OK, IOERR, UNSUPP = 0, 1, 2

# Name; what a virtio-blk device and what an export does; the deed. Where there is no memory, QEMU
# may have a device: it is read and written as such.
BOTH = [
    ("loop", BROKEN, BROKEN, lambda m: m.chain(*[m.out] * m.place.size, following=0)),
    ("no bytes", BROKEN, BROKEN, lambda m: m.chain(m.out, (m.at(0), 0, WRITABLE), m.status)),
    ("no bytes first", BROKEN, BROKEN, lambda m: m.chain((m.at(0), 0, 0))),
    ("address wraps", BROKEN, BROKEN,
     lambda m: m.chain(m.out, (FAR, SECTOR, WRITABLE), m.status)),
    ("in nothing", OK, BROKEN,
     lambda m: m.chain(m.out, (m.place.nowhere, SECTOR, WRITABLE), m.status)),
    ("across the end", OK, BROKEN,
     lambda m: m.chain(m.out, (m.place.end - 256, SECTOR, WRITABLE), m.status)),
    ("four gigabytes", BROKEN, BROKEN,
     lambda m: m.chain(m.out, (m.at(m.place.data), MOST, WRITABLE), m.status)),
    ("out after in", BROKEN, BROKEN, lambda m: m.chain(m.out, m.status, m.out)),
    ("table empty", BROKEN, BROKEN, lambda m: m.through(0)),
    ("table odd", BROKEN, BROKEN, lambda m: m.through(24)),
    ("table in nothing", BROKEN, BROKEN,
     lambda m: m.chain((m.place.nowhere, 32, INDIRECT))),
    ("table huge", BROKEN, BROKEN, lambda m: m.through(MOST - 15)),
    ("table too long", BROKEN, BROKEN,
     lambda m: m.through(16 * (LONGEST + 1), LONGEST + 1)),
    ("table nested", BROKEN, BROKEN,
     lambda m: m.through(64, at1={"flags": INDIRECT | NEXT})),
    ("table no bytes", BROKEN, BROKEN, lambda m: m.through(64, at3={"length": 0})),
    ("header alone", BROKEN, BROKEN, lambda m: m.chain(m.out)),
    ("status alone", BROKEN, BROKEN, lambda m: m.chain(m.status)),
    ("short header", BROKEN, BROKEN,
     lambda m: m.chain((m.at(m.place.head), 8, 0), m.data, m.status)),
    ("beyond the end", IOERR, IOERR, lambda m: m.request(READ, 1 << 40)),
    ("write beyond the end", IOERR, IOERR,
     lambda m: m.request(WRITE, 1 << 40, (m.at(m.place.data), SECTOR, 0))),
    ("sector overflows", IOERR, IOERR, lambda m: m.request(READ, (1 << 55) + 1)),
    ("last sector", IOERR, IOERR, lambda m: m.request(READ, (1 << 64) - 1)),
    ("part of a sector", IOERR, IOERR,
     lambda m: m.request(READ, 0, (m.at(m.place.data), 100, WRITABLE))),
    ("unknown", UNSUPP, UNSUPP, lambda m: m.request(99, 0)),
]
SPLIT = [
    ("self loop", BROKEN, BROKEN, lambda m: m.chain(m.out, following=0)),
    ("next outside", BROKEN, BROKEN, lambda m: m.chain(m.out, following=m.place.size)),
    ("head outside", BROKEN, BROKEN, lambda m: m.available(m.place.size, 1)),
    ("index jump", BROKEN, BROKEN, lambda m: m.available(0, m.place.size + 1)),
    ("index back", BROKEN, BROKEN, lambda m: m.available(0, -1)),
    ("table loop", BROKEN, BROKEN, lambda m: m.through(64, at2={"next": 1})),
    ("table next outside", BROKEN, BROKEN, lambda m: m.through(64, at2={"next": 4})),
]
# what the base does with those of a device: it knows memory everywhere
ORDINARY = {"address wraps": OK}
# a device's, whose RAM is large enough: more than 32 bits have
LONG = ("lengths overflow", IOERR, None, lambda m: m.request(
    READ, 0, *[(1 << 20, 240 << 20, WRITABLE)] * 18))


def faults(packed):
    return BOTH if packed else BOTH + SPLIT


def scribble(place, seconds, seed):
    """Another process, which writes to descriptors and tables, and to the indexes, all the time;
    until it is killed, or so many seconds have passed."""
    pid = os.fork()
    if pid:
        return pid
    chance = random.Random(seed)
    memory, end = place.memory, time.monotonic() + seconds
    addresses = [place.address + place.head, place.address + place.data, place.end - 8,
                 place.address + place.table, place.nowhere, FAR]
    lengths = [16, 1, 0, 64, SECTOR, 4096, MOST]
    while time.monotonic() < end:
        for _ in range(100):
            where = chance.choice((place.desc, place.desc, place.table)) + 16 * chance.randrange(8)
            what = chance.randrange(4)
            if what == 0:
                struct.pack_into("<Q", memory, where, chance.choice(addresses))
            elif what == 1:
                struct.pack_into("<I", memory, where + 8, chance.choice(lengths))
            elif what == 2 and place.packed:
                struct.pack_into("<H", memory, where + 14, chance.randrange(8) |
                                 chance.choice((AVAIL_BIT, USED_BIT)))
            elif what == 2:
                struct.pack_into("<HH", memory, where + 12, chance.randrange(8),
                                 chance.randrange(9))
            else:
                struct.pack_into("<I", memory, place.head, chance.choice((READ, WRITE, FLUSH, 99)))
    os._exit(0)
