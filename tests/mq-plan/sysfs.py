# SPDX-License-Identifier: GPL-2.0-or-later
# Makes a copy of /sys, as far as mq-plan reads it, from a topology in a few lines of text:
#
#     isolated 4-7                      lists of CPUs, as the kernel's
#     offline 3
#     cpuset 0-5                        what the process may use
#     node 0 65536 60000 10 21          MiB, MiB free, distances
#     l3 0/8 1/9                        under its node: cores, each with its threads
#     nvme nvme0n1 0000:41:00.0 1       block device, PCI address, node
#     subsystem nvme1n1 0000:42:00.0 1  the same with multipath: the block device is a virtual one
#     write PATH TEXT                   at the end: what is wrong with this machine

from pathlib import Path

HERE = Path(__file__).resolve().parent / "topologies"


def names():
    return sorted(path.name for path in HERE.iterdir())


def put(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text + "\n")


def numbers(text):
    """The numbers of a list such as 0-3,8."""
    return {n for part in text.split(",") for first, _, last in [part.partition("-")]
            for n in range(int(first), int(last or first) + 1)}


def make(name, folder):
    """The copy of /sys of a recorded topology, in this folder."""
    lines = [line.split() for line in (HERE / name).read_text().splitlines()
             if line and not line.startswith("#")]
    lists = {kind: words[0] for kind, *words in lines if kind in ("isolated", "offline", "cpuset")}
    offline = numbers(lists["offline"]) if "offline" in lists else set()
    cpus = folder / "devices/system/cpu"
    online, members, node = [], {}, None
    for kind, *words in lines:
        if kind == "node":
            node = folder / f"devices/system/node/node{words[0]}"
            members[node] = []
            put(node / "meminfo", f"Node {words[0]} MemTotal: {int(words[1]) * 1024} kB\n"
                f"Node {words[0]} MemFree: {int(words[2]) * 1024} kB")
            put(node / "distance", " ".join(words[3:]))
        elif kind == "l3":
            cores = [[int(n) for n in word.split("/") if int(n) not in offline] for word in words]
            whole = ",".join(str(n) for core in cores for n in core)
            for core in cores:
                for n in core:
                    put(cpus / f"cpu{n}/topology/thread_siblings_list", ",".join(map(str, core)))
                    put(cpus / f"cpu{n}/cache/index3/shared_cpu_list", whole)
                    online.append(str(n))
                    members[node].append(str(n))
        elif kind in ("nvme", "subsystem"):
            drive(folder, *words, virtual=kind == "subsystem")
    for node, inside in members.items():
        put(node / "cpulist", ",".join(inside))
    put(cpus / "online", ",".join(online))
    put(cpus / "isolated", lists.get("isolated", ""))
    if "cpuset" in lists:
        put(folder / "fs/cgroup/cpuset.cpus.effective", lists["cpuset"])
    for kind, *words in lines:
        if kind == "write":
            put(folder / words[0], " ".join(words[1:]))
    return folder


def drive(folder, name, address, node, virtual):
    device = folder / "devices/pci0000:00" / address
    controller = device / "nvme" / name.rpartition("n")[0]
    put(device / "numa_node", node)
    put(device / "class", "0x010802")
    put(controller / "numa_node", node)
    block = controller / name
    if virtual:
        block = folder / "devices/virtual/nvme-subsystem" / f"subsys-{name}" / name
        block.parent.mkdir(parents=True)
        (block.parent / controller.name).symlink_to(controller)
    put(block / "queue/io_poll", "1")
    for link, target in (("class/block/" + name, block), ("bus/pci/devices/" + address, device)):
        (folder / link).parent.mkdir(parents=True, exist_ok=True)
        (folder / link).symlink_to(target)
