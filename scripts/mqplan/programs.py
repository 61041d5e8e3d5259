# SPDX-License-Identifier: GPL-2.0-or-later
# Where the programs of a plan are: installed with this one, by the package or by make install.

from pathlib import Path

SCRIPTS = Path(__file__).resolve().parent.parent


def path(name, otherwise=None):
    """The program's path; else, as from the source tree, what is given, or its name."""
    if SCRIPTS.parts[-2:] == ("share", "qemu-mq"):
        prefix = SCRIPTS.parent.parent
        # the package leaves bin to Debian's QEMU
        for folder in (prefix / "lib/qemu-mq/bin", prefix / "bin"):
            if (folder / name).exists():
                return str(folder / name)
    return otherwise or name
