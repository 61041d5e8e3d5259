# SPDX-License-Identifier: GPL-2.0-or-later
# Reads TAP and says of it what a test runner may believe.

import re
from typing import List

from .model import FAIL, PASS, SKIP, Finished, Point

LINE = re.compile(r'(not )?ok\b\s*(\d+)?\s*(?:-\s+)?(.*)$')
PLAN = re.compile(r'1\.\.(\d+)\s*(?:#\s*skip\S*\s*(.*))?$', re.I)
DIRECTIVE = re.compile(r'(?:^|\s)#\s*(skip|todo)\S*\s*(.*)$', re.I)


class Tap:
    """The top-level lines of a TAP stream (indented subtests belong to their parents)."""

    def __init__(self, text: str):
        self.points: List[Point] = []
        self.plan = None
        self.skip_all = ''
        self.bailed = None
        self._said = ''         # the last comment before a result
        for line in text.splitlines():
            self._line(line)

    def _line(self, line: str) -> None:
        plan = PLAN.match(line)
        if plan:
            self.plan = int(plan.group(1))
            if self.plan == 0:
                self.skip_all = (plan.group(2) or 'no reason given').strip()
            return
        if line.startswith('Bail out!'):
            self.bailed = line[len('Bail out!'):].strip() or 'no reason given'
            return
        if line.startswith('# '):
            self._said = line[2:].strip()
            return
        m = LINE.match(line)
        if not m:
            return
        status, name, reason = PASS, m.group(3), ''
        if m.group(1):
            status, reason = FAIL, self._said
        self._said = ''
        d = DIRECTIVE.search(name)
        if d:
            name = name[:d.start()]
            status = SKIP
            reason = d.group(2).strip() or 'no reason given'
            if d.group(1).lower() == 'todo':
                reason = 'to do: ' + reason
        self.points.append(Point(name.strip() or f'number {len(self.points) + 1}',
                                 status, reason))

    def seen(self) -> bool:
        return bool(self.points) or self.plan is not None or self.bailed is not None

    def fault(self, run: Finished) -> str:
        """Why the stream as a whole is not to be trusted, or ''."""
        if run.timed_out:
            return run.how_it_ended()
        if self.bailed is not None:
            return 'bailed out: ' + self.bailed
        if self.plan is None:
            return f'no plan after {len(self.points)} results; {run.how_it_ended()}'
        if self.plan != len(self.points):
            return f'planned {self.plan} results, gave {len(self.points)}; {run.how_it_ended()}'
        if run.rc != 0 and not any(p.status == FAIL for p in self.points):
            return f'{run.how_it_ended()} though no result failed'
        return ''
