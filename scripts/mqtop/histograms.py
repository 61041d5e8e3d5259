# SPDX-License-Identifier: GPL-2.0-or-later
# --histograms: latency histograms for the devices that have none, for as long as mq-top runs.

from .latency import BOUNDARIES
from .qmp import Ended, Error, Refused

KINDS = ("rd", "wr", "flush")


def boundaries(one):
    """Those of a BlockStats' histograms, one for each that there is."""
    found = (one["stats"].get(f"{kind}_latency_histogram") for kind in KINDS)
    return [histogram["boundaries"] for histogram in found if histogram]


def lacking(stats):
    """The names of the devices that have none."""
    return [one.get("qdev") or one.get("device") for one in stats or [] if not boundaries(one)]


class Histograms:
    """Those that were set here, and are to be removed."""

    def __init__(self, monitor):
        self._monitor = monitor
        self._set = []

    @property
    def names(self):
        return self._set

    def set(self):
        """Returns the names of the devices that have one now, and had none."""
        for name in lacking(self._monitor.command("query-blockstats")):
            try:
                self._monitor.command("block-latency-histogram-set",
                                      {"id": name, "boundaries": BOUNDARIES})
            except Refused:         # a device that was removed meanwhile, or is empty
                continue
            self._set.append(name)
        return self._set

    def remove(self):
        """Those that are still ours. Returns the names of devices that keep them: none, unless the
        program hangs."""
        try:
            for one in self._monitor.command("query-blockstats") if self._set else []:
                name = one.get("qdev") or one.get("device")
                if name in self._set and boundaries(one) == [BOUNDARIES] * len(KINDS):
                    self._monitor.command("block-latency-histogram-set", {"id": name})
        except Ended:
            pass
        except Error:
            return self._set
        return []
