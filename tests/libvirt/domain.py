# SPDX-License-Identifier: GPL-2.0-or-later
# Domains as docs/libvirt.md has them, with what a test must put in their places.
#
# The first block of XML there is a whole domain. Each other is one that says what differs: its
# elements take the place of those of the same name (in <devices>: of all disks).

import re
import xml.etree.ElementTree as ET
from pathlib import Path

DOC = Path(__file__).resolve().parent.parent.parent / "docs" / "libvirt.md"
QEMU = "http://libvirt.org/schemas/domain/qemu/1.0"
EMULATOR = "/usr/local/bin/qemu-system-x86_64"

ET.register_namespace("qemu", QEMU)


def sections():
    """The document's text by heading."""
    parts = re.split(r"^#+ (.*)$", DOC.read_text(encoding="utf-8"), flags=re.M)
    return dict(zip(parts[1::2], parts[2::2]))


def headings():
    """Those of sections with a block of XML."""
    return [heading for heading, text in sections().items() if "```xml" in text]


def documented(heading):
    """The domain that the section of this heading is about."""
    block, = re.findall(r"^```xml\n(.*?)^```", sections()[heading], re.M | re.S)
    first = headings()[0]
    changes = ET.fromstring(block)
    return changes if heading == first else merged(documented(first), changes)


def merged(domain, changes):
    for change in changes:
        if change.tag == "devices":
            devices = domain.find("devices")
            for disk in devices.findall("disk"):
                devices.remove(disk)
            devices.extend(change)
        else:
            for old in domain.findall(change.tag):
                domain.remove(old)
            domain.append(change)
    return domain


def adapt(domain, host, paths):
    """Let it be one of the QEMU under test, under what runs here, on disks of ours.

    `paths` are {path in the document: path of ours}.
    """
    if host.accel.name == "tcg":
        domain.set("type", "qemu")
        domain.find("cpu").set("mode", "maximum")
    for element in domain.iter():
        for theirs, ours in {EMULATOR: host.qemu, **paths}.items():
            if element.text:
                element.text = element.text.replace(theirs, str(ours))
            for key, value in element.items():
                element.set(key, value.replace(theirs, str(ours)))
    return domain


def boot(domain, host, initramfs, guest):
    """Let it boot the tests' guest, which talks with `guest`."""
    system = domain.find("os")
    for tag, text in (("kernel", host.kernel.vmlinuz), ("initrd", initramfs),
                      ("cmdline", "console=ttyS0 quiet panic=-1 no_timer_check")):
        ET.SubElement(system, tag).text = str(text)
    for tag in ("on_reboot", "on_crash"):
        ET.SubElement(domain, tag).text = "destroy"
    devices = domain.find("devices")
    console = ET.SubElement(devices, "serial", type="file")
    ET.SubElement(console, "source", path=str(guest.path.with_name("console.log")), append="on")
    ET.SubElement(console, "target", port="0")
    port = ET.SubElement(devices, "serial", type="unix")
    ET.SubElement(port, "source", mode="connect", path=str(guest.path))
    ET.SubElement(port, "target", port="1")
    ET.SubElement(devices, "controller", type="usb", model="none")
    ET.SubElement(devices, "memballoon", model="none")


def write(element, path):
    """The element as a file, whose path is returned."""
    path.write_text(ET.tostring(element, encoding="unicode"))
    return path
