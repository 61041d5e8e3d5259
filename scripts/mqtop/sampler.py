# SPDX-License-Identifier: GPL-2.0-or-later
# Frames in the rhythm of an interval: one after the other, or from a thread of its own, so that the
# screen obeys while the program hangs.

import threading
import time

from . import rates


def frames(collector, interval):
    """One after each interval."""
    before, due = collector.sample(), time.monotonic()
    while True:
        due = max(due + interval, time.monotonic())
        time.sleep(max(0, due - time.monotonic()))
        after = collector.sample()
        yield rates.frame(collector, before, after)
        before = after


class Sampler(threading.Thread):
    """Calls `wake` after each frame, and when it has failed."""

    def __init__(self, collector, interval, wake):
        super().__init__(daemon=True)
        self._collector = collector
        self._wake = wake
        self._changed = threading.Condition()
        self._interval = interval
        self._over = False
        self.frame = None
        self.error = None
        self.asked = None       # when, while there is no answer

    def run(self):
        try:
            before = None
            while not self._over:
                self.asked = time.monotonic()
                after = self._collector.sample()
                self.frame = rates.frame(self._collector, before, after)
                before, self.asked = after, None
                self._wake()
                self._sleep(time.monotonic())
        except Exception as error:      # said by the main thread, once the terminal is restored
            self.error = error
            self._wake()

    def _sleep(self, since):
        with self._changed:
            while not self._over and (left := since + self._interval - time.monotonic()) > 0:
                self._changed.wait(left)

    def set_interval(self, seconds):
        with self._changed:
            self._interval = seconds
            self._changed.notify()

    def stop(self):
        """Whether it has ended, so that others can ask the program something."""
        with self._changed:
            self._over = True
            self._changed.notify()
        if self.ident:
            self.join(0.5)
        return not self.is_alive()
