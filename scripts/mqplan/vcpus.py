# SPDX-License-Identifier: GPL-2.0-or-later
# Where the guest's vCPUs and memory are: first the host's nodes, then a CPU for each vCPU.

from . import cpulist
from .layout import Cell


def choose_cells(layout, pool):
    """The fewest host nodes on which vCPUs and memory have room, by the drives."""
    host, want = layout.host, layout.want
    order, why = nodes_by_worth(host, want, pool)
    layout.cells = fitting(host, pool, order, want, "free") or \
        fitting(host, pool, order, want, "memory") or shares(host, pool, order, want)
    if len(layout.cells) > 1:
        why = "no node alone has room; a guest node is on each, so that the guest knows"
    elif layout.cells[0].node != order[0]:
        why = f"node {order[0]} has no room for {want.vcpus} vCPUs and {want.memory}M"
    layout.bound = len(host.nodes) > 1 and all(holds(host, cell.node, cell.memory, "memory")
                                               for cell in layout.cells)
    if len(host.nodes) > 1:
        layout.because("guest on " + cpulist.named({c.node for c in layout.cells}, "node"), why)
    for cell in layout.cells:
        tell_memory(layout, cell)
        pool.owed[cell.node] = min(cell.vcpus, pool.count(cell.node))


def nodes_by_worth(host, want, pool):
    """The nodes with CPUs, the best first, and what makes it the best."""
    nodes = [n for n in host.nodes if pool.count(n)]
    if want.node is not None:
        return [want.node], "asked for with --numa-node"
    at = [drive.node for drive in want.drives if drive.node in nodes]
    best = min(nodes, key=lambda n: (-at.count(n), -len(isolated(host, n)), -pool.count(n), n))
    why = "it has the most " + ("isolated CPUs" if isolated(host, best) else "CPUs to give")
    if at.count(best) == len(want.drives) > 0:
        why = "the drives are there: requests and their memory do not cross between nodes"
    elif at:
        why = f"{at.count(best)} of {len(want.drives)} drives are known to be there"
    elif want.drives:
        why += "; where the drives are is not known"
    return sorted(nodes, key=lambda n: (n != best, host.distance(best, n), -pool.count(n), n)), why


def isolated(host, node):
    return [n for n in host.of_node(node) if host.cpus[n].isolated]


def room(pool, nodes, vcpus):
    return sum(pool.count(n) for n in nodes) >= vcpus


def holds(host, node, memory, measure):
    """Whether the node has the memory: by what is free now, or by all there is."""
    size = getattr(host.nodes[node], measure)
    return size is None or size >= memory


def fitting(host, pool, order, want, measure):
    """Cells on one node, or on as few as will do, in the order of their worth; None if none do."""
    for single in order:
        if pool.count(single) >= want.vcpus and holds(host, single, want.memory, measure):
            return [Cell(single, want.vcpus, want.memory)]
    for count in range(1, len(order) + 1):
        cells = shares(host, pool, order[:count], want)
        if (room(pool, order[:count], want.vcpus) or count == len(order)) and \
                all(holds(host, cell.node, cell.memory, measure) for cell in cells):
            return cells
    return None


