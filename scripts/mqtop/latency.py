# SPDX-License-Identifier: GPL-2.0-or-later
# Latencies of an interval: the mean, and percentiles of the histograms that a device may have.

PERCENTILE = 0.99
# what --histograms sets, in ns: 100 ns to 10 s, ten to a decade
BOUNDARIES = [step * 10 ** power for power in range(1, 9)
              for step in (10, 12, 15, 20, 25, 30, 40, 50, 60, 80)] + [10 ** 10]


def difference(before, after):
    """The bins of the requests between two histograms (BlockLatencyHistogramInfo, or None for none),
    as a list of (low, high, count), where the last one's high is None; None if they are not two
    moments of one histogram."""
    if not before or not after or before["boundaries"] != after["boundaries"]:
        return None
    counts = [now - then for then, now in zip(before["bins"], after["bins"])]
    if any(count < 0 for count in counts):
        return None
    edges = after["boundaries"]
    return list(zip([0, *edges], [*edges, None], counts))


def percentile(bins, share=PERCENTILE):
    """Of bins as difference() returns, which may be those of several histograms: the value that
    this share of the requests does not exceed, if those of a bin lie evenly in it. Returns it and
    False; the highest edge and True if it is beyond that; None and False if there are no requests.
    """
    wanted = share * sum(count for _, _, count in bins)
    if not wanted:
        return None, False
    edges = sorted({edge for low, high, _ in bins for edge in (low, high) if edge is not None})
    last, reached = edges[0], 0
    for edge in edges:
        below = sum(_below(one, edge) for one in bins)
        if below >= wanted:
            part = (wanted - reached) / (below - reached) if below > reached else 1
            return last + (edge - last) * part, False
        last, reached = edge, below
    return last, True


def _below(one, edge):
    """How many requests of a bin were faster than this."""
    low, high, count = one
    if edge <= low or high is None:
        return 0
    return count if edge >= high else count * (edge - low) / (high - low)
