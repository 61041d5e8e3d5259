# SPDX-License-Identifier: GPL-2.0-or-later
# Runs test functions and says in TAP how they went.

import sys
import time
import traceback

from errors import Error


class Skip(Exception):
    """This machine lacks what the test needs: the text says what."""


def run(tests, *arguments):
    """Call each function with the arguments; returns the exit status."""
    print(f"1..{len(tests)}", flush=True)
    failed = 0
    for number, test in enumerate(tests, 1):
        start = time.monotonic()
        skip = ""
        try:
            test(*arguments)
            verdict = "ok"
        except Skip as reason:
            verdict, skip = "ok", f" # SKIP {reason}"
        except (Exception, SystemExit) as error:
            verdict = "not ok"
            failed += 1
            text = str(error) if isinstance(error, Error) else traceback.format_exc()
            print("".join(f"# {line}\n" for line in text.splitlines()), end="")
        print(f"{verdict} {number} - {test.__name__}{skip}\n# took {time.monotonic() - start:.1f} s",
              flush=True)
    return 1 if failed else 0


def run_named(tests):
    """Run those that have one of the program's arguments in their names; without any, all."""
    return run([test for test in tests
                if any(name in test.__name__ for name in sys.argv[1:] or [""])])


def fails(error, words, call, *arguments, **options):
    """The call must raise this kind of error, with these words in its text; returns the text."""
    try:
        call(*arguments, **options)
    except error as raised:
        assert words in str(raised), f"{raised!r} does not say: {words}"
        return str(raised)
    raise AssertionError(f"no {error.__name__} was raised, which was to say: {words}")
