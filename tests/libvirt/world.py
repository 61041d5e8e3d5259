# SPDX-License-Identifier: GPL-2.0-or-later
# What the tests of libvirt have in common: a daemon, and guests of it that can be looked at.

import re
import time
import xml.etree.ElementTree as ET
from contextlib import contextmanager

import domain
from errors import GuestError
from guest import SECONDS, Guest, make_initramfs

MIB = 1 << 20
SIZE = 32 * MIB
IMAGES = "/var/lib/libvirt/images"
QUEUES = "A disk whose queues have IOThreads of their own"


class World:
    """The host (QEMU, kernel, work folder), a daemon, and a machine that tests leave to the next."""

    def __init__(self, host, daemon):
        self.host, self.daemon = host, daemon
        self._number = 0
        self._kept = None

    def folder(self):
        self._number += 1
        folder = self.host.work / f"guest{self._number}"
        folder.mkdir()
        return folder

    def image(self, name, size=SIZE):
        path = self.host.work / name
        with open(path, "wb") as file:
            file.truncate(size)
        return path

    @contextmanager
    def started(self, heading, paths, daemon=None):
        """The domain of a section of the document, booted, as a Machine; `paths` as for
        domain.adapt()."""
        daemon = daemon or self.daemon
        guest = Guest(self.folder())
        xml = domain.adapt(domain.documented(heading), self.host, paths)
        domain.boot(xml, self.host, make_initramfs(self.host), guest)
        machine = Machine(daemon, xml.find("name").text, guest)
        daemon.virsh("define", domain.write(xml, guest.path.with_name("domain.xml")))
        try:
            machine.virsh("start")
            guest.accept()
            guest.booted()
            yield machine
            machine.virsh("destroy")
            machine.virsh("undefine")
        except BaseException as error:
            if isinstance(error, GuestError):
                error.args = (f"{error}\n  {machine.last_words()}",)
            self._abandon(machine, daemon)
            raise
        finally:
            guest.close()

    @staticmethod
    def _abandon(machine, first):
        """The next test is to find no domain, whatever state this one is in."""
        for daemon in (machine.daemon, first):
            for command in ("destroy", "managedsave-remove", "undefine"):
                try:
                    daemon.virsh(command, machine.name)
                except GuestError:
                    pass

    @contextmanager
    def loaded(self):
        """The document's first domain under load of its disk; the one of the last test if that
        left it well. The load must have gone on when the test is done."""
        if not self._kept:
            context = self.started(QUEUES, {f"{IMAGES}/disk0.img": self.image("disk0")})
            self._kept = context, context.__enter__()
            machine = self._kept[1]
            try:
                machine.load("keep", "vda")
                machine.load("start", "vda")
            except BaseException as error:
                self._drop(error)
                raise
        machine = self._kept[1]
        try:
            yield machine
            machine.load("more", "vda")
            machine.load("kept", "vda")
        except BaseException as error:
            self._drop(error)
            raise

    def _drop(self, error):
        context, self._kept = self._kept[0], None
        try:
            context.__exit__(type(error), error, error.__traceback__)
        except BaseException as same:
            if same is not error:
                raise

    def finish(self):
        """End the machine that was kept."""
        if self._kept:
            context, machine = self._kept
            machine.load("stop", "vda")
            self._kept = None
            context.__exit__(None, None, None)


class Machine:
    """A domain that runs, and its guest."""

    def __init__(self, daemon, name, guest):
        self.daemon, self.name, self.guest = daemon, name, guest

    def virsh(self, command, *words):
        return self.daemon.virsh(command, self.name, *words)

    def qmp(self, command, **arguments):
        return self.daemon.qmp(self.name, command, **arguments)

    def last_words(self):
        """The end of QEMU's log, which names an assertion that failed."""
        try:
            lines = self.daemon.qemu_log(self.name).splitlines()
        except OSError as error:
            return f"QEMU has no log: {error}"
        # libvirt's word on it is the last
        return "QEMU's log ends: " + " | ".join(lines[-2:])

    def load(self, verb, disk):
        """Call the guest's load.sh; returns what it prints."""
        said = self.guest.tell(f"sh /mq/load {verb} {disk} || echo failed")
        if said.endswith("failed"):
            raise GuestError(f"load {verb} {disk}: {said}")
        return said

    def xml(self):
        return ET.fromstring(self.virsh("dumpxml"))

    def alias(self, target):
        """libvirt's name of a disk's device, or None without such a disk."""
        for disk in self.xml().iter("disk"):
            if disk.find("target").get("dev") == target:
                return disk.find("alias").get("name")
        return None

    def disk(self, target):
        """What query-block-queues says of a disk."""
        name = f"/{self.alias(target)}/"
        shown = self.qmp("query-block-queues")
        found = [device for device in shown if name in device.get("qdev", "")]
        assert len(found) == 1, (target, name, shown)
        return found[0]

    def mapping(self, target):
        """The IOThread of each virtqueue."""
        return [queue.get("iothread") for queue in self.disk(target)["virtqueues"]]

    def served(self, target):
        """Requests that took the fast path, by IOThread."""
        return {queue["iothread"]: sum(queue[kind]["fast-requests"] for kind in ("read", "write"))
                for queue in self.disk(target)["queues"] if "iothread" in queue}

    def remove_bitmap(self, target):
        """As the document shows it: libvirt leaves its bitmap on the node that a job ended with."""
        node = self.disk(target)["node-name"]
        command, = re.findall(r"virsh qemu-monitor-command mq '(.*bitmap-remove.*)'",
                              domain.DOC.read_text(encoding="utf-8"))
        assert "NODE" in command
        self.virsh("qemu-monitor-command", command.replace("NODE", node))

    def is_closed(self, target, reason):
        """The fast path must be closed for this reason."""
        assert reason in self.disk(target)["reasons"], self.disk(target)

    def is_fast(self, target, threads):
        """The path must open, and each of these IOThreads get requests by it."""
        # a job is still there for a moment when libvirt has answered
        wait(lambda: self.disk(target)["fast-path"], f"{target}: the fast path stays closed")
        before = self.served(target)
        wait(lambda: all(self.served(target).get(name, 0) > before.get(name, 0)
                         for name in threads),
             f"{target}: no fast requests on each of {threads}")


def wait(what, failure):
    """Call it until it returns something true."""
    deadline = time.monotonic() + SECONDS
    while True:
        if what():
            return
        if time.monotonic() > deadline:
            raise GuestError(failure)
        time.sleep(0.05)
