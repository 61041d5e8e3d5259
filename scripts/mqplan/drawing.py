# SPDX-License-Identifier: GPL-2.0-or-later
# Who runs where, drawn in text of at most 80 columns, and the reasons.

import textwrap

from . import cpulist

WIDTH = 80


def drawing(layout):
    host, labels = layout.host, labels_of(layout)
    lines = []
    for node in sorted(host.nodes):
        size = host.nodes[node].memory
        lines.append(f"node {node}" + (f", {size} MiB" if size is not None else ""))
        caches = {}
        for cpu in host.cpus.values():
            if cpu.node == node:
                caches.setdefault(cpu.l3, []).append(cpu.number)
        for l3, cpus in caches.items():
            lines.append(f"  L3 cache of CPUs {cpulist.text(cpus)}" if l3 >= 0 else "  cores")
            lines += rows(host, cpus, labels)
    marks = [text for text, shown in (
        ("* isolated", any(cpu.isolated for cpu in host.cpus.values())),
        ("- not in this process's cpuset", host.cpus.keys() - host.allowed)) if shown]
    return lines + [", ".join(marks)] * bool(marks) + [""] + served(layout)


def labels_of(layout):
    """What runs on each CPU, in words; nothing where nothing of the plan does."""
    found = {n: [] for n in layout.host.cpus}
    for number in layout.spare:
        found[number].append("host")
    floating = any(len(cpus) > 1 for cpus in layout.vcpus)
    for k, cpus in enumerate(layout.vcpus):
        for number in cpus:
            word = "vCPUs by turns" if floating and len(cpus) > 1 else f"vCPU {k}"
            if word not in found[number]:
                found[number].append(word)
    for thread in layout.iothreads:
        for number in thread.cpus:
            found[number].append(f"{thread.name} {thread.mode}")
    for number in layout.emulator:
        found[number].append("main loop")
    for number, beside in layout.idle.items():
        name, = (t.name for t in layout.iothreads if t.cpus == [beside])
        found[number].append(f"left idle beside {name}")
    return {number: ", ".join(words) for number, words in found.items()}


def rows(host, cpus, labels):
    """A row for each CPU, under its core; cores in a row on which the same runs are one row."""
    cores = {}
    for number in sorted(cpus):
        cores.setdefault(host.cpus[number].core, []).append(number)
    runs = []
    for core, threads in cores.items():
        kinds = {(labels[n] or "free") + " " * (not host.cpus[n].isolated) if n in host.allowed
                 else "-" for n in threads}
        kind = kinds.pop() if len(kinds) == 1 else None
        if runs and kind and runs[-1][0] == kind:
            runs[-1][1].append(core)
            runs[-1][2].extend(threads)
        else:
            runs.append((kind, [core], list(threads)))
    lines = []
    for kind, found, threads in runs:
        name = f"core {found[0]}" if len(found) == 1 else f"{len(found)} cores"
        if kind and (len(found) > 1 or len(threads) == 1):
            parts = [(threads, kind.strip())]
        else:
            parts = [([n], (labels[n] or "free") if n in host.allowed else "-") for n in threads]
        for numbers, text in parts:
            mark = "*" if host.cpus[numbers[0]].isolated else ""
            word = "CPU" if len(numbers) == 1 else "CPUs"
            lines += wrapped(f"    {name:<10}{word} {cpulist.text(numbers)}{mark}".ljust(32), text)
            name = ""
    return lines


def wrapped(head, text):
    """The head, if it leaves room, and the text beside it; else below."""
    lines = [] if len(head) <= 40 else textwrap.wrap(head, WIDTH, subsequent_indent=" " * 14,
                                                      break_on_hyphens=False)
    lines += textwrap.wrap(text, WIDTH, initial_indent=" " * 32 if lines else head + " " *
                           (head[-1] != " "), subsequent_indent=" " * 32)
    return lines


def served(layout):
    """Which IOThread has which queues of which drive."""
    lines = []
    for drive in layout.want.drives:
        where = "node not known" if drive.node is None else f"node {drive.node}"
        lines += textwrap.wrap(f"{drive.name}: {drive.path}, {where}", WIDTH,
                               subsequent_indent="    ", break_on_hyphens=False)
        for thread, queues in layout.mapping(drive):
            word = "queue" if len(queues) == 1 else "queues"
            lines += textwrap.wrap(f"{thread.name}  {word} {few(queues)}", WIDTH,
                                   initial_indent="  ", subsequent_indent="      ")
    return lines


def few(numbers):
    """Numbers at equal distances, in few words."""
    if len(numbers) < 5:
        return " ".join(map(str, numbers))
    step = numbers[1] - numbers[0]
    return f"{numbers[0]}-{numbers[-1]}" if step == 1 else \
        f"{numbers[0]} {numbers[1]} .. {numbers[-1]}"


def reasons(layout):
    lines = []
    for what, why in layout.reasons:
        lines += textwrap.wrap(f"- {what}: {why}.", WIDTH, subsequent_indent="  ",
                               break_on_hyphens=False)
    if layout.given_up:
        lines += ["", "What did not fit:"]
    for text in layout.given_up:
        lines += textwrap.wrap(f"- {text}.", WIDTH, subsequent_indent="  ", break_on_hyphens=False)
    return lines
