# SPDX-License-Identifier: GPL-2.0-or-later
# The plan as a domain of libvirt 10.0 or newer, which can give virtqueues to IOThreads.

import json
import re
import xml.etree.ElementTree as ET

from . import cpulist, programs, qemu


def domain(layout):
    """The XML, and in comments what libvirt has no element for."""
    want = layout.want
    top = ET.Element("domain", type="kvm" if qemu.kvm(layout) else "qemu")
    ET.SubElement(top, "name").text = want.name
    ET.SubElement(top, "memory", unit="MiB").text = str(want.memory)
    ET.SubElement(top, "vcpu", placement="static").text = str(want.vcpus)
    if layout.iothreads:
        ET.SubElement(top, "iothreads").text = str(len(layout.iothreads))
        ids = ET.SubElement(top, "iothreadids")
        for number, thread in enumerate(layout.iothreads, 1):
            one = ET.SubElement(ids, "iothread", id=str(number))
            if thread.mode == "off":
                ET.SubElement(one, "poll", max="0")
    tune(top, layout)
    system = ET.SubElement(top, "os")
    ET.SubElement(system, "type", arch="x86_64", machine="q35").text = "hvm"
    # else libvirt says acpi=off, and the guest's kernel finds one CPU and one node
    ET.SubElement(ET.SubElement(top, "features"), "acpi")
    processor(top, layout)
    devices = ET.SubElement(top, "devices")
    ET.SubElement(devices, "emulator").text = programs.path(
        "qemu-system-x86_64", "/usr/local/bin/qemu-system-x86_64")
    for number, drive in enumerate(want.drives):
        disk(devices, layout, drive, target(number))
    comments(top, layout)
    ET.indent(top)
    return ET.tostring(top, encoding="unicode")


def tune(top, layout):
    cputune = ET.SubElement(top, "cputune")
    for k, cpus in enumerate(layout.vcpus):
        ET.SubElement(cputune, "vcpupin", vcpu=str(k), cpuset=cpulist.text(cpus))
    ET.SubElement(cputune, "emulatorpin", cpuset=cpulist.text(layout.emulator))
    for number, thread in enumerate(layout.iothreads, 1):
        ET.SubElement(cputune, "iothreadpin", iothread=str(number), cpuset=cpulist.text(thread.cpus))
    if layout.bound:
        numatune = ET.SubElement(top, "numatune")
        ET.SubElement(numatune, "memory", mode="strict",
                      nodeset=cpulist.text({cell.node for cell in layout.cells}))
        if len(layout.cells) > 1:
            for i, cell in enumerate(layout.cells):
                ET.SubElement(numatune, "memnode", cellid=str(i), mode="strict",
                              nodeset=str(cell.node))


def processor(top, layout):
    mode = {"mode": "host-passthrough"} if qemu.kvm(layout) else {"mode": "maximum"}
    cpu = ET.SubElement(top, "cpu", mode)
    cells = layout.cells
    sockets, cores, threads = map(str, layout.topology())
    ET.SubElement(cpu, "topology", sockets=sockets, cores=cores, threads=threads)
    if len(cells) > 1:
        numa, first = ET.SubElement(cpu, "numa"), 0
        for i, cell in enumerate(cells):
            ET.SubElement(numa, "cell", id=str(i), cpus=f"{first}-{first + cell.vcpus - 1}",
                          memory=str(cell.memory), unit="MiB")
            first += cell.vcpus


def target(number):
    """vda, ..., vdz, vdaa, ..."""
    text = ""
    while number >= 0:
        number, letter = divmod(number, 26)
        text, number = chr(ord("a") + letter) + text, number - 1
    return "vd" + text


def disk(devices, layout, drive, name):
    kind = {"file": "file", "nvme-pci": "nvme"}.get(drive.kind, "block")
    top = ET.SubElement(devices, "disk", type=kind, device="disk")
    options = {"name": "qemu", "type": drive.format}
    if kind != "nvme":
        options.update(io="io_uring", **({"cache": "none"} if drive.direct else {}))
    driver = ET.SubElement(top, "driver", options, queues=str(layout.queues[drive.name]))
    threads = ET.SubElement(driver, "iothreads")
    for thread, queues in layout.mapping(drive):
        if queues:
            one = ET.SubElement(threads, "iothread", id=str(layout.iothreads.index(thread) + 1))
            for queue in queues:
                ET.SubElement(one, "queue", id=str(queue))
    if kind == "nvme":
        domain, bus, slot, function = re.split("[:.]", drive.path)
        source = ET.SubElement(top, "source", type="pci", managed="yes",
                               namespace=str(drive.namespace))
        ET.SubElement(source, "address", domain=f"0x{domain}", bus=f"0x{bus}",
                      slot=f"0x{slot}", function=f"0x{function}")
    else:
        ET.SubElement(top, "source", {"file" if kind == "file" else "dev": drive.path})
    ET.SubElement(top, "target", dev=name, bus="virtio")


def comments(top, layout):
    busy = [n for n, thread in enumerate(layout.iothreads, 1) if thread.mode == "busy"]
    if busy:
        lines = ["libvirt has no element for poll-mode. After each start:"]
        # a comment must not have "--"; a shell reads nothing from the '' between
        name = re.sub("-(?=-)", "-''", layout.want.name)
        for number in busy:
            order = {"execute": "qom-set", "arguments": {
                "path": f"/objects/iothread{number}", "property": "poll-mode", "value": "busy"}}
            lines.append(f"virsh qemu-monitor-command {name} '{json.dumps(order)}'")
        top.insert(0, ET.Comment("\n    " + "\n    ".join(lines) + "\n  "))
    for text in reversed(layout.warnings):
        top.insert(0, ET.Comment(f" Warning: {text}. "))
