# SPDX-License-Identifier: GPL-2.0-or-later
# What a run says: a line a result as it comes, what a failed test's log says of it, the totals.

import sys
import threading
import time
from pathlib import Path
from typing import Dict, List, Tuple

from .model import FAIL, PASS, SKIP, Point

TAIL = 20           # lines of a failed test's log at most
PATIENCE = 60       # seconds until a silent test is mentioned where there is no terminal


class Report:
    """Safe from any thread. On a terminal the last line tells what runs now."""

    def __init__(self, out=sys.stdout):
        self.out = out
        self.tty = out.isatty()
        self.counts = {PASS: 0, FAIL: 0, SKIP: 0}
        self.failures: List[Tuple[str, str, str, Path]] = []
        self.times: List[Tuple[str, Dict[str, int], float]] = []
        self._lock = threading.RLock()
        self._running: Dict[str, float] = {}
        self._mentioned: Dict[str, float] = {}
        self._group = ''
        self._left = self._others = 0
        self._closed = threading.Event()
        self._ticker = threading.Thread(target=self._tick, daemon=True)
        self._ticker.start()

    def start_group(self, name: str, what: str, count: int) -> None:
        with self._lock:
            self._group, self._left, self._others = name, count, 0
            self._group_from, self._group_counts = time.monotonic(), dict(self.counts)
            self._say(f'\n== {name}: {what} ({count} {"test" if count == 1 else "tests"})')

    def end_group(self) -> None:
        with self._lock:
            seconds = time.monotonic() - self._group_from
            counts = {k: self.counts[k] - self._group_counts[k] for k in self.counts}
            self.times.append((self._group, counts, seconds))
            others = f' ({self._others} listed tests are not for this way)' if self._others else ''
            self._say(f'-- {self._group}: {totals(counts)}, {seconds:.0f} s{others}')

    def start(self, name: str) -> None:
        with self._lock:
            self._running[name] = time.monotonic()
            self._redraw()

    def done(self, name: str, points: List[Point], log: Path) -> None:
        with self._lock:
            since = self._running.pop(name, None)       # None: excluded, never started
            seconds = None if since is None else time.monotonic() - since
            self._mentioned.pop(name, None)
            self._left -= 1
            self._others += not points
            for i, p in enumerate(points):
                self.add(p, log, seconds if i == len(points) - 1 else None)
            if any(p.status == FAIL for p in points):
                self._tail(log)
            self._redraw()

    def add(self, point: Point, log: Path, seconds=None) -> None:
        with self._lock:
            self.counts[point.status] += 1
            word = {PASS: 'ok  ', FAIL: 'FAIL', SKIP: 'skip'}[point.status]
            took = f'  {seconds:.1f} s' if seconds is not None else ''
            why = f'  ({point.reason})' if point.reason else ''
            if point.skips:
                why += '  (not run in it: ' + ', '.join(point.skips) + ')'
            self._say(f'{word}  {self._group}  {point.name}{took}{why}')
            if point.status == FAIL:
                self.failures.append((self._group, point.name, point.reason, log))

    def say(self, text: str) -> None:
        with self._lock:
            self._say(text)

    def close(self) -> None:
        """The summary; its last line is for machines too."""
        self._closed.set()
        self._ticker.join()
        with self._lock:
            self._say('')
            for name, counts, seconds in self.times:
                self._say(f'{name:16} {totals(counts)}, {seconds:.0f} s')
            if self.failures:
                self._say('\nFailed:')
            for group, name, reason, log in self.failures:
                self._say(f'  {group}  {name}  ({reason})\n      {log}')
            self._say(totals(self.counts))

    def _tail(self, log: Path) -> None:
        """What led to the first failed result, and nothing of those before it; or the end."""
        try:
            lines = log.read_text(errors='replace').splitlines()
        except OSError:
            return
        failed = next((i for i, line in enumerate(lines) if line.startswith('not ok')), None)
        part = 'the end of ' if failed is None else ''
        shown = lines[:len(lines) if failed is None else failed + 1]
        passed = max((i for i, line in enumerate(shown) if line.startswith('ok')), default=-1)
        self._say(f'      {part}{log}:')
        for line in shown[passed + 1:][-TAIL:]:
            self._say('      | ' + line[:300])

    def _say(self, text: str) -> None:
        if self.tty:
            self.out.write('\r\033[K')
        self.out.write(text + '\n')
        self.out.flush()

    def _redraw(self) -> None:
        if self.tty and self._running:
            now = time.monotonic()
            names = ', '.join(f'{n} {now - t:.0f} s' for n, t in self._running.items())
            self.out.write(f'\r\033[K{f"[{self._left} left] {names}"[:100]}')
            self.out.flush()

    def _tick(self) -> None:
        while not self._closed.wait(1):
            with self._lock:
                self._redraw()
                if self.tty:
                    continue
                now = time.monotonic()
                for name, since in self._running.items():
                    if now - max(since, self._mentioned.get(name, 0)) > PATIENCE:
                        self._mentioned[name] = now
                        self._say(f'...   {self._group}  {name}: running for {now - since:.0f} s')


def totals(counts: Dict[str, int]) -> str:
    return f'{counts[PASS]} passed, {counts[FAIL]} failed, {counts[SKIP]} skipped'
