# SPDX-License-Identifier: GPL-2.0-or-later
# How devices, queues and threads are named to a user.

from mqplan.cpulist import text as ranges       # [0, 1, 2, 5] as 0-2,5  # noqa: F401

MAIN_LOOP = "main-loop"


def short(name):
    """A QOM path as the ID that a user gave."""
    if not name.startswith("/"):
        return name
    parts = [part for part in name.split("/") if part]
    if parts[-1] == "virtio-backend":
        parts.pop()
    return parts[-1]
