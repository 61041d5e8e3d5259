# SPDX-License-Identifier: GPL-2.0-or-later
# Lists of CPUs and nodes as Linux writes them, such as 0-3,8.

import re

# More than any kernel knows (CONFIG_NR_CPUS is at most 8192): a longer range is an absurd one.
MOST = 65536


def parse(text):
    """The set of numbers; ValueError for what is no such list."""
    found = set()
    for part in filter(None, text.strip().split(",")):
        match = re.fullmatch(r"([0-9]{1,5})(?:-([0-9]{1,5}))?", part.strip())
        if not match:
            raise ValueError(part)
        first, last = int(match[1]), int(match[2] or match[1])
        if last < first or last >= MOST:
            raise ValueError(part)
        found.update(range(first, last + 1))
    return found


def ranges(numbers):
    """Pairs of first and last."""
    found = []
    for number in sorted(numbers):
        if found and found[-1][1] == number - 1:
            found[-1][1] = number
        else:
            found.append([number, number])
    return found


def text(numbers):
    return ",".join(str(first) if first == last else f"{first}-{last}"
                    for first, last in ranges(numbers))


def named(numbers, word="CPU"):
    return f"{word}{'s' * (len(numbers) != 1)} {text(numbers) or 'none'}"
