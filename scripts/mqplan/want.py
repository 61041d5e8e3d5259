# SPDX-License-Identifier: GPL-2.0-or-later
# What the user wants: the program's options, each checked.

import argparse
import re
from dataclasses import dataclass

from . import cpulist, drives
from .errors import PlanError, one_line

OUTPUTS = ("all", "drawing", "qemu", "qsd", "libvirt", "json")
MOST_VCPUS = 255        # more need a vIOMMU, which is not planned
UNITS = {"M": 1, "G": 1 << 10, "T": 1 << 20}


@dataclass
class Want:
    name: str
    vcpus: int
    memory: int         # MiB
    drives: list
    spare: set          # None: the planner chooses
    dedicated: bool
    node: int           # None: the planner chooses
    output: str


class Parser(argparse.ArgumentParser):
    def error(self, message):
        self.exit(2, f"mq-plan: {one_line(message)}; mq-plan --help lists the options\n")


def parser():
    p = Parser(prog="mq-plan", description="Plans which host CPU runs which vCPU and IOThread of a "
               "guest, which virtqueue is served by which IOThread, and prints it as command lines, "
               "libvirt XML and a drawing, with reasons. Nothing is changed on the host.",
               allow_abbrev=False)
    p.add_argument("--vcpus", metavar="N", default="1", help="the guest's (default: 1)")
    p.add_argument("--memory", metavar="SIZE", default="2G", help="the guest's: 4G, 512M (default: 2G)")
    p.add_argument("--drive", metavar="SPEC", action="append", default=[], dest="drives",
                   help="a file, a block device, or the PCI address of an NVMe drive, and if wanted "
                   ",queues=N (default: one a vCPU) and ,format=raw or ,format=qcow2 (default: raw); "
                   "may be given again")
    p.add_argument("--spare", metavar="CPULIST", help="CPUs to leave to the host, such as 0-1,8")
    p.add_argument("--dedicated", action="store_true",
                   help="IOThreads never sleep, on CPUs of their own (poll-mode=busy)")
    p.add_argument("--numa-node", metavar="N", help="the host node of the guest (default: that of "
                   "the drives)")
    p.add_argument("--name", default="guest", help="the guest's (default: guest)")
    p.add_argument("--output", choices=OUTPUTS, default="all", help="default: all")
    p.add_argument("--sysfs", metavar="DIR", help="plan for the host of which this is a copy of /sys")
    return p


def whole(text, option, lowest, highest):
    if not re.fullmatch("[0-9]{1,9}", text) or not lowest <= int(text) <= highest:
        raise PlanError(f"{option} {text}: a number from {lowest} to {highest} is needed")
    return int(text)


def check(args, host):
    """The Want of the options, for this host."""
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,49}", args.name):
        raise PlanError(f"--name {args.name!r}: up to 50 letters, digits, '_', '.' and '-' are "
                        "allowed, the first a letter or digit")
    size = re.fullmatch(r"([0-9]{1,9})([MGT])i?B?", args.memory)
    if not size or not int(size[1]):
        raise PlanError(f"--memory {args.memory}: a size such as 512M or 4G is needed")
    want = Want(args.name, whole(args.vcpus, "--vcpus", 1, MOST_VCPUS),
                int(size[1]) * UNITS[size[2]], [], None, args.dedicated, None, args.output)
    check_memory(want, args, host)
    if args.spare is not None:
        want.spare = spare(args.spare, host)
    if args.numa_node is not None:
        want.node = whole(args.numa_node, "--numa-node", 0, cpulist.MOST)
        if want.node not in host.nodes:
            raise PlanError(f"--numa-node {want.node}: the host has the nodes "
                            f"{cpulist.text(host.nodes)}")
        if not host.of_node(want.node) - (want.spare or set()):
            raise PlanError(f"--numa-node {want.node}: it has no CPU that may be used")
    for number, spec in enumerate(args.drives):
        drive = drives.parse(spec, number, host)
        if any((drive.path, drive.namespace) == (d.path, d.namespace) for d in want.drives):
            raise PlanError(f"--drive {spec}: this drive is given twice")
        if drive.kind == "nvme-pci" and any(drive.path == d.path for d in want.drives):
            raise PlanError(f"--drive {spec}: another namespace of this drive is given, and QEMU's "
                            "driver takes the whole drive for one: leave one out, or give both as "
                            "block devices, /dev/nvme...")
        want.drives.append(drive)
    return want


def check_memory(want, args, host):
    sizes = [node.memory for node in host.nodes.values()]
    if None not in sizes and want.memory > sum(sizes):
        raise PlanError(f"--memory {args.memory}: the host has {sum(sizes)}M in all")


def spare(text, host):
    try:
        found = cpulist.parse(text)
    except ValueError:
        raise PlanError(f"--spare {text}: a list such as 0-1,8 is needed") from None
    lost = found - host.cpus.keys()
    if lost:
        raise PlanError(f"--spare {text}: CPU {min(lost)} does not exist or is offline; online are "
                        f"{cpulist.text(host.cpus)}")
    if not host.allowed - found:
        raise PlanError(f"--spare {text}: no CPU is left for the guest; it may use "
                        f"{cpulist.text(host.allowed)}")
    return found
