# SPDX-License-Identifier: GPL-2.0-or-later
# The parts of mq-top. A sample is what a program answered at one moment (sample.py); two make a frame,
# the document that --json prints (rates.py), of which text.py makes lines.
