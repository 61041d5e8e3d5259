# SPDX-License-Identifier: GPL-2.0-or-later
# The plan as a command line of qemu-storage-daemon, with exports to a QEMU beside it.

from . import cpulist, programs, qemu
from .words import command, option


def script(layout):
    """Lines of shell: the daemon, then the QEMU that uses its exports."""
    folder = f"/run/mq-{layout.want.name}"
    options = [["--daemonize"], ["--pidfile", f"{folder}/daemon.pid"]]
    for thread in layout.iothreads:
        options.append(["--object", qemu.iothread(layout, thread, indexed=True)])
    guest = qemu.machine(layout, "memory-backend-memfd", ("share", "on"))
    for drive in layout.want.drives:
        socket = f"{folder}/{drive.name}.sock"
        queues = layout.queues[drive.name]
        for node in qemu.blockdevs(layout, drive):
            options.append(["--blockdev", node])
        threads = [(f"iothread.{i}", thread.name)
                   for i, (thread, mine) in enumerate(layout.mapping(drive)) if mine]
        options.append(["--export", option(
            "vhost-user-blk", ("id", drive.name), ("node-name", drive.name), ("writable", "on"),
            ("num-queues", queues), ("addr.type", "unix"), ("addr.path", socket), *threads)])
        guest += [["-chardev", f"socket,id={drive.name},path={socket},reconnect-ms=1000"],
                  ["-device", f"vhost-user-blk-pci,id={drive.name}-pci,chardev={drive.name},"
                   f"num-queues={queues}"]]
    program = ["taskset", "-c", cpulist.text(layout.emulator), programs.path("qemu-storage-daemon")]
    return [*qemu.prepare(layout), f"mkdir -p {folder}", command(program, options),
            command(qemu.program(layout), guest), *qemu.pins(layout)]
