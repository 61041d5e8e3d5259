# SPDX-License-Identifier: GPL-2.0-or-later
# The errors that end the program with one line.


class PlanError(Exception):
    """What is wrong, where, and what to do about it: one line."""
