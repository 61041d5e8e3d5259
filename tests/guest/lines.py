# SPDX-License-Identifier: GPL-2.0-or-later
# Lines over a socket, with one deadline for all waiting.

import time

from errors import GuestHang


class Deadline:
    """A point in time by which everything must be done."""

    def __init__(self, seconds):
        self.restart(seconds)

    def restart(self, seconds):
        """Move the deadline: so many seconds from now."""
        self._seconds = seconds
        self._start = time.monotonic()

    def left(self):
        """Seconds left; raises GuestHang when there are none."""
        left = self._start + self._seconds - time.monotonic()
        if left <= 0:
            raise GuestHang(f"the guest was not done in {self._seconds:g} s")
        return left


class Lines:
    """One end of a connected stream socket. What is read also goes to `log`."""

    def __init__(self, socket, deadline, log):
        self._socket = socket
        self._deadline = deadline
        self._log = log
        self._buffer = b""

    def next(self):
        """The next line without its end, or None when the other side has closed."""
        while b"\n" not in self._buffer:
            self._socket.settimeout(self._deadline.left())
            try:
                data = self._socket.recv(65536)
            except TimeoutError:
                continue                # and left() says so
            except ConnectionResetError:
                data = b""
            if not data:
                return None
            self._log.write(data)
            self._buffer += data
        line, _, self._buffer = self._buffer.partition(b"\n")
        return line.decode(errors="replace").rstrip("\r")

    def send(self, line):
        self._socket.settimeout(self._deadline.left())
        try:
            self._socket.sendall(line.encode() + b"\n")
        except TimeoutError:
            self._deadline.left()
            raise
        except (BrokenPipeError, ConnectionResetError):
            pass                        # next() will meet the end
