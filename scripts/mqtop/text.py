# SPDX-License-Identifier: GPL-2.0-or-later
# A frame as lines of text, none wider than the terminal. Each is a pair of its style and the text.

import textwrap

TITLE, DEVICE, PLAIN, WARNING = "title", "device", "plain", "warning"
MINIMUM = 8         # columns of a name
# what rows are sorted by, as --sort names it: where a row of devices or of IOThreads has it
SORTS = {
    "name": None,
    "iops": ("iops",),
    "mb": ("bytes-per-s",),
    "mean": ("latency", "read-and-write", "mean-us"),
    "p99": ("latency", "read-and-write", "p99-us"),
    "flight": ("in-flight",),
    "fast": ("fast-share",),
    "busy": ("busy",),
    "polls": ("polls-per-s",),
    "sleeps": ("sleeps-per-s",),
    "syscalls": ("syscalls-per-s",),
}


# -- figures

def number(value):
    """In at most six columns, with three digits or more."""
    if value is None:
        return "-"
    for unit, size in (("", 1), ("k", 10 ** 3), ("M", 10 ** 6), ("G", 10 ** 9)):
        scaled = value / size
        if abs(scaled) < 999.5 or unit == "G":
            break
    if not unit:
        return f"{scaled:.0f}" if scaled >= 10 or scaled == int(scaled) else f"{scaled:.1f}"
    return f"{digits(scaled)}{unit}"


def digits(value):
    """Three of them."""
    return f"{value:.{2 if value < 9.995 else 1 if value < 99.95 else 0}f}"


def megabytes(value):
    if not value:
        return "-" if value is None else "0"
    return digits(value / 1e6)


def duration(microseconds):
    if microseconds is None:
        return "-"
    for unit, size in (("us", 1), ("ms", 10 ** 3), ("s", 10 ** 6)):
        scaled = microseconds / size
        if scaled < 999.5 or unit == "s":
            break
    return f"{digits(scaled)}{unit}"


def percent(share):
    """100 for all of it only, 0 for nothing only."""
    if share is None:
        return "-"
    text = f"{share * 100:.0f}"
    if text == "100" and share < 1 or text == "0" and share > 0:
        text = f"{share * 100:.1f}"
    if text == "100.0":
        return "99.9"
    return "0.1" if text == "0.0" else text


def count(value):
    return "-" if value is None else str(value)


def value_of(row, path):
    for key in path:
        row = row.get(key) if row else None
    return row


def mean(row):
    return duration(value_of(row, SORTS["mean"]))


def p99(row):
    path = SORTS["p99"]
    beyond = value_of(row, (*path[:-1], "p99-beyond"))
    return (">" if beyond else "") + duration(value_of(row, path))


def ordinary(row):
    return percent(None if row["fast-share"] is None else 1 - row["fast-share"])


# title, width, and what is there; the first column is the name, and has what is left
DEVICE_COLUMNS = (
    ("IOTHREAD", -10, lambda row: row.get("iothread") or ""),
    ("CPU", 3, lambda row: count(row["cpu"]) if "cpu" in row else ""),
    ("IOPS", 6, lambda row: number(row["iops"])),
    ("MB/s", 6, lambda row: megabytes(row["bytes-per-s"])),
    ("MEAN", 6, lambda row: mean(row) if "latency" in row else ""),
    ("P99", 7, lambda row: p99(row) if "latency" in row else ""),
    ("FLIGHT", 6, lambda row: count(row["in-flight"])),
    ("FAST%", 5, lambda row: percent(row["fast-share"])),
    ("ORD%", 4, ordinary),
)
IOTHREAD_COLUMNS = (
    ("CPU", 3, lambda row: count(row["cpu"])),
    ("MODE", -8, lambda row: row["mode"] or "-"),
    ("BUSY%", 5, lambda row: percent(row["busy"])),
    ("WAIT%", 5, lambda row: percent(row["wait"])),
    ("IDLE%", 5, lambda row: percent(row["idle"])),
    ("POLLS/s", 7, lambda row: number(row["polls-per-s"])),
    ("HIT%", 4, lambda row: percent(row["hit-share"])),
    ("SLEEPS/s", 8, lambda row: number(row["sleeps-per-s"])),
    ("SYSCALLS/s", 10, lambda row: number(row["syscalls-per-s"])),
)


# -- lines

