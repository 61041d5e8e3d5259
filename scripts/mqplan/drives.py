# SPDX-License-Identifier: GPL-2.0-or-later
# The drives that are wanted: what each is, and which NUMA node it is at.

import os
import re
import stat
from dataclasses import dataclass
from pathlib import Path

from . import in_use
from .errors import PlanError
from .topology import read

# a domain has more than 4 digits where Linux makes it up, as for Intel's VMD
PCI = re.compile(r"(?:nvme://)?(?:([0-9a-f]{4,8}):)?([0-9a-f]{2}:[0-9a-f]{2}\.[0-7])"
                 r"(?:/([0-9]{1,9}))?", re.IGNORECASE)
MOST_QUEUES = 1024      # of a virtio device
FORMATS = ("raw", "qcow2")


@dataclass
class Drive:
    name: str           # disk0, ...
    path: str           # a file's or block device's, or the PCI address
    kind: str           # nvme-pci, nvme, block or file
    node: int = None    # None: not known
    queues: int = None  # None: as many as there are vCPUs
    namespace: int = 1  # of nvme-pci
    format: str = None  # one of FORMATS; None: not said, raw
    direct: bool = True     # it takes O_DIRECT
    iopoll: bool = False    # the kernel can poll it


def parse(spec, number, host):
    """The Drive of a --drive SPEC; PlanError names what is wrong with it."""
    path, *options = spec.split(",")
    drive = Drive(f"disk{number}", path, "file")
    for option in options:
        key, _, value = option.partition("=")
        if key == "queues" and re.fullmatch("[0-9]{1,5}", value) and 1 <= int(value) <= MOST_QUEUES:
            drive.queues = int(value)
        elif key == "format" and value in FORMATS:
            drive.format = value
        else:
            raise PlanError(f"--drive {spec}: '{option}' is not queues=1 to queues={MOST_QUEUES}, "
                            "format=raw or format=qcow2")
    if not path or not path.isprintable():
        raise PlanError(f"--drive {spec!r}: a path or a PCI address is needed")
    pci = PCI.fullmatch(path)
    if pci:
        if drive.format:
            raise PlanError(f"--drive {spec}: format= is of files and block devices, not of a PCI "
                            "address: leave it out")
        whole_pci(drive, pci, spec, host)
    elif host.live:
        this_machine(drive, spec, host)
    elif re.fullmatch(r"/dev/[\w!-]+", path):
        block(drive, host.root / "class/block" / path[5:], spec, host)
    if drive.node is not None and drive.node not in host.nodes:
        raise PlanError(f"--drive {spec}: it is at node {drive.node}, which does not exist")
    drive.format = drive.format or "raw"
    return drive


def whole_pci(drive, pci, spec, host):
    domain, rest, namespace = pci.groups()
    address = f"{int(domain or '0', 16):04x}:{rest.lower()}"
    drive.kind, drive.path, drive.namespace = "nvme-pci", address, int(namespace or 1)
    if not drive.namespace:
        raise PlanError(f"--drive {spec}: namespaces are counted from 1")
    folder = host.root / "bus/pci/devices" / address
    if not folder.exists():
        raise PlanError(f"--drive {spec}: there is no PCI device {address}")
    if not (read(folder / "class") or "").startswith("0x0108"):
        raise PlanError(f"--drive {spec}: PCI device {address} is no NVMe drive")
    in_use.refuse(spec, in_use.namespaces(folder, host.root), host)
    drive.node = node_above(folder, host.root)


def this_machine(drive, spec, host):
    drive.path = os.path.abspath(drive.path)
    try:
        found = os.stat(drive.path)
    except OSError as error:
        raise PlanError(f"--drive {spec}: {error.strerror}") from None
    if stat.S_ISBLK(found.st_mode):
        block(drive, device(host, found.st_rdev), spec, host)
    elif stat.S_ISREG(found.st_mode):
        folder = device(host, found.st_dev)
        drive.node = node_of_block(folder, host.root) if folder.exists() else None
        inside(drive, spec)
    else:
        raise PlanError(f"--drive {spec}: it is neither a file nor a block device")


def device(host, number):
    return host.root / "dev/block" / f"{os.major(number)}:{os.minor(number)}"


def block(drive, folder, spec, host):
    if not folder.exists():
        raise PlanError(f"--drive {spec}: there is no such block device in {host.root}")
    in_use.refuse(spec, [folder.resolve()], host)
    drive.kind = "nvme" if Path(drive.path).name.startswith("nvme") else "block"
    drive.node = node_of_block(folder, host.root)
    disk = folder if (folder / "queue").exists() else folder.resolve().parent
    drive.iopoll = read(disk / "queue/io_poll") == "1"


def node_of_block(folder, root):
    """The node of a block device, or that of all the devices it is made of."""
    node = node_above(folder, root)
    if node is None:
        # of a device mapper, or of the controllers of an NVMe drive with several ways to it
        below = [*folder.glob("slaves/*"), *folder.resolve().parent.glob("nvme*/numa_node")]
        nodes = {node_of_block(one.parent if one.name == "numa_node" else one, root)
                 for one in below}
        node = nodes.pop() if len(nodes) == 1 else None
    return node


def node_above(folder, root):
    """The nearest numa_node above: that of a controller, if the kernel knows it."""
    folder, root = folder.resolve(), root.resolve()
    for here in (folder, *folder.parents):
        if here == root or root not in here.parents:
            break
        for text in (read(here / "numa_node"), read(here / "device/numa_node")):
            if text is not None and re.fullmatch("-?[0-9]{1,5}", text):
                return int(text) if int(text) >= 0 else None
    return None


def inside(drive, spec):
    """What can be seen of a file only by opening it, if that is allowed.

    Its first bytes choose no format: the guest of a raw image can write them, and a qcow2 image
    can name any file of the host as the one below it.
    """
    try:
        with open(drive.path, "rb") as file:
            if file.read(4) == b"QFI\xfb" and not drive.format:
                raise PlanError(f"--drive {spec}: it starts as a qcow2 image does, which the guest "
                                "of a raw one can write as well: add ,format=qcow2 if you made it "
                                "one, else ,format=raw")
        os.close(os.open(drive.path, os.O_RDONLY | os.O_DIRECT))
    except PermissionError:
        pass
    except OSError:
        drive.direct = False
