# SPDX-License-Identifier: GPL-2.0-or-later
# The host as its kernel tells it in /sys: which CPUs are online, of which core, L3 cache and NUMA
# node, which of them this process may use, and which are isolated. A copy of /sys does as well.

import os
import re
from dataclasses import dataclass, field
from pathlib import Path

from . import cpulist
from .errors import PlanError


@dataclass(frozen=True)
class Cpu:
    number: int
    core: int           # the lowest CPU of the core
    l3: int             # the lowest CPU of those that share the L3 cache; -1 if that is not told
    node: int
    isolated: bool


@dataclass
class Node:
    number: int
    memory: int = None          # MiB, 0 if the cgroup withholds it; None where it is not told
    free: int = None            # MiB that nobody uses, or only the page cache
    distances: dict = field(default_factory=dict)


@dataclass
class Host:
    root: Path          # /sys, or the copy of one
    live: bool          # it is this machine
    cpus: dict          # the online ones by number
    allowed: set        # those of them that may be used
    nodes: dict         # by number
    proc: Path = None   # /proc, if it is this machine

    def distance(self, one, other):
        return self.nodes[one].distances.get(other, 10 if one == other else 20)

    def balanced(self, cpus):
        """Those of the CPUs between which the kernel moves threads: on an isolated one a thread
        stays. All, if all are isolated."""
        return {n for n in cpus if not self.cpus[n].isolated} or set(cpus)

    def of_node(self, node):
        return {n for n in self.allowed if self.cpus[n].node == node}


def read(path):
    """A file's text, or None if there is none."""
    try:
        return path.read_text().strip()
    except (OSError, UnicodeDecodeError):
        return None


def read_list(path, default=None):
    text = read(path)
    if text is None:
        if default is None:
            raise PlanError(f"{path} cannot be read")
        return default
    try:
        return cpulist.parse("" if text == "(null)" else text)
    except ValueError:
        raise PlanError(f"{path}: '{text[:40]}' is no list of CPUs") from None


def load(folder=None):
    """The Host of this machine, or the one in a copy of /sys."""
    live, root = folder is None, Path(folder or "/sys")
    base = root / "devices/system/cpu"
    if not (base / "online").exists():
        raise PlanError(f"{root} is no copy of /sys: there is no devices/system/cpu/online")
    online = read_list(base / "online")
    if not online:
        raise PlanError(f"{base / 'online'} names no CPU")
    isolated = read_list(base / "isolated", set()) & online
    nodes, node_of = read_nodes(root, online)
    withhold_memory(root, live, nodes)
    cpus = {n: read_cpu(base / f"cpu{n}", n, online, node_of[n], n in isolated)
            for n in sorted(online)}
    for cpu in cpus.values():
        if cpus[cpu.core].node != cpu.node:
            raise PlanError(f"{root}: CPUs {cpu.core} and {cpu.number} are one core, on nodes "
                            f"{cpus[cpu.core].node} and {cpu.node}")
        if cpus[cpu.core].core != cpu.core:
            raise PlanError(f"{base}/cpu{cpu.number}/topology: CPU {cpu.core} is not of this core "
                            "by its own list")
    allowed = cpuset(root, live, isolated) & online
    if not allowed:
        raise PlanError("no online CPU is in this process's cpuset")
    return Host(root, live, cpus, allowed, nodes, Path("/proc") if live else None)


def read_cpu(folder, number, online, node, isolated):
    siblings = read_list(folder / "topology/thread_siblings_list", {number}) & online
    shared = read_list(folder / "cache/index3/shared_cpu_list", set()) & online
    if number not in siblings or shared and number not in shared:
        raise PlanError(f"{folder}: CPU {number} is not in its own list of threads or caches")
    return Cpu(number, min(siblings), min(shared, default=-1), node, isolated)


def read_nodes(root, online):
    """The nodes, and the node of each CPU. A kernel without NUMA has one node."""
    folder = root / "devices/system/node"
    numbers = sorted(int(path.name[4:]) for path in folder.glob("node*")
                     if re.fullmatch(r"node[0-9]{1,5}", path.name))
    nodes, node_of = {}, {}
    for number in numbers:
        here = folder / f"node{number}"
        nodes[number] = Node(number, *memory(here / "meminfo"))
        for cpu in read_list(here / "cpulist") & online:
            if cpu in node_of:
                raise PlanError(f"{folder}: CPU {cpu} is of node {node_of[cpu]} and of node {number}")
            node_of[cpu] = number
        distances = (read(here / "distance") or "").split()
        if distances and (len(distances) != len(numbers) or
                          not all(re.fullmatch("[0-9]{1,3}", word) for word in distances)):
            raise PlanError(f"{here}/distance: not one number for each of {len(numbers)} nodes")
        nodes[number].distances = dict(zip(numbers, map(int, distances)))
    if not nodes:
        nodes = {0: Node(0)}
        node_of = dict.fromkeys(online, 0)
    lost = online - node_of.keys()
    if lost:
        raise PlanError(f"{folder}: CPU {min(lost)} is of no node")
    return nodes, node_of


def memory(path):
    """MiB in all, and MiB that can be had; None where the file does not say."""
    found = dict(re.findall(r"(\w+):\s+([0-9]+) kB", read(path) or ""))
    if "MemTotal" not in found:
        return None, None
    # FilePages has Shmem in it: tmpfs and the memory of guests (memfd), which nobody can take back
    free, cached, shared = (int(found.get(name, 0)) for name in ("MemFree", "FilePages", "Shmem"))
    return int(found["MemTotal"]) // 1024, (free + max(0, cached - shared)) // 1024


def cpuset(root, live, isolated):
    """The CPUs that may be used, of which some may be offline.

    A process does not get isolated CPUs unless it asks, so they count as its own; what its cgroup
    withholds it cannot get.
    """
    cpus = of_cgroup(root, live, "cpuset.cpus.effective", "cpuset.effective_cpus")
    mine = (os.sched_getaffinity(0) | isolated) if live else None
    if cpus is None:
        return set(range(cpulist.MOST)) if mine is None else mine
    return cpus if mine is None else mine & cpus


def withhold_memory(root, live, nodes):
    """Nodes of whose memory the cgroup gives nothing have none."""
    given = of_cgroup(root, live, "cpuset.mems.effective", "cpuset.effective_mems")
    if given is None:
        return
    if not given & nodes.keys():
        raise PlanError(f"{root}: the cgroup's cpuset.mems has none of the nodes "
                        f"{cpulist.text(nodes)}")
    for number in nodes.keys() - given:
        nodes[number].memory = nodes[number].free = 0


def of_cgroup(root, live, *names):
    """The list in the file of one of these names, of the nearest cgroup with one; None without."""
    groups = []
    if live:
        for line in (read(Path("/proc/self/cgroup")) or "").splitlines():
            _, controllers, path = line.split(":", 2)
            if controllers in ("", "cpuset"):
                top = root / "fs/cgroup" / controllers
                groups += [top / path.lstrip("/"), *(top / path.lstrip("/")).parents]
    groups.append(root / "fs/cgroup")
    for name in names:
        for group in groups:
            if (group / name).exists():
                return read_list(group / name)
    return None
