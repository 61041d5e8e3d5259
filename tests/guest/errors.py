# SPDX-License-Identifier: GPL-2.0-or-later
# What can go wrong in a guest test, each with the one line a user is to read.

import signal
import sys


class Error(Exception):
    """The test could not be run, or it failed: the text says what to do or what was seen."""


class GuestError(Error):
    """The guest ran and did not do what it was to do."""


class GuestHang(GuestError):
    """Nothing came from the guest until the deadline."""


class GuestPanic(GuestError):
    """The guest's kernel gave up, and said so."""


class GuestReset(GuestError):
    """The machine was reset or powered off too early, without a word from the guest's kernel."""


class Mismatch(GuestError):
    """Two sources that must agree on a figure do not, or data is not what was written."""


def run(main):
    """Run main() as a program: an Error is said on stderr, with exit status 1."""
    # SIGTERM then unwinds as well, so that what was made is cleaned up.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    try:
        sys.exit(main())
    except Error as error:
        print(f"{sys.argv[0].rpartition('/')[2]}: {error}", file=sys.stderr)
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)
