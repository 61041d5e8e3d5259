# SPDX-License-Identifier: GPL-2.0-or-later
# The guest of a libvirt domain: Linux as in the other guest tests, told what to do over its second
# serial port. QEMU connects that to a socket of the test's; where libvirt starts another QEMU for
# the same guest (migration, restore), accept() goes on with that one.

import socket
from pathlib import Path

import initramfs
from errors import GuestError, GuestHang
from lines import Deadline, Lines
from vm import MARK

HERE = Path(__file__).parent
SECONDS = 600           # for one answer


def make_initramfs(host):
    path = host.work / "initramfs"
    if not path.exists():
        initramfs.build(path, host.kernel, HERE.parent / "guest" / "tell.sh",
                        modules=("virtio_pci", "virtio_blk"), programs=("fio",),
                        files={"mq/load": (HERE / "load.sh").read_bytes()})
    return path


class Guest:
    """`path` is the socket that the domain's second serial port connects to."""

    def __init__(self, folder):
        self.path = Path(folder) / "guest.sock"
        self._log = open(Path(folder) / "guest.log", "wb", buffering=0)
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(self.path))
        self._listener.listen()
        self._deadline = Deadline(SECONDS)
        self._lines = None

    def close(self):
        self._listener.close()
        self._log.close()

    def accept(self):
        """Talk with the QEMU that connected last."""
        self._listener.settimeout(SECONDS)
        try:
            self._socket = self._listener.accept()[0]
        except TimeoutError:
            raise GuestHang("no QEMU connected to the guest's port") from None
        self._lines = Lines(self._socket, self._deadline, self._log)

    def booted(self):
        self._deadline.restart(SECONDS)
        said = self._message()
        assert said == "ready", said

    def tell(self, command):
        """What a shell command prints in the guest, as one line."""
        self._deadline.restart(SECONDS)
        self._lines.send(command)
        word, _, said = self._message().partition(" ")
        assert word == "said", word
        return said.strip()

    def well(self, command):
        """The command must succeed."""
        said = self.tell(f"({command}) > /tmp/log 2>&1 && echo well || tail -n 5 /tmp/log")
        if said != "well":
            raise GuestError(f"'{command}' in the guest: {said}")

    def _message(self):
        while True:
            line = self._lines.next()
            if line is None:
                raise GuestError("QEMU closed the guest's port")
            if line.startswith(MARK):
                return line[len(MARK):]
