# SPDX-License-Identifier: GPL-2.0-or-later
# Whether the host itself uses a drive, which must not be a guest's as well: by what the kernel
# shows in /sys and /proc, which takes no rights, and by its word where the drive may be opened.

import errno
import os
import re
from pathlib import Path

from .errors import PlanError
from .topology import read


def refuse(spec, disks, host):
    """PlanError if one of the block devices (folders of /sys), or a partition of it, is in use."""
    uses = {part.name: use(part, host) for disk in disks
            for part in (disk, *(path.parent for path in sorted(disk.glob("*/partition"))))}
    if host.live and not any(uses.values()):
        uses = {disk.name: claim(disk.name) for disk in disks}
    for name, how in uses.items():
        if how:
            raise PlanError(f"--drive {spec}: the host itself uses it: {name} {how}; name a drive "
                            "that nothing else uses")


def use(folder, host):
    """In words, what a block device is used for; None if that is nothing, or cannot be seen."""
    holders = sorted(path.name for path in folder.glob("holders/*"))
    if holders:
        return f"is a part of {', '.join(holders)}"
    if any(host.root.glob(f"fs/btrfs/*/devices/{folder.name}")):
        return "is a part of a btrfs"
    if not host.proc:
        return None
    number = read(folder / "dev")
    for line in (read(host.proc / "self/mountinfo") or "").splitlines():
        words = line.split()
        if words[2] == number or named(words[words.index("-") + 2], folder.name):
            return f"is mounted at {words[4]}"
    for line in (read(host.proc / "swaps") or "").splitlines()[1:]:
        if named(line.split()[0], folder.name):
            return "is swap space"
    return None


def named(path, name):
    """Whether this is the path of the device of that name."""
    return path.startswith("/dev/") and Path(os.path.realpath(path)).name == name


def claim(name):
    """In words, what forbids to open a block device for oneself alone; None if nothing does, or
    if one may not open it at all."""
    try:
        os.close(os.open("/dev/" + name.replace("!", "/"), os.O_RDONLY | os.O_EXCL))
    except OSError as error:
        if error.errno == errno.EBUSY:
            return "is held by the kernel or a program"
    return None


def namespaces(folder, root):
    """The block devices of the namespaces of the NVMe drive with this folder of a PCI device."""
    found = []
    for controller in folder.glob("nvme/nvme*"):
        # with several ways to a drive, its devices are in a folder that links its controllers
        places = [link.parent for link in
                  root.glob(f"devices/virtual/nvme-subsystem/*/{controller.name}")]
        for place in (controller, *places):
            found += [path.resolve() for path in sorted(place.glob("nvme*"))
                      if re.fullmatch(r"nvme[0-9]+(c[0-9]+)?n[0-9]+", path.name)]
    return found
