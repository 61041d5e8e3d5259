# SPDX-License-Identifier: GPL-2.0-or-later
# Command lines as a shell reads them, and options as QEMU does.

import shlex


def command(program, options):
    """A command on lines of its own: an option and its value a line."""
    lines = [shlex.join(program)] + [shlex.join(words) for words in options]
    return " \\\n    ".join(lines)


def option(kind, *pairs):
    """kind,key=value,...; a comma in a value is written twice."""
    return ",".join([kind] + [f"{key}={str(value).replace(',', ',,')}" for key, value in pairs])
