#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
# An NBD client (the protocol's fixed newstyle with simple replies) and, as a program, a verified
# load over one connection of it:
#
#   nbdload.py --socket PATH --export NAME --offset BYTES --size BYTES [--depth N] [--seed N]
#
# writes its window of the export, reads, discards and flushes at random, and verifies what it
# reads, until its standard input ends; then reads all of the window again, and prints what it did
# in JSON. --reconnect: a connection that ends is made anew, for as long as that takes.

import argparse
import contextlib
import json
import os
import random
import select
import socket
import struct
import sys
import time

READ, WRITE, DISCONNECT, FLUSH, TRIM, WRITE_ZEROES = 0, 1, 2, 3, 4, 6
BLOCK = 4096
OPTION = b"IHAVEOPT"
OPTION_GO, REPLY_ACK, REPLY_INFO, INFO_EXPORT = 7, 1, 3, 0
OPTION_REPLY, REQUEST, SIMPLE_REPLY = 0x3e889045565a9, 0x25609513, 0x67446698
FIXED_NEWSTYLE, NO_ZEROES = 1, 2
PATIENCE = 600


class Ended(Exception):
    """The server ended the connection."""


class Refused(Exception):
    """The server has no such export."""


class Client:
    """A connection. `greet` and `go` are its negotiation, which may have a pause in between."""

    def __init__(self, path):
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(PATIENCE)
        self.socket.connect(os.fspath(path))
        self.cookie = 0

    def close(self):
        self.socket.close()

    def send(self, data):
        try:
            self.socket.sendall(data)
        except (BrokenPipeError, ConnectionResetError) as error:
            raise Ended from error

    def receive(self, length):
        data = bytearray()
        while len(data) < length:
            try:
                part = self.socket.recv(length - len(data))
            except ConnectionResetError as error:
                raise Ended from error
            if not part:
                raise Ended
            data += part
        return bytes(data)

    def greet(self):
        assert self.receive(16) == b"NBDMAGIC" + OPTION
        flags, = struct.unpack(">H", self.receive(2))
        assert flags & FIXED_NEWSTYLE, flags
        self.send(struct.pack(">I", FIXED_NEWSTYLE | flags & NO_ZEROES))

    def go(self, export):
        """Returns the export's size."""
        name = export.encode()
        data = struct.pack(">I", len(name)) + name + struct.pack(">H", 0)
        self.send(OPTION + struct.pack(">II", OPTION_GO, len(data)) + data)
        size = None
        while True:
            magic, option, reply, length = struct.unpack(">QIII", self.receive(20))
            assert (magic, option) == (OPTION_REPLY, OPTION_GO), (magic, option)
            data = self.receive(length)
            if reply == REPLY_ACK:
                return size
            if reply != REPLY_INFO:
                raise Refused(data.decode(errors="replace"))
            if struct.unpack_from(">H", data) == (INFO_EXPORT,):
                size, = struct.unpack_from(">Q", data, 2)

    def request(self, kind, offset=0, length=0, data=b""):
        """Sends one; returns its cookie."""
        self.cookie += 1
        self.send(struct.pack(">IHHQQI", REQUEST, 0, kind, self.cookie, offset, length) + data)
        return self.cookie

    def reply(self, reads):
        """Receives one: cookie, error, and its data if `reads` tells the length of a read."""
        magic, error, cookie = struct.unpack(">IIQ", self.receive(16))
        assert magic == SIMPLE_REPLY, hex(magic)
        length = 0 if error else reads.get(cookie, 0)
        return cookie, error, self.receive(length)

    def do(self, kind, offset=0, length=0, data=b""):
        """One request and its reply, with no other in flight; returns what was read."""
        cookie = self.request(kind, offset, length, data)
        got, error, data = self.reply({cookie: length} if kind == READ else {})
        assert (got, error) == (cookie, 0), (got, cookie, error)
        return data


def connect(path, export):
    client = Client(path)
    client.greet()
    client.go(export)
    return client


