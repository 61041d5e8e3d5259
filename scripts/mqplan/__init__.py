# SPDX-License-Identifier: GPL-2.0-or-later
# The planner of scripts/mq-plan: from a host's topology and what is wanted to a layout, and from
# that to command lines, XML and a drawing. main.py puts the parts together.
