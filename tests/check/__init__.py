# SPDX-License-Identifier: GPL-2.0-or-later
# The parts of tests/check.py; its head tells how they fit together.
