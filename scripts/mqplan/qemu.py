# SPDX-License-Identifier: GPL-2.0-or-later
# The plan as a command line of qemu-system-x86_64.

import json
import os

from . import cpulist, programs
from .words import command, option


def kvm(layout):
    """Whether KVM runs the guest: on this machine if it has that, on another in any case."""
    return not layout.host.live or os.path.exists("/dev/kvm")


def script(layout):
    """Lines of shell: the command, and how vCPUs are pinned."""
    options = machine(layout, "memory-backend-ram")
    for thread in layout.iothreads:
        options.append(["-object", iothread(layout, thread)])
    for drive in layout.want.drives:
        for node in blockdevs(layout, drive):
            options.append(["-blockdev", node])
        options.append(["-device", device(layout, drive)])
    return [*prepare(layout), command(program(layout), options), *pins(layout)]


def prepare(layout):
    """Comments: warnings, and what root has to do before."""
    found = [drive.path for drive in layout.want.drives if drive.kind == "nvme-pci"]
    return [f"# Warning: {text}." for text in layout.warnings] + [
        f"# {path} must be bound to vfio-pci first: modprobe vfio-pci; "
        f"driverctl --nosave set-override {path} vfio-pci" for path in found]


def program(layout):
    """Its threads without a place of their own start on CPUs that no IOThread has."""
    cpus = {n for one in layout.vcpus for n in one} | layout.emulator
    return ["taskset", "-c", cpulist.text(cpus), programs.path("qemu-system-x86_64")]


def machine(layout, backend, *properties):
    """The options of all but the drives; backend is what memory is made of."""
    want, cells = layout.want, layout.cells
    sockets, cores, threads = layout.topology()
    options = [["-name", f"{want.name},debug-threads=on"],
               ["-machine", "q35" + (",memory-backend=ram0" if len(cells) == 1 else "")],
               ["-accel", "kvm" if kvm(layout) else "tcg"],
               ["-cpu", "host" if kvm(layout) else "max"],
               ["-smp", f"{want.vcpus},sockets={sockets},cores={cores},threads={threads}"],
               ["-m", f"{want.memory}M"]]
    first = 0
    for i, cell in enumerate(cells):
        place = [("host-nodes", cell.node), ("policy", "bind")] if layout.bound else []
        options.append(["-object", option(backend, ("id", f"ram{i}"), ("size", f"{cell.memory}M"),
                                          *properties, *place)])
        if len(cells) > 1:
            options.append(["-numa", f"node,nodeid={i},memdev=ram{i},"
                            f"cpus={first}-{first + cell.vcpus - 1}"])
        first += cell.vcpus
    return options


def iothread(layout, thread, indexed=False):
    """An -object; where lists are indexed, as qemu-storage-daemon writes them."""
    cpus = [(f"cpu-affinity.{i}", cpu) for i, cpu in enumerate(thread.cpus)] if indexed else \
        [("cpu-affinity", cpulist.text([a] if a == b else range(a, b + 1)))
         for a, b in cpulist.ranges(thread.cpus)]
    node = [("node-affinity.0" if indexed else "node-affinity", thread.node)] \
        if layout.bound and thread.node is not None else []
    return option("iothread", ("id", thread.name), *cpus, *node, ("poll-mode", thread.mode))


def blockdevs(layout, drive):
    """The block nodes of the drive, of which the last has its name."""
    if drive.kind == "nvme-pci":
        return [option("nvme", ("node-name", drive.name), ("device", drive.path),
                       ("namespace", drive.namespace),
                       *[("poll-queues", len(layout.serving[drive.name]))] * layout.polled(drive))]
    image = drive.format != "raw"
    name = drive.name + "-file" if image else drive.name
    found = [option("file" if drive.kind == "file" else "host_device", ("node-name", name),
                    ("filename", drive.path), ("aio", "io_uring"),
                    ("cache.direct", "on" if drive.direct else "off"),
                    *[("io-uring-iopoll", "on")] * layout.polled(drive))]
    if image:
        found.append(option(drive.format, ("node-name", drive.name), ("file", name)))
    return found


def device(layout, drive):
    mapping = [{"iothread": thread.name, "vqs": queues} for thread, queues in layout.mapping(drive)
               if queues]
    return json.dumps({"driver": "virtio-blk-pci", "id": drive.name, "drive": drive.name,
                       "num-queues": layout.queues[drive.name], "iothread-vq-mapping": mapping})


def pins(layout):
    """QEMU has no option for it, so these are comments."""
    if len(layout.vcpus[0]) > 1 and all(cpus == layout.vcpus[0] for cpus in layout.vcpus):
        return ["# More vCPUs than CPUs: they are not pinned one by one."]
    kind = "KVM" if kvm(layout) else "TCG"
    pairs = " ".join(f"{k}:{cpulist.text(cpus)}" for k, cpus in enumerate(layout.vcpus))
    loop = [f"for pin in {pairs}; do",
            f"    taskset -pc ${{pin#*:}} $(grep -lx \"CPU ${{pin%:*}}/{kind}\" "
            "/proc/$pid/task/*/comm | cut -d/ -f5)",
            "done"]
    loop.append(f"taskset -pc {cpulist.text(layout.emulator)} $pid")
    return ["# QEMU has no option that pins vCPUs. Once it runs, with its process ID in $pid:"] + \
        [f"#   {line}" for line in loop]
