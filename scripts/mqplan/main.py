# SPDX-License-Identifier: GPL-2.0-or-later
# The program: options in, a plan out. Status 0, or 1 if no plan can be made, 2 for bad usage.

import os
import sys

from . import daemon, data, drawing, libvirt, planner, qemu, topology, want
from .errors import PlanError


def heading(text):
    return ["", f"# ---- {text}", ""]


def everything(layout):
    return ["Who runs where:", "", *drawing.drawing(layout), "", "Why:", "", *drawing.reasons(layout),
            *heading("qemu-system-x86_64"), *qemu.script(layout),
            *heading("qemu-storage-daemon, and a QEMU that uses its exports"),
            *daemon.script(layout),
            *heading("libvirt 10.0 or newer"), libvirt.domain(layout)]


PRINTERS = {
    "all": everything,
    "drawing": lambda layout: [*drawing.drawing(layout), "", *drawing.reasons(layout)],
    "qemu": qemu.script,
    "qsd": daemon.script,
    "libvirt": lambda layout: [libvirt.domain(layout)],
    "json": lambda layout: [data.text(layout)]}


def main():
    args = want.parser().parse_args()
    try:
        host = topology.load(args.sysfs)
        layout = planner.plan(host, want.check(args, host))
    except PlanError as error:
        print(f"mq-plan: {error}", file=sys.stderr)
        return 1
    try:
        print("\n".join(PRINTERS[args.output](layout)), flush=True)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 0
