# SPDX-License-Identifier: GPL-2.0-or-later
# A synchronous QMP client over a connected socket: commands in order, events kept for who waits.

import json

from errors import GuestError


class QmpError(GuestError):
    """QEMU refused a command."""


class Qmp:
    """`lines` gives one line of the socket a call, or None at its end (lines.Lines).

    `ended` says, as an exception, why QEMU ended when a command got no answer.
    """

    def __init__(self, lines, ended):
        self._lines = lines
        self._ended = ended
        self.events = []        # that nobody has waited for yet

    def negotiate(self):
        """Read the greeting; to be called once, when QEMU runs."""
        self._receive()
        self.command("qmp_capabilities")

    def command(self, name, arguments=None):
        """Execute a command and return what it returns."""
        self._lines.send(json.dumps({"execute": name, "arguments": arguments or {}}))
        while True:
            reply = self._receive()
            if reply is None:
                raise self._ended()
            if "error" in reply:
                raise QmpError(f"{name}: {reply['error']['desc']}")
            if "return" in reply:
                return reply["return"]
            self.events.append(reply)

    def event(self, name):
        """Wait for the next event of this name and return its data; None if QEMU ends first."""
        seen = 0
        while True:
            for i in range(seen, len(self.events)):
                if self.events[i]["event"] == name:
                    return self.events.pop(i).get("data", {})
            seen = len(self.events)
            reply = self._receive()
            if reply is None:
                return None
            self.events.append(reply)

    def _receive(self):
        line = self._lines.next()
        return None if line is None else json.loads(line)