def shares(host, pool, nodes, want):
    """vCPUs in even shares as far as each node has room, whole cores of the guest at a time."""
    unit = smt(host, nodes)
    if want.vcpus % unit or sum(pool.count(n) // unit for n in nodes) < want.vcpus // unit:
        unit = 1
    given = dict.fromkeys(nodes, 0)
    for _ in range(want.vcpus // unit):
        fits = [n for n in nodes if pool.count(n) - given[n] >= unit] or nodes
        given[min(fits, key=lambda n: (given[n], nodes.index(n)))] += unit
    used = [n for n in nodes if given[n]]
    cells = [Cell(n, given[n], want.memory * given[n] // want.vcpus) for n in used]
    cells[0].memory += want.memory - sum(cell.memory for cell in cells)
    return cells


def tell_memory(layout, cell):
    """How the cell's memory is taken, and a warning where its node has not as much."""
    node = layout.host.nodes[cell.node]
    what = f"{cell.memory}M of memory on node {cell.node}"
    if node.memory is not None and node.memory < cell.memory:
        layout.warn(f"{what}: the node has {node.memory}M, so memory is taken wherever it is")
    elif node.free is not None and node.free < cell.memory:
        layout.warn(f"{what}: only {node.free}M are free there now: free the rest before the guest "
                    "uses it, or the kernel ends a process")
    elif layout.bound:
        layout.because(what, "policy=bind: it is not taken from another node without a word")


def smt(host, nodes):
    """The threads of a core."""
    cores = {}
    for node in nodes:
        for number in host.of_node(node):
            cores[host.cpus[number].core] = cores.get(host.cpus[number].core, 0) + 1
    return max(cores.values(), default=1)


def place(layout, pool):
    """A CPU for each vCPU, cell by cell; siblings on one core of the guest where that is even."""
    host = layout.host
    unit = smt(host, [cell.node for cell in layout.cells])
    pairs = unit > 1 and all(cell.vcpus % unit == 0 for cell in layout.cells)
    for cell in layout.cells:
        if pool.count(cell.node) + pool.owed.pop(cell.node) < cell.vcpus:
            floating(layout, pool, cell)
            continue
        cores = pool.cores(cell.node)
        if pairs:
            cores.sort(key=lambda core: len(core) < unit)      # the order stays otherwise
        if not pairs and len(cores) >= cell.vcpus:
            chosen = [core[0] for core in cores[:cell.vcpus]]
        else:
            chosen = [cpu for core in cores for cpu in core][:cell.vcpus]
        pool.take(chosen)
        layout.vcpus += [[cpu] for cpu in chosen]
    told(layout, unit, pairs)


def floating(layout, pool, cell):
    """More vCPUs than CPUs: all on all, but for isolated ones, which have one each or, where there
    are no others, the same number."""
    cpus = sorted(pool.free & layout.host.of_node(cell.node))
    shared = sorted(layout.host.balanced(cpus))
    alone = [[n] for n in cpus if layout.host.cpus[n].isolated]
    if len(alone) == len(cpus):
        layout.vcpus += [alone[i % len(alone)] for i in range(cell.vcpus)]
    else:
        layout.vcpus += alone + [shared] * (cell.vcpus - len(alone))
    pool.take(cpus)
    layout.give_up(f"{cell.vcpus} vCPUs on {cpulist.named(cpus)}: they take turns, and one that waits "
                   "for its turn holds up what it has begun")


def told(layout, unit, pairs):
    """What the guest is told of cores, and the reason."""
    host = layout.host
    cores = [{host.cpus[n].core for n in cpus} for cpus in layout.vcpus]
    aligned = pairs and all(len(set.union(*cores[i:i + unit])) == 1
                            for i in range(0, len(cores), unit))
    used = [core for one in cores for core in one]
    cpus = cpulist.named({n for one in layout.vcpus for n in one})
    taken = f"{len(cores)} vCPU{'s' * (len(cores) > 1)} on {cpus}"
    if any(len(cpus) > 1 for cpus in layout.vcpus):
        layout.because(taken, "where they share CPUs they are not pinned one by one: the host's "
                       "scheduler shares them out")
    elif len(set.union(*map(set, layout.vcpus))) < len(cores):
        layout.because(taken, "each pinned: on isolated CPUs the host's scheduler shares nothing "
                       "out")
    elif aligned:
        layout.threads = unit
        layout.because(taken, f"whole cores of {unit} threads, and the guest is told (threads={unit}) "
                       "so that its scheduler knows what shares a core")
    elif len(set(used)) == len(used):
        layout.because(taken, "one a core" + (": their number does not fill cores" if unit > 1
                                              else ""))
    else:
        layout.because(taken, "one a CPU")
        layout.give_up("some vCPUs share a core and the guest does not know: a number of vCPUs that "
                       f"is a multiple of {unit} a node, on whole cores, would be told to it")
