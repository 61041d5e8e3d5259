# SPDX-License-Identifier: GPL-2.0-or-later
# A QMP client for a UNIX socket, and how its answers are read wherever they come from.

import json
import os
import socket
import stat
import struct
import time

GREETING_SECONDS = 10


class Error(Exception):
    """What ends mq-top: one line, which says what to do."""


class Ended(Error):
    """The program is no more."""


class Refused(Error):
    """The program does not carry out a command."""


class Missing(Refused):
    """The program has no such command."""


def answer(name, reply):
    """What a command returned, of the object that the program sent."""
    if "error" in reply:
        kind = Missing if reply["error"].get("class") == "CommandNotFound" else Refused
        raise kind(f"{name}: {reply['error'].get('desc', 'refused')}")
    if "return" not in reply:
        raise Error(f"{name}: the answer is not one of QMP")
    return reply["return"]


def peer(connection):
    """The process that listens, or None where it is not one that can be seen from here."""
    size = struct.calcsize("=iII")
    pid, _, _ = struct.unpack("=iII", connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED,
                                                            size))
    return pid or None


class Socket:
    """One connection. `patience`: seconds until an answer counts as lost, or None: never."""

    def __init__(self, path, patience):
        self.target = path
        self._patience = patience
        self._buffer = b""
        self._commands = 0          # that were sent
        self._connection = self._connect(path)
        self.pid = peer(self._connection)
        self._greeting()
        self.command("qmp_capabilities")

    def command(self, name, arguments=None):
        """Execute a command and return what it returns; events are dropped, and so is the answer to
        a command that was interrupted."""
        self._commands += 1
        request = {"execute": name, "arguments": arguments or {}, "id": self._commands}
        deadline = None if self._patience is None else time.monotonic() + self._patience
        try:
            self._connection.settimeout(self._patience)
            self._connection.sendall(json.dumps(request).encode() + b"\n")
            reply = self._receive(deadline)
            while reply and reply.get("id") != self._commands:
                reply = self._receive(deadline)
        except TimeoutError:
            raise Error(f"{self.target}: no answer to {name} within {self._patience:g} s: "
                        "the program hangs") from None
        except OSError:
            reply = None
        if reply is None:
            raise Ended(f"{self.target}: the connection was closed: the program has ended")
        return answer(name, reply)

    def process(self, _thread):
        """The process, whose thread this is if it can be seen from here."""
        return self.pid

    def _connect(self, path):
        connection = socket.socket(socket.AF_UNIX)
        connection.settimeout(GREETING_SECONDS)
        try:
            if not stat.S_ISSOCK(os.stat(path).st_mode):
                raise Error(f"{path}: not a socket; mq-top needs that of -qmp unix:PATH,server=on,wait=off")
            connection.connect(path)
        except FileNotFoundError:
            raise Error(f"{path}: no such socket; start QEMU with -qmp unix:{path},server=on,"
                        "wait=off") from None
        except ConnectionRefusedError:
            raise Error(f"{path}: nobody listens there any more: the program has ended") from None
        except (BlockingIOError, TimeoutError):
            raise Error(f"{path}: {self._in_use()}") from None
        except (OSError, ValueError) as error:
            raise Error(f"{path}: {getattr(error, 'strerror', None) or error}") from None
        return connection

    @staticmethod
    def _in_use():
        return (f"no greeting within {GREETING_SECONDS} s: the monitor is in use by another client "
                "(give QEMU a second -qmp socket), or the socket is not one of QMP")

    def _greeting(self):
        try:
            greeting = self._receive(time.monotonic() + GREETING_SECONDS)
        except TimeoutError:
            raise Error(f"{self.target}: {self._in_use()}") from None
        except OSError:
            greeting = None
        if greeting is None or "QMP" not in greeting:
            raise Error(f"{self.target}: not a QMP socket: what it says is no greeting of QMP")

    def _receive(self, deadline):
        """The next object, or None at the end; one that is none of JSON is an empty object."""
        while b"\n" not in self._buffer:
            if deadline is not None:
                self._connection.settimeout(max(0.001, deadline - time.monotonic()))
            data = self._connection.recv(1 << 16)
            if not data:
                return None
            self._buffer += data
        line, _, self._buffer = self._buffer.partition(b"\n")
        try:
            reply = json.loads(line)
        except ValueError:
            return {}
        return reply if isinstance(reply, dict) else {}
