# SPDX-License-Identifier: GPL-2.0-or-later
# A program in a terminal of its own, for tests: a pseudo-terminal, and as much of an xterm as a curses
# program that sets TERM=xterm is answered by. What it does not know is an error, and so is a character
# beyond the last column while the alternate screen is shown; else lines are wrapped.
#
# Control sequences are of ECMA-48 and of xterm's "Control Sequences".

import fcntl
import os
import pty
import re
import select
import signal
import struct
import termios
import time

from errors import Error

SECONDS = 600
SEQUENCE = re.compile(r"\x1b(?:\[([?>=]?)([0-9;]*)([@-~])|([()])([0-9A-Z])|([=>78cDEM]))")
PARTIAL = re.compile(r"\x1b(?:\[[?>=]?[0-9;]*|[()])?$")


class Unlike(Error):
    """The screen does not come to show what it is to."""


class Screen:
    """Cells, as the program has written them."""

    def __init__(self, lines, columns):
        self.modes = set()          # private ones that are set
        self.next = None            # the size that the program is to find out
        self._resize(lines, columns)

    def _resize(self, lines, columns):
        self.lines, self.columns = lines, columns
        self.cells = [[" "] * columns for _ in range(lines)]
        self.at = [0, 0]
        self.region = [0, lines - 1]

    def text(self):
        return ["".join(line).rstrip() for line in self.cells]

    def write(self, character):
        line, column = self.at
        if column >= self.columns:
            if 1049 in self.modes:
                raise Error(f"beyond column {self.columns}: {character!r}, line {line}: "
                            f"{''.join(self.cells[line])!r}")
            self.control("\r")
            self.control("\n")
            line, column = self.at
        self.cells[line][column] = character
        self.at[1] += 1

    def scroll(self, by):
        top, bottom = self.region
        for _ in range(abs(by)):
            del self.cells[top if by > 0 else bottom]
            self.cells.insert(bottom if by > 0 else top, [" "] * self.columns)

    def control(self, character):
        if character == "\r":
            self.at[1] = 0
        elif character == "\b":
            self.at[1] = max(0, min(self.at[1], self.columns) - 1)
        elif character == "\n":
            if self.at[0] == self.region[1]:
                self.scroll(1)
            else:
                self.at[0] = min(self.at[0] + 1, self.lines - 1)
        elif character == "\t":
            self.at[1] = min((self.at[1] // 8 + 1) * 8, self.columns - 1)
        else:
            raise Error(f"a control character: {character!r}")

    def sequence(self, private, words, final):
        values = [int(word or 0) for word in words.split(";")] if words else []
        first = values[0] if values else 0
        line, column = self.at
        row = self.cells[line]
        many = max(1, first)
        if private or final in "mlhtn":
            if private == "?" and final in "hl":
                (self.modes.update if final == "h" else self.modes.difference_update)(values)
        elif final in "Hf":
            self.at = [max(1, first) - 1, max(1, values[1] if len(values) > 1 else 1) - 1]
        elif final in "ABCD":
            move = {"A": (-many, 0), "B": (many, 0), "C": (0, many), "D": (0, -many)}[final]
            self.at = [max(0, min(line + move[0], self.lines - 1)),
                       max(0, min(column + move[1], self.columns - 1))]
        elif final == "G":
            self.at[1] = many - 1
        elif final == "d":
            self.at[0] = many - 1
        elif final == "J":
            if first == 2 and self.next:
                # the program draws all anew: what it did before was for another size
                self._resize(*self.next)
                self.next = None
                return
            start, end = {0: (line + 1, self.lines), 1: (0, line), 2: (0, self.lines)}[first]
            for other in range(start, end):
                self.cells[other] = [" "] * self.columns
            if first != 2:
                self.sequence("", words, "K")
        elif final == "K":
            start, end = {0: (column, self.columns), 1: (0, column + 1), 2: (0, self.columns)}[first]
            row[start:end] = [" "] * (end - start)
        elif final == "X":
            end = min(column + many, self.columns)
            row[column:end] = [" "] * (end - column)
        elif final == "P":
            row[column:] = row[column + many:] + [" "] * min(many, self.columns - column)
        elif final == "@":
            row[column:] = ([" "] * many + row[column:])[:self.columns - column]
        elif final == "b":
            for _ in range(many):
                self.write(row[column - 1])
        elif final in "LM":
            top, bottom = line, self.region[1]
            for _ in range(many):
                del self.cells[bottom if final == "L" else top]
                self.cells.insert(top if final == "L" else bottom, [" "] * self.columns)
        elif final in "ST":
            self.scroll(many if final == "S" else -many)
        elif final == "r":
            self.region = [many - 1, (values[1] if len(values) > 1 else self.lines) - 1]
            self.at = [0, 0]
        else:
            raise Error(f"an unknown sequence: {words}{final}")

    def feed(self, text):
        """Returns the part of a sequence at the end."""
        at = 0
        while at < len(text):
            found = SEQUENCE.match(text, at)
            if found:
                private, words, final, _, _, single = found.groups()
                if final:
                    self.sequence(private, words, final)
                elif single == "M":
                    self.scroll(-1) if self.at[0] == self.region[0] else self.sequence("", "", "A")
                at = found.end()
            elif text[at] == "\x1b":
                if PARTIAL.match(text, at):
                    return text[at:]
                raise Error(f"an unknown sequence: {text[at:at + 10]!r}")
            else:
                (self.write if text[at] >= " " else self.control)(text[at])
                at += 1
        return ""


def fresh_modes():
    """Those of a pseudo-terminal that nobody has used."""
    ours, theirs = os.openpty()
    try:
        return termios.tcgetattr(theirs)[:4]
    finally:
        os.close(ours)
        os.close(theirs)


class Terminal:
    """A program that runs in one. Use as a context."""

    def __init__(self, command, lines=24, columns=80, **environment):
        self.screen = Screen(lines, columns)
        self._rest = ""
        self.status = None
        self.pid, self._fd = pty.fork()
        if self.pid == 0:
            try:
                fcntl.ioctl(0, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))
                os.execve(command[0], command, {**os.environ, "TERM": "xterm", "LC_ALL": "C.UTF-8",
                                                **environment})
            finally:
                os._exit(127)
        self.before = fresh_modes()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.status is None:
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)
        os.close(self._fd)

    def modes(self):
        """The terminal's: echo, line by line or not, and so on."""
        return termios.tcgetattr(self._fd)[:4]

    def resize(self, lines, columns):
        """Until the program draws for the new size."""
        self.screen.next = lines, columns
        fcntl.ioctl(self._fd, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))
        self.shows(lambda _: not self.screen.next)

    def press(self, keys):
        os.write(self._fd, keys.encode())

    def _read(self, seconds):
        """Whether the program has the terminal still."""
        if not select.select([self._fd], [], [], seconds)[0]:
            return True
        try:
            data = os.read(self._fd, 1 << 16)
        except OSError:
            return False
        self._rest = self.screen.feed(self._rest + data.decode())
        return bool(data)

    def shows(self, what):
        """Wait until what(lines of the screen) is true; returns it."""
        deadline = time.monotonic() + SECONDS
        while True:
            found = what(self.screen.text())
            if found:
                return found
            if time.monotonic() > deadline or not self._read(0.1):
                raise Unlike("the screen shows\n" + "\n".join(self.screen.text()))

    def shows_text(self, text):
        return self.shows(lambda lines: [line for line in lines if text in line])

    def ends(self):
        """Wait for the end; returns the exit status and the terminal's modes just before it goes."""
        deadline = time.monotonic() + SECONDS
        while True:
            modes = self.modes()
            self._read(0.02)
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self.status = os.waitstatus_to_exitcode(status)
                modes = self.modes()
                while self._read(0):
                    if not select.select([self._fd], [], [], 0)[0]:
                        break
                return self.status, modes
            if time.monotonic() > deadline:
                raise Unlike("it goes on, and shows\n" + "\n".join(self.screen.text()))
