# SPDX-License-Identifier: GPL-2.0-or-later
# The errors that end the program with one line.


def one_line(text):
    """The text with what a terminal cannot print, such as a new line, as Python writes it."""
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)


class PlanError(Exception):
    """What is wrong, where, and what to do about it."""

    def __str__(self):
        return one_line(super().__str__())
