# SPDX-License-Identifier: GPL-2.0-or-later
# How devices, queues and threads are named to a user.

MAIN_LOOP = "main-loop"


def short(name):
    """A QOM path as the ID that a user gave."""
    if not name.startswith("/"):
        return name
    parts = [part for part in name.split("/") if part]
    if parts[-1] == "virtio-backend":
        parts.pop()
    return parts[-1]


def ranges(numbers):
    """[0, 1, 2, 5] as 0-2,5."""
    found = []
    for number in sorted(numbers):
        if found and found[-1][1] == number - 1:
            found[-1][1] = number
        else:
            found.append([number, number])
    return ",".join(str(low) if low == high else f"{low}-{high}" for low, high in found)
