# SPDX-License-Identifier: GPL-2.0-or-later
# The decisions, in the order in which they are taken; what they rest on is in docs/mq-plan.md.

from . import cpulist, iothreads, vcpus
from .layout import Layout
from .pool import Pool


def plan(host, want):
    layout = Layout(host, want)
    choose_spare(layout)
    pool = Pool(host, host.allowed - layout.spare)
    vcpus.choose_cells(layout, pool)
    iothreads.place(layout, pool)
    vcpus.place(layout, pool)
    iothreads.settle(layout, pool)
    choose_emulator(layout, pool)
    tell_ways(layout)
    return layout


def choose_spare(layout):
    host, want = layout.host, layout.want
    if want.spare is not None:
        layout.spare = want.spare & host.allowed
        layout.because(f"{cpulist.named(want.spare)} for the host",
                       "asked for with --spare; no vCPU or IOThread of this guest runs there")
        return
    cores = {}
    for number in sorted(host.allowed):
        cores.setdefault(host.cpus[number].core, []).append(number)
    if len(cores) < 4:
        layout.because("no core for the host", f"there are {len(cores)}, and one that is kept back "
                       "from the guest would be missed more")
        return
    guests = host.of_node(want.node) if want.node is not None else host.allowed
    ours = min(cores.values(), key=lambda core: (len(guests.difference(core)) < want.vcpus,
                                                 host.cpus[core[0]].isolated, core[0]))
    if len(host.allowed) - len(ours) < want.vcpus or not guests.difference(ours):
        layout.give_up(f"no core for the host: {want.vcpus} vCPUs need all {len(host.allowed)} CPUs, "
                       "so other programs and interrupts stop them at times")
        return
    layout.spare = set(ours)
    layout.because(f"{cpulist.named(ours)} for the host", "interrupts, kernel threads, other "
                   "programs and the main loop need a core; the first that is not isolated is "
                   "where Linux puts most of that")


def choose_emulator(layout, pool):
    host = layout.host
    home = host.of_node(layout.cells[0].node)
    guests = {n for cpus in layout.vcpus for n in cpus}
    for cpus, why in (*hosts_own(layout, home),
                      (pool.free & home, "free, on the guest's node"),
                      (pool.free, "free"),
                      (guests, "those of the vCPUs: there is no other")):
        if cpus:
            layout.emulator = host.balanced(cpus)
            layout.because(f"main loop on {cpulist.named(layout.emulator)}", f"{why}; it has QMP, "
                           "timers and emulated devices, no request of a drive")
            return


def hosts_own(layout, home):
    """Pairs of CPUs that are the host's, and why they are the best. Of --spare that is the first
    core that is not isolated: on the others there may be what other guests must not share."""
    if layout.want.spare is None:
        return ((layout.spare & home, "the host's, on the guest's node"),
                (layout.spare, "the host's"))
    cpus = layout.host.cpus
    loose = {n for n in layout.spare if not cpus[n].isolated}
    core = min((cpus[n].core for n in loose), default=None)
    return (({n for n in loose if cpus[n].core == core},
             "of --spare the first core that is not isolated; the others may be other guests'"),)


def tell_ways(layout):
    """How requests go from QEMU to each drive, where that is not the usual way."""
    for drive in layout.want.drives:
        if layout.polled(drive) and drive.kind != "nvme-pci":
            layout.because(f"{drive.name}: io-uring-iopoll=on", "the drive has polled queues, and its "
                           "IOThreads poll anyway")
        if drive.format != "raw":
            layout.because(f"{drive.name}: format {drive.format}", "asked for; its requests take "
                           "QEMU's ordinary way, those of a raw image the fast path")
        if drive.kind == "nvme-pci":
            layout.because(f"{drive.name}: driver nvme", "its PCI address was given: each IOThread "
                           "has a queue of the drive" +
                           (", without interrupts since it polls" if layout.polled(drive) else ""))
        if not drive.direct:
            layout.because(f"{drive.name}: cache.direct=off", "its file system takes no O_DIRECT, so "
                           "requests go by the host's page cache")
