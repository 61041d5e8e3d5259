# SPDX-License-Identifier: GPL-2.0-or-later
# The host's CPUs that are not given to anyone yet, by core, in the order in which they are best
# given to threads that should have a CPU of their own.


class Pool:
    def __init__(self, host, cpus):
        self.host = host
        self.free = set(cpus)
        self.owed = {}          # by node: CPUs that are the vCPUs', not given yet
        self.rank = {}          # of an L3 cache, by its number

    def cores(self, node):
        """The free CPUs of each core of the node, best first."""
        found = {}
        for number in sorted(self.free & self.host.of_node(node)):
            found.setdefault(self.host.cpus[number].core, []).append(number)
        cores = [sorted(cpus, key=lambda n: (not self.host.cpus[n].isolated, n))
                 for cpus in found.values()]
        return sorted(cores, key=self.order)

    def order(self, core):
        first = self.host.cpus[core[0]]
        return (not first.isolated, self.rank.get(first.l3, 0), -len(core), first.number)

    def prefer_cache(self, node, wanted):
        """From now on, cores of one L3 cache that has all those wanted, or of the largest."""
        sizes = {}
        for core in self.cores(node):
            l3 = self.host.cpus[core[0]].l3
            sizes[l3] = sizes.get(l3, 0) + 1
        by_use = sorted(sizes, key=lambda l3: (sizes[l3] < wanted,
                                               sizes[l3] if sizes[l3] >= wanted else -sizes[l3], l3))
        self.rank.update({l3: place for place, l3 in enumerate(by_use)})

    def count(self, node):
        """CPUs of the node that may be given away."""
        return len(self.free & self.host.of_node(node)) - self.owed.get(node, 0)

    def whole_cores(self, node, most):
        """Cores, up to so many, without which the vCPUs of the node can still be placed."""
        found, left = [], self.count(node)
        for core in self.cores(node):
            if len(found) < most and len(core) <= left:
                found.append(core)
                left -= len(core)
        return found

    def take(self, cpus):
        self.free -= set(cpus)
