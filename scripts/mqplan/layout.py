# SPDX-License-Identifier: GPL-2.0-or-later
# What a plan is: who runs where, and why.

from dataclasses import dataclass, field


@dataclass
class Cell:
    """A NUMA node of the guest, and the host node it is on."""

    node: int
    vcpus: int
    memory: int         # MiB


@dataclass
class IOThread:
    name: str
    cpus: list
    mode: str           # of poll-mode
    own: bool           # nothing else of this plan runs on its CPU
    node: int           # the NUMA node whose memory it prefers


@dataclass
class Layout:
    host: object
    want: object
    spare: set = field(default_factory=set)         # left to the host
    cells: list = field(default_factory=list)
    vcpus: list = field(default_factory=list)       # the CPUs of each vCPU
    threads: int = 1                                # a core of the guest
    bound: bool = False                             # the cells' memory is bound to their nodes
    iothreads: list = field(default_factory=list)
    serving: dict = field(default_factory=dict)     # IOThreads of each drive, by its name
    queues: dict = field(default_factory=dict)      # their number, by the drive's name
    emulator: set = field(default_factory=set)      # the main loop and its helpers
    idle: dict = field(default_factory=dict)        # siblings left alone, and beside whom
    reasons: list = field(default_factory=list)     # pairs of what was chosen, and why
    given_up: list = field(default_factory=list)    # what does not fit this host
    warnings: list = field(default_factory=list)    # those of it that no output may leave out

    def because(self, what, why):
        self.reasons.append((what, why))

    def give_up(self, text):
        self.given_up.append(text)

    def warn(self, text):
        self.give_up(text)
        self.warnings.append(text)

    def topology(self):
        """The guest's sockets, cores and threads. A socket a cell, if they are equal and that keeps
        APIC IDs, of which a socket and a core take a power of two each, below 255."""
        vcpus, threads = self.cells[0].vcpus, self.threads
        apart = (vcpus // threads - 1).bit_length() + (threads - 1).bit_length()
        equal = all(cell.vcpus == vcpus for cell in self.cells)
        sockets = len(self.cells) if equal and len(self.cells) << apart < 256 else 1
        return sockets, self.want.vcpus // sockets // threads, threads

    def polled(self, drive):
        """Whether completions are polled for, since the IOThreads poll anyway: those of the fast
        path, which images with a format do not take."""
        return (drive.iopoll and drive.format == "raw" or drive.kind == "nvme-pci") and \
            all(thread.mode == "busy" for thread in self.serving[drive.name])

    def mapping(self, drive):
        """Pairs of an IOThread of the drive and its queues: queue i on IOThread i modulo their
        number, as a vhost-user-blk export has it."""
        threads = self.serving[drive.name]
        return [(thread, list(range(i, self.queues[drive.name], len(threads))))
                for i, thread in enumerate(threads)]
