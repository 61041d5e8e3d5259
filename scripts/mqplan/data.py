# SPDX-License-Identifier: GPL-2.0-or-later
# The plan as JSON, for programs.

import json


def text(layout):
    return json.dumps({
        "name": layout.want.name,
        "spare": sorted(layout.spare),
        "emulator": sorted(layout.emulator),
        "cells": [vars(cell) for cell in layout.cells],
        "vcpus": layout.vcpus,
        "threads": layout.threads,
        "iothreads": [vars(thread) for thread in layout.iothreads],
        "drives": [{"name": drive.name, "path": drive.path, "kind": drive.kind, "node": drive.node,
                    "queues": [{"iothread": thread.name, "vqs": queues}
                               for thread, queues in layout.mapping(drive)]}
                   for drive in layout.want.drives],
        "reasons": [f"{what}: {why}" for what, why in layout.reasons],
        "given-up": layout.given_up}, indent=2)
