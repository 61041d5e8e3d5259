# SPDX-License-Identifier: GPL-2.0-or-later
# How many IOThreads there are, where each runs and how it waits, and which drives it serves.

from . import cpulist, vcpus
from .layout import IOThread

# By what a drive is: vCPUs for which an IOThread more is worth a core, and the most IOThreads.
# One IOThread makes several 100 000 requests a second of a file (docs/figures/files.md): as many as
# most drives, not as many as a fast NVMe drive.
WORTH = {"nvme": (4, 4), "block": (8, 2), "file": (8, 2), "nvme-pci": (4, 4)}
KINDS = {"nvme": "an NVMe drive", "block": "a block device", "file": "a file",
         "nvme-pci": "an NVMe drive"}


def wanted(layout, drive):
    each, most = WORTH[drive.kind]
    return min(-(-layout.want.vcpus // each), most, layout.queues[drive.name])


def place(layout, pool):
    """IOThreads on CPUs of their own as far as there are some, near the drives they serve."""
    want = layout.want
    home = layout.cells[0].node
    groups = {}
    for drive in want.drives:
        layout.queues[drive.name] = drive.queues or want.vcpus
        groups.setdefault(home if drive.node is None else drive.node, []).append(drive)
    for why in sorted({bool(drive.queues) for drive in want.drives}):
        layout.because("queues: " + ", ".join(f"{drive.name} {layout.queues[drive.name]}"
                                              for drive in want.drives if bool(drive.queues) == why),
                       "asked for" if why else "one a vCPU, so that none waits for another's")
    unit = vcpus.smt(layout.host, [cell.node for cell in layout.cells])
    for cell in layout.cells:
        threads = sum(wanted(layout, d) for d in groups.get(cell.node, []))
        pool.prefer_cache(cell.node, -(-cell.vcpus // unit) + threads)
    for node, drives in sorted(groups.items(), key=lambda group: -len(group[1])):
        group(layout, pool, node, drives)


def group(layout, pool, node, drives):
    """The IOThreads of the drives of one node."""
    demand = sum(wanted(layout, drive) for drive in drives)
    nodes = sorted((n for n in layout.host.nodes if layout.host.of_node(n)),
                   key=lambda n: (n != node, layout.host.distance(node, n), n))
    for take in (cores_for, threads_for):
        for there in nodes:
            cpus = take(layout, pool, there, demand)
            if cpus:
                if there != node:
                    layout.give_up(f"node {node}, where {names(drives)} is, has no core left for "
                                   f"IOThreads: they are on node {there}")
                mode = "busy" if layout.want.dedicated else "adaptive"
                add(layout, drives, [[cpu] for cpu in cpus], mode, True, node)
                told(layout, drives, demand, cpus)
                return
    # where, is known when the vCPUs have their places: see settle()
    most = len(layout.spare or layout.host.allowed)
    add(layout, drives, [[]] * min(len(drives), most), "adaptive", False, node)


def cores_for(layout, pool, node, demand):
    """CPUs of cores that no vCPU needs: one a core, then their siblings."""
    cores = pool.whole_cores(node, demand)
    for core in cores:
        pool.take(core)
    turns = [core[i:i + 1] for i in range(max(map(len, cores), default=0)) for core in cores]
    chosen = [cpu for turn in turns for cpu in turn][:demand]
    for core in cores:
        for cpu in set(core) - set(chosen):
            layout.idle[cpu] = core[0]
    if len(chosen) > len(cores) > 0:
        layout.give_up(f"{len(chosen)} IOThreads share {len(cores)} cores among themselves: two on "
                       "a core do less than two on two")
    return chosen


def threads_for(layout, pool, node, demand):
    """CPUs whose siblings are vCPUs."""
    cpus = [cpu for core in reversed(pool.cores(node)) for cpu in reversed(core)]
    cpus.sort(key=lambda n: not layout.host.cpus[n].isolated)
    chosen = cpus[:min(demand, max(0, pool.count(node)))]
    pool.take(chosen)
    if chosen:
        layout.give_up(f"no core is left for IOThreads: {cpulist.named(chosen)} share a "
                       "core with vCPUs, which get less of it")
    return chosen


def names(drives):
    return ", ".join(drive.name for drive in drives)


def add(layout, drives, places, mode, own, node):
    """An IOThread at each place, in turns to the drives as far as each wants more."""
    memory = layout.host.nodes[node].memory
    made = [IOThread(f"io{len(layout.iothreads) + i}", cpus, mode, own,
                     None if memory == 0 else node) for i, cpus in enumerate(places)]
    layout.iothreads += made
    for drive in drives:
        layout.serving[drive.name] = []
    left = list(made)
    while left:
        for drive in drives:
            if left and len(layout.serving[drive.name]) < wanted(layout, drive):
                layout.serving[drive.name].append(left.pop(0))
    for i, drive in enumerate(drives):
        if not layout.serving[drive.name]:
            layout.serving[drive.name] = [made[i % len(made)]]


def told(layout, drives, demand, cpus):
    for drive in drives:
        threads = layout.serving[drive.name]
        each, most = WORTH[drive.kind]
        layout.because(f"{drive.name}: IOThreads {', '.join(t.name for t in threads)}",
                       f"{KINDS[drive.kind]} is worth one for each {each} vCPUs, at most {most}")
    if len(cpus) < demand:
        layout.give_up(f"{len(cpus)} of {demand} IOThreads that {names(drives)} would be worth: no "
                       "more cores are left" + ("" if len(cpus) >= len(drives) else
                                                ", so drives share some"))


def settle(layout, pool):
    """Places for the IOThreads without a CPU of their own; then the reasons for how all wait."""
    host = layout.host
    shared = [thread for thread in layout.iothreads if not thread.own]
    if shared:
        with_host = set() if layout.want.spare is not None else layout.spare
        cpus = host.balanced(with_host or {n for one in layout.vcpus for n in one})
        for thread in shared:
            thread.cpus = sorted(cpus)
            thread.mode = "off" if len(cpus) == 1 and not with_host else "adaptive"
        too_few(layout, shared, cpus, bool(with_host))
    own = [thread for thread in layout.iothreads if thread.own]
    if own:
        waits(layout, own)


def too_few(layout, shared, cpus, with_host):
    host = layout.host
    text = (f"{len(host.allowed)} CPUs: no core is left for IOThreads: "
            f"{', '.join(t.name for t in shared)} on {cpulist.named(cpus)}, beside the "
            + ("host's work" if with_host else "vCPUs"))
    if layout.want.dedicated:
        text += "; --dedicated is not done, since busy polling would steal from " + \
            ("the host" if with_host else "the guest")
    layout.give_up(text + f" (poll-mode={shared[0].mode}). Expect fewer requests, and longer waits "
                   "while both are busy")
    layout.because(f"poll-mode={shared[0].mode} for {', '.join(t.name for t in shared)}",
                   "while it polled, the guest could not run to ask for anything"
                   if shared[0].mode == "off" else "sleeps when polling is not worth it")


def waits(layout, own):
    cpus = {n for thread in own for n in thread.cpus}
    what = f"{', '.join(t.name for t in own)} on {cpulist.named(cpus)}"
    if layout.want.dedicated:
        layout.because(f"poll-mode=busy: {what}", "--dedicated, and each has a CPU that no vCPU "
                       "has: the shortest latency, at 100% of these CPUs")
        loose = {n for n in cpus if not layout.host.cpus[n].isolated}
        if loose:
            layout.because(f"not isolated: {cpulist.named(loose)}", "other programs may run "
                           "there: isolcpus= at boot, or a cgroup's cpuset, keeps them away")
    else:
        layout.because(f"poll-mode=adaptive: {what}", "they poll while that is worth it and sleep "
                       "otherwise; --dedicated makes them poll always")