def printable(text):
    """A name may be anything, and a terminal obeys control characters."""
    return "".join(one if one.isprintable() else "?" for one in text)


def shorten(text, width):
    """The middle is left out: names differ at either end."""
    text = printable(text)
    if len(text) <= width:
        return text
    start = (width - 1) // 2
    return text[:start] + "~" + text[len(text) - (width - 1 - start):]


def name_room(columns, names, width):
    """Columns of the names: as many as they need, if they are there, or as 80 columns leave."""
    others = sum(abs(column[1]) + 1 for column in columns)
    needed = max([80 - others, *(len(name) for name in names)])
    return max(MINIMUM, min(needed, width - others))


def line(name, room, columns, cells):
    """One row; a width below zero is a column that begins at the left."""
    parts = [shorten(name, room).ljust(room)]
    for (_, wide, _), cell in zip(columns, cells):
        cell = shorten(cell, abs(wide))
        parts.append(cell.ljust(-wide) if wide < 0 else cell.rjust(wide))
    return " ".join(parts).rstrip()


def table(title, columns, rows, width):
    """Lines of (style, name, row); a row that is text is a line of its own."""
    room = name_room(columns, [name for _, name, row in rows if not isinstance(row, str)], width)
    yield TITLE, line(title, room, columns, [column[0] for column in columns])[:width]
    for style, name, row in rows:
        if isinstance(row, str):
            yield from ((style, one) for one in wrapped(row, width, "  "))
        else:
            yield style, line(name, room, columns, [column[2](row) for column in columns])[:width]


def wrapped(text, width, indent=""):
    return textwrap.wrap(printable(text), max(width, MINIMUM), initial_indent=indent,
                         subsequent_indent=indent + "  ")


def natural(name):
    """disk2 before disk10."""
    parts, digit = [], None
    for one in name:
        if one.isdigit() != digit:
            digit = one.isdigit()
            parts.append("")
        parts[-1] += one
    return [(0, int(part), "") if part.isdecimal() else (1, 0, part) for part in parts]


def ordered(rows, sort, reverse):
    """Numbers from the greatest, names from the first; what has no such figure is last, by name."""
    by_name = sorted(rows, key=lambda row: natural(row["name"]))
    path = SORTS[sort]
    if not path:
        return by_name[::-1] if reverse else by_name
    with_figure = [row for row in by_name if value_of(row, path) is not None]
    without = [row for row in by_name if value_of(row, path) is None]
    return sorted(with_figure, key=lambda row: value_of(row, path), reverse=not reverse) + without


def shown(queues):
    """Without threads that serve no virtqueue and did nothing, where those that do are known."""
    if not any(queue["virtqueues"] for queue in queues):
        return queues
    return [queue for queue in queues if queue["virtqueues"] or queue["iops"]]


def body(frame, width, sort, reverse):
    """The tables and the notes."""
    rows = []
    for device in ordered(frame["devices"], sort, reverse):
        rows.append((DEVICE, device["name"], device))
        if device["reasons"]:
            rows.append((WARNING, None, "ordinary way: " + ", ".join(device["reasons"])))
        rows += [(PLAIN, "  " + queue["name"], queue)
                 for queue in ordered(shown(device["queues"]), sort, reverse)]
    lines = [*table("DEVICE", DEVICE_COLUMNS, rows or [(PLAIN, None, "none, and no exports")], width)]
    if frame["iothreads"]:
        rows = [(PLAIN, row["name"], row) for row in ordered(frame["iothreads"], sort, reverse)]
        lines += [(PLAIN, ""), *table("IOTHREAD", IOTHREAD_COLUMNS, rows, width)]
    if frame["notes"]:
        lines.append((PLAIN, ""))
    return lines + [(PLAIN, text) for note in frame["notes"] for text in wrapped(note, width)]


def head(frame, width, words):
    """What it is about, and how it is shown."""
    process = f", process {frame['pid']}" if frame["pid"] else ""
    right = f"{frame['program']}{process}"
    left = shorten(frame["target"], max(MINIMUM, width - len(right) - 2))
    return [f"{left}  {right}"[:width], words[:width]]


def once(frame, width, sort, reverse):
    """The whole frame, for a program or a file to read."""
    clock = frame["time"][11:19]
    lines = head(frame, width, f"{clock}, over {frame['seconds']:.2f} s, by {sort}")
    return [*lines, "", *(text for _, text in body(frame, width, sort, reverse))]
