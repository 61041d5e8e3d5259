# SPDX-License-Identifier: GPL-2.0-or-later
# One guest: starts QEMU, talks with the guest and with QEMU, and ends both by a deadline.
#
# The guest has two serial ports. The first is its console, kept in a file; on the second it
# talks with the test (init says how), so that no kernel message gets between. All waiting is on
# sockets whose other end is QEMU's: when QEMU ends, for whatever reason, so does the wait.
#
#     with VM(qemu, kernel, folder, accel, initramfs=...) as guest:   (or host.vm(), see host.py)
#         word, rest = guest.message()
#         guest.qmp.command("query-block")
#         guest.answer()
#         ...
#         guest.finish()

import ctypes
import re
import signal
import socket
import subprocess
import time
from pathlib import Path

from errors import GuestError, GuestHang, GuestPanic, GuestReset
from lines import Deadline, Lines
from qmp import Qmp

MARK = "MQ: "
PR_SET_PDEATHSIG = 1
LAST_WORDS = 60         # seconds


class VM:
    """A guest that runs inside a `with`. Its logs are in `folder`: console, guest, qmp, qemu."""

    def __init__(self, qemu, kernel, folder, accel, initramfs=None, seconds=60, memory="512M",
                 cpus=2, environment=None, args=(), last_words=LAST_WORDS):
        """`environment` is what the guest's init finds in its environment; `args` go to QEMU;
        for `last_words` seconds QEMU may say where the processors of a guest that hangs are."""
        self.folder = Path(folder)
        self._seconds, self._last_words = seconds, last_words
        # a loaded host lets the kernel's check of the timer fail
        words = ["console=ttyS0", "quiet", "panic=-1", "no_timer_check"]
        words += [f"{name}={value}" for name, value in (environment or {}).items()]
        self._command = [
            str(qemu), "-nodefaults", "-no-user-config", "-display", "none", "-no-reboot",
            "-machine", "q35", *accel.args, "-smp", str(cpus), "-m", memory,
            "-kernel", str(kernel.vmlinuz), "-append", " ".join(words),
            *(["-initrd", str(initramfs)] if initramfs else []),
            "-chardev", f"file,id=console,path={comma(self.folder / 'console.log')}",
            "-serial", "chardev:console",
            "-chardev", "socket,id=guest,fd={guest}", "-serial", "chardev:guest",
            "-chardev", "socket,id=qmp,fd={qmp}", "-mon", "chardev=qmp,mode=control",
            *args]
        self._said = "nothing"

    def __enter__(self):
        self.folder.mkdir(parents=True, exist_ok=True)
        self._start = time.monotonic()
        self._deadline = Deadline(self._seconds)
        self._sockets, theirs = {}, {}
        for name in ("guest", "qmp"):
            self._sockets[name], theirs[name] = socket.socketpair()
        fds = {name: end.fileno() for name, end in theirs.items()}
        self._logs = {name: open(self.folder / f"{name}.log", "wb", buffering=0)
                      for name in ("guest", "qmp", "qemu")}
        self._process = subprocess.Popen(
            [word.format(**fds) if "fd={" in word else word for word in self._command],
            pass_fds=list(fds.values()), stdin=subprocess.DEVNULL,
            stdout=self._logs["qemu"], stderr=subprocess.STDOUT, preexec_fn=die_with_parent)
        for end in theirs.values():
            end.close()
        self._lines = Lines(self._sockets["guest"], self._deadline, self._logs["guest"])
        self.qmp = Qmp(Lines(self._sockets["qmp"], self._deadline, self._logs["qmp"]), self._ended)
        try:
            self.qmp.negotiate()
        except BaseException as error:
            self.__exit__(type(error), error, None)
            raise
        return self

    def __exit__(self, kind, error, traceback):
        try:
            processors = self._processors() if isinstance(error, GuestHang) else []
        finally:
            self._process.kill()
            self._process.wait()
            for open_file in (*self._sockets.values(), *self._logs.values()):
                open_file.close()
        if isinstance(error, GuestHang):
            error.args = ("\n  ".join([f"{error}; the last it said was: {self._said}",
                                       *processors, *self._console()[-5:]]),)
        return False

    @property
    def pid(self):
        return self._process.pid

    def age(self):
        """Seconds since the guest was started."""
        return time.monotonic() - self._start

    def allow(self, seconds):
        """Move the guest's deadline: so many seconds from now."""
        self._deadline.restart(seconds)

    def message(self):
        """The guest's next message, as its first word and the rest.

        A file that the guest shows comes as ("file", (name, text)).
        """
        while True:
            line = self._lines.next()
            if line is None:
                raise self._ended()
            if line.startswith(MARK):
                self._said = line[len(MARK):]
                word, _, rest = self._said.partition(" ")
                return ("file", self._file(rest)) if word == "begin" else (word, rest)

    def answer(self, text=""):
        """Let a guest go on that waits after its message."""
        self._lines.send(text)

    def tell(self, command):
        """What a shell command says in a guest that runs tell.sh, as one line."""
        self.answer(command)
        word, said = self.message()
        assert word == "said", (word, said)
        return said.strip()

    def leave(self):
        """Let a guest that runs tell.sh end."""
        self.answer("")
        word, status = self.message()
        assert word == "exit", word
        self.finish(status)

    def finish(self, status):
        """Let the guest power off after its `exit` message; raises unless all ended well."""
        self.answer()
        reason = (self.qmp.event("SHUTDOWN") or {}).get("reason")
        if reason != "guest-shutdown":
            raise self._ended()
        try:
            returned = self._process.wait(self._deadline.left())
        except subprocess.TimeoutExpired:
            raise GuestHang("QEMU did not end after the guest had powered off") from None
        if returned != 0:
            raise self._ended()
        if int(status) != 0:
            raise GuestError(f"the guest's script ended with status {status}")

    def _file(self, name):
        text = []
        while True:
            line = self._lines.next()
            if line is None:
                raise self._ended()
            if line == MARK + "end " + name:
                return name, "\n".join(text)
            text.append(line)

    def _ended(self):
        """Why QEMU ended, or is about to, before it should have."""
        try:
            returned = self._process.wait(self._deadline.left())
        except subprocess.TimeoutExpired:
            return GuestHang("QEMU closed its sockets and did not end")
        words = (self.folder / "qemu.log").read_text(errors="replace").strip().splitlines()
        if returned != 0:
            how = f"by {signal.Signals(-returned).name}" if returned < 0 else f"with {returned}"
            said = re.sub(r"^\S*qemu-system-\w+: ", "", words[0]) if words else "without a word"
            return GuestError(f"QEMU ended {how}: {said}")
        for line in self._console():
            if "Kernel panic" in line:
                return GuestPanic("the guest panicked: " + re.sub(r"^\[[ .\d]*\] ", "", line))
        return GuestReset("the guest reset or powered off the machine before it was done")

    def _processors(self):
        """Where they are, and their interrupts, of a guest that hangs; QMP's log has all."""
        def hmp(line):
            return self.qmp.command("human-monitor-command", {"command-line": line})

        self._deadline.restart(self._last_words)
        try:
            return [" ".join(["CPU", *re.findall(r"^\d+|[ER]IP=\w+|HLT=\d", registers),
                              *re.findall(r"\b(?:ISR|IRR)\s.*|\w+_count = \d+",
                                          hmp(f"info lapic {number}"))])
                    for number, registers in
                    enumerate(hmp("info registers -a").split("CPU#")[1:])]
        except (GuestError, AttributeError, ValueError) as why:
            # among them the late answer to a command that was given up
            return [f"its processors' registers are not to be had: {why}"]

    def _console(self):
        log = self.folder / "console.log"
        text = log.read_text(errors="replace") if log.exists() else ""
        return [line.rstrip() for line in text.splitlines() if line.strip()]


def comma(path):
    """A path as a value in a QEMU option, where a comma is doubled."""
    return str(path).replace(",", ",,")


def die_with_parent():
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