def content(block, version):
    """What version 1 and later of a block is; version 0 is zeroes."""
    if not version:
        return bytes(BLOCK)
    return struct.pack("<QQ", block, version) * (BLOCK // 16)


class Load:
    """Keeps `depth` requests in flight, no two of one block, and knows what each block holds.

    After a connection ended with a write in flight, a block holds one of several versions: it is
    read before it is written again.
    """

    def __init__(self, options):
        self.options = options
        self.first, self.blocks = options.offset // BLOCK, options.size // BLOCK
        self.chance = random.Random(options.seed)
        self.version = 0
        self.holds = {}                 # the versions that a block may hold, by block
        self.done = {"requests": 0, "connections": 0}
        self.client = None
        self.flying = {}                # kind, block and version by cookie
        self.busy = set()               # blocks with a request in flight

    def start(self, kind, block, version=None):
        offset = (self.first + block) * BLOCK
        data = content(block, version) if kind == WRITE else b""
        length = 0 if kind == FLUSH else BLOCK
        cookie = self.client.request(kind, 0 if kind == FLUSH else offset, length, data)
        self.flying[cookie] = kind, block, version
        self.busy.add(block)

    def start_any(self):
        block = self.chance.randrange(self.blocks)
        if block in self.busy:
            return
        kind = self.chance.choice((READ, READ, WRITE, WRITE, WRITE, WRITE_ZEROES, FLUSH))
        if len(self.holds[block]) > 1:
            kind = READ
        version = None
        if kind == WRITE:
            self.version += 1
            version = self.version
        elif kind == WRITE_ZEROES:
            version = 0
        if version is not None:
            self.holds[block].add(version)      # from now on, until its reply says more
        self.start(kind, block, version)

    def finish(self):
        """Takes one reply."""
        reads = {cookie: BLOCK for cookie, one in self.flying.items() if one[0] == READ}
        cookie, error, data = self.client.reply(reads)
        kind, block, version = self.flying.pop(cookie)
        assert not error, f"request {kind} of block {block} failed with {error}"
        self.busy.discard(block)
        self.done["requests"] += 1
        if kind == READ:
            found = [one for one in self.holds[block] if data == content(block, one)]
            assert found, (f"block {block} holds {data[:32].hex()}..., which is none of the "
                           f"versions {self.holds[block]}")
            self.holds[block] = set(found)
        elif kind != FLUSH:
            self.holds[block] = {version}

    def fill(self):
        while len(self.flying) < self.options.depth and len(self.busy) < self.blocks:
            self.start_any()

    def read_all(self):
        for block in range(self.blocks):
            self.start(READ, block)
            if len(self.flying) >= self.options.depth:
                self.finish()
        while self.flying:
            self.finish()

    def work(self):
        """All of it over one connection, which may end."""
        for block in range(self.blocks):
            if block not in self.holds:
                self.client.do(WRITE_ZEROES, (self.first + block) * BLOCK, BLOCK)
                self.holds[block] = {0}
        while not select.select([sys.stdin], [], [], 0)[0]:
            self.fill()
            self.finish()
        while self.flying:
            self.finish()
        self.read_all()
        self.client.request(DISCONNECT)

    def connected(self):
        """Makes a connection, if one can be had."""
        with contextlib.suppress(FileNotFoundError, ConnectionRefusedError, Ended, Refused):
            self.client = connect(self.options.socket, self.options.export)
            self.done["connections"] += 1
            return True
        return False

    def run(self):
        deadline = time.monotonic() + PATIENCE
        while True:
            if self.connected():
                deadline = time.monotonic() + PATIENCE
                try:
                    return self.work()
                except Ended:
                    if not self.options.reconnect:
                        raise
                    self.client.close()
                    self.flying.clear()
                    self.busy.clear()
            assert time.monotonic() < deadline, "no connection could be made"
            time.sleep(0.01)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--socket", required=True)
    parser.add_argument("--export", required=True)
    parser.add_argument("--offset", type=int, default=0)
    parser.add_argument("--size", type=int, required=True)
    parser.add_argument("--depth", type=int, default=16)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--reconnect", action="store_true")
    load = Load(parser.parse_args())
    load.run()
    print(json.dumps(load.done))


if __name__ == "__main__":
    main()
