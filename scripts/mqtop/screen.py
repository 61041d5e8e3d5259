# SPDX-License-Identifier: GPL-2.0-or-later
# The live screen: frames as they come, keys, and the size of the terminal.

import curses
import os
import select
import signal
import time

from . import text
from .qmp import Error
from .sampler import Sampler

INTERVALS = (0.2, 0.5, 1, 2, 5, 10, 30, 60)
LATE = 3            # seconds without an answer until it is said
HELP = (
    "q           quit",
    "p, space    pause, and go on",
    "s           sort by the next figure",
    "r           reverse the order",
    "+, -        longer, shorter intervals",
    "arrows, page up, page down, home    what does not fit",
    "?           this help; any key leaves it",
    "",
    "FLIGHT      requests in flight",
    "FAST% ORD%  requests by the fast path and by the ordinary way",
    "BUSY%       on a CPU; WAIT%: waiting for one; IDLE%: asleep",
    "HIT%        polls that found something",
    "MEAN P99    latency of reads and writes; P99 needs --histograms",
    "",
    "All columns: docs/mq-top.md",
)


class Screen:
    """What is shown, and how; `options` has interval, sort and reverse."""

    def __init__(self, collector, options):
        self._collector = collector
        self._sort, self._reverse = options.sort, options.reverse
        self._interval = options.interval
        self._shown = None          # the frame; a pause keeps it
        self._paused = False
        self._help = False
        self._top = 0               # the first line of the body that is on the screen
        self._wakes, self._wake = os.pipe()
        for end in (self._wakes, self._wake):
            os.set_blocking(end, False)
        self._sampler = Sampler(collector, self._interval, self._ring)

    def run(self):
        """Until the user quits; raises what ended the sampler."""
        try:
            curses.wrapper(self._loop)
        except curses.error as error:
            raise Error(f"the terminal ({os.environ.get('TERM', 'TERM is not set')}) cannot show "
                        f"it: {error}; try --once") from None
        finally:
            self._collector.busy = not self._sampler.stop()
        if self._sampler.error:
            raise self._sampler.error

    def _ring(self):
        try:
            os.write(self._wake, b"\0")
        except BlockingIOError:
            pass                    # it is full: the loop will come

    def _loop(self, window):
        self._window = window
        self._styles = {text.TITLE: curses.A_REVERSE, text.DEVICE: curses.A_BOLD,
                        text.PLAIN: curses.A_NORMAL, text.WARNING: curses.A_UNDERLINE}
        try:
            curses.curs_set(0)
        except curses.error:
            pass                    # a terminal that cannot hide it
        window.nodelay(True)
        # a change of size wakes the loop, not only curses
        signal.signal(signal.SIGWINCH, lambda *_: None)
        signal.set_wakeup_fd(self._wake, warn_on_full_buffer=False)
        try:
            self._sampler.start()
            while not self._sampler.error and self._turn():
                pass
        finally:
            signal.set_wakeup_fd(-1)

    def _turn(self):
        """Draw, wait, obey; whether to go on."""
        self._draw()
        # once a second, lest there be no answer: then it says for how long
        ready = select.select([0, self._wakes], [], [], 1)[0]
        if self._wakes in ready:
            os.read(self._wakes, 4096)
            self._resize()
        if not self._paused and self._sampler.frame:
            self._shown = self._sampler.frame
        return 0 not in ready or self._keys()

    def _resize(self):
        try:
            columns, lines = os.get_terminal_size(0)
        except OSError:
            return
        if (lines, columns) != self._window.getmaxyx():
            curses.resizeterm(lines, columns)
            self._window.clear()

    def _keys(self):
        """All that were pressed; whether to go on."""
        key = self._window.getch()
        if key == curses.ERR:
            # ready, and nothing there: the terminal has gone, unless it was a part of a key
            return os.isatty(0)
        while key != curses.ERR:
            if not self._key(key):
                return False
            key = self._window.getch()
        return True

    def _key(self, key):
        if key == curses.KEY_RESIZE:
            return True
        if self._help:
            self._help = False
            return True
        if key in (ord("q"), ord("Q")):
            return False
        if key in (ord("p"), ord(" ")):
            self._paused = not self._paused
        elif key == ord("s"):
            names = list(text.SORTS)
            self._sort = names[(names.index(self._sort) + 1) % len(names)]
        elif key == ord("r"):
            self._reverse = not self._reverse
        elif key in (ord("+"), ord("="), ord("-")):
            self._change_interval(key != ord("-"))
        elif key in (ord("?"), ord("h")):
            self._help = True
        else:
            self._scroll(key)
        return True

    def _change_interval(self, longer):
        others = [one for one in INTERVALS if (one > self._interval if longer
                                               else one < self._interval)]
        if others:
            self._interval = others[0 if longer else -1]
            self._sampler.set_interval(self._interval)

    def _scroll(self, key):
        page = max(1, self._window.getmaxyx()[0] - 4)
        steps = {curses.KEY_UP: -1, curses.KEY_DOWN: 1, curses.KEY_PPAGE: -page,
                 curses.KEY_NPAGE: page, curses.KEY_HOME: -self._top}
        self._top = max(0, self._top + steps.get(key, 0))

    # -- drawing

    def _draw(self):
        lines, columns = self._window.getmaxyx()
        self._window.erase()
        if self._help:
            for at, line in enumerate(HELP):
                self._put(at, line, text.PLAIN)
        elif self._shown:
            for at, line in enumerate(text.head(self._shown, columns, self._words())):
                self._put(at, line, text.PLAIN)
            body = text.body(self._shown, columns, self._sort, self._reverse)
            self._top = min(self._top, max(0, len(body) - (lines - 3)))
            for at, (style, line) in enumerate(body[self._top:], 3):
                self._put(at, line, style)
        else:
            self._put(0, "mq-top: " + self._words(), text.PLAIN)
        self._window.refresh()

    def _words(self):
        asked = self._sampler.asked
        waited = time.monotonic() - asked if asked else 0
        words = [self._shown["time"][11:19] if self._shown else "asking"]
        if waited > LATE:
            words.append(f"NO ANSWER FOR {waited:.0f} s")
        if self._paused:
            words.append("PAUSED")
        return ", ".join([*words, f"every {self._interval:g} s",
                          f"by {self._sort}{', reversed' if self._reverse else ''}", "? for help"])

    def _put(self, at, line, style):
        lines, columns = self._window.getmaxyx()
        if at >= lines:
            return
        if style == text.TITLE:
            line = line.ljust(columns)
        try:
            self._window.addnstr(at, 0, line, columns, self._styles[style])
        except curses.error:
            pass        # the last cell of the screen was written, and the cursor cannot follow
