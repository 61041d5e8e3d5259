# SPDX-License-Identifier: GPL-2.0-or-later
# Two samples make a frame: the document that --json prints and of which tables are made. A figure that
# is not known is None.

import datetime

from . import latency
from .names import MAIN_LOOP, ranges, short

KINDS = ("read", "write", "flush", "discard", "write-zeroes")
WAYS = ("fast", "ordinary")


def frame(collector, before, after):
    """What happened between the samples; before may be None: then there are no rates."""
    threads = iothreads(before, after, collector.pid)
    cpus = {one["name"]: one["cpu"] for one in threads}
    rows = devices(before, after)
    for row in rows:
        for queue in row["queues"]:
            queue["cpu"] = cpus.get(queue["iothread"])
    return {"time": datetime.datetime.now().astimezone().isoformat(timespec="milliseconds"),
            "seconds": spent(before, after, "queues"),
            "target": collector.target, "program": collector.program, "pid": collector.pid,
            "notes": list(collector.notes(after)), "devices": rows, "iothreads": threads}


# -- devices, exports and their queues

def devices(before, after):
    stats = by_device(after.stats.value)
    old_stats = by_device(before.stats.value) if before else {}
    latency_of = {key: latencies(old_stats.get(key), one) for key, one in stats.items()}
    if after.queues.value is None:
        rows = [base_device(key, one, old_stats.get(key), spent(before, after, "stats"))
                for key, one in stats.items()]
        rows += [base_export(one) for one in after.exports.value or []]
    else:
        old = {identity(one): one for one in before.queues.value or []} if before else {}
        exports = {one["id"]: one for one in after.exports.value or []}
        rows = [device(one, old.get(identity(one)), spent(before, after, "queues"), exports)
                for one in after.queues.value]
    for row in rows:
        row["latency"] = latency_of.get(row.pop("key"))
    return rows


def identity(one):
    """What a device or export is known by, in both queries."""
    for kind in ("export", "qdev", "device"):
        if one.get(kind):
            return kind, one[kind]
    return None


def by_device(stats):
    return {identity(one): one for one in stats or [] if identity(one)}


def spent(before, after, source):
    return getattr(after, source).at - getattr(before, source).at if before else None


def device(one, old, seconds, exports):
    """A row of query-block-queues."""
    kind, name = identity(one)
    known = {queue["home"]: counts(queue) for queue in old["queues"]} if old else {}
    threads = exports.get(name, {}).get("iothreads") if kind == "export" else None
    rows = [queue_row(queue, known.get(queue["home"], nothing()) if old else None, seconds)
            for queue in one["queues"]]
    served = {}
    for virtqueue in one.get("virtqueues", []):
        served.setdefault(virtqueue.get("iothread"), []).append(virtqueue["queue"])
    for iothread in [name for name in served if name not in {row["iothread"] for row in rows}]:
        rows.append({"home": None, "iothread": iothread, "in-flight": 0,
                     **figures(nothing(), nothing() if old else None, seconds)})
    for row in rows:
        row["virtqueues"] = served.get(row["iothread"])
        row["name"] = queue_name(row, threads)
    share_flights(rows, one["in-flight"])
    total = summed(row["total"] for row in rows)
    was = summed(known.values()) if old else None
    return {"key": (kind, name), "name": short(name), "kind": "export" if kind == "export" else "device",
            "node-name": one.get("node-name"), "fast-path": one["fast-path"],
            "reasons": one["reasons"], "in-flight": one["in-flight"],
            **figures(total, was, seconds), "queues": rows}


def queue_row(queue, old, seconds):
    return {"home": queue["home"], "iothread": queue.get("iothread"),
            "in-flight": queue["in-flight"], **figures(counts(queue), old, seconds)}


def share_flights(rows, total):
    """A request that began in one thread and ended in another, as those of a guest's firmware do,
    stays counted in the first and is missing in the second: then only the sum is known, or that of
    the one thread that serves virtqueues."""
    serving = [row for row in rows if row["virtqueues"]]
    others = [row for row in rows if serving and not row["virtqueues"]]
    if all(row["in-flight"] >= 0 for row in rows) and not any(row["in-flight"] for row in others):
        return
    for row in rows:
        row["in-flight"] = None
    if len(serving) == 1:
        serving[0]["in-flight"] = total


def queue_name(row, threads):
    """By its virtqueues; those of an export with several IOThreads go to them by turns."""
    if row["virtqueues"]:
        return "vq " + ranges(row["virtqueues"])
    if threads and row["iothread"] in threads:
        first = threads.index(row["iothread"])
        return f"vq {first},{first + len(threads)}.."
    return f"by {row['iothread'] or 'other threads'}"


def counts(queue):
    """Requests of a BlockQueue by kind and by way, and bytes read and written."""
    found = {kind: sum(queue[kind][f"{way}-requests"] for way in WAYS) for kind in KINDS}
    for way in WAYS:
        found[way] = sum(queue[kind][f"{way}-requests"] for kind in KINDS)
    found["bytes"] = sum(queue[kind][f"{way}-bytes"] for way in WAYS for kind in ("read", "write"))
    return found


def nothing():
    return {key: 0 for key in (*KINDS, *WAYS, "bytes")}


def summed(each):
    total = nothing()
    for one in each:
        for key, value in one.items():
            total[key] += value
    return total


def figures(total, old, seconds):
    """Counts since the device exists, those of the interval, and their rates."""
    interval = None
    if old is not None:
        interval = {key: None if value is None else value - old[key] for key, value in total.items()}
        # the device is another of the same name
        if any(value is not None and value < 0 for value in interval.values()):
            interval = None
    row = {"iops": None, "bytes-per-s": None, "fast-share": None, "interval": interval,
           "total": total}
    if interval and seconds:
        requests = sum(interval[kind] or 0 for kind in KINDS)
        row["iops"] = requests / seconds
        row["bytes-per-s"] = interval["bytes"] / seconds
        if requests and interval["fast"] is not None:
            row["fast-share"] = interval["fast"] / requests
    return row


def base_device(key, one, old, seconds):
    """A row of query-blockstats alone."""
    was = base_counts(old) if old else None
    return {"key": key, "name": short(key[1]), "kind": "device", "node-name": one.get("node-name"),
            "fast-path": None, "reasons": None, "in-flight": None,
            **figures(base_counts(one), was, seconds), "queues": []}


def base_counts(one):
    stats = one["stats"]
    return {"read": stats["rd_operations"],
            "write": stats["wr_operations"] + stats.get("zone_append_operations", 0),
            "flush": stats["flush_operations"], "discard": stats.get("unmap_operations", 0),
            "write-zeroes": None, "fast": None, "ordinary": None,
            "bytes": stats["rd_bytes"] + stats["wr_bytes"] + stats.get("zone_append_bytes", 0)}


def base_export(one):
    unknown = dict.fromkeys(nothing())
    return {"key": ("export", one["id"]), "name": one["id"], "kind": "export",
            "node-name": one.get("node-name"), "fast-path": None, "reasons": None,
            "in-flight": None, **figures(unknown, None, None), "queues": []}


# -- latencies

def latencies(old, new):
    """Of reads, writes and flushes, and of reads and writes together; None for no old sample."""
    if not old:
        return None
    then, now = old["stats"], new["stats"]
    found, everything = {}, {"requests": 0, "ns": 0, "bins": []}
    for kind, short_name in (("read", "rd"), ("write", "wr"), ("flush", "flush")):
        one = {"requests": now[f"{short_name}_operations"] - then[f"{short_name}_operations"],
               "ns": now[f"{short_name}_total_time_ns"] - then[f"{short_name}_total_time_ns"],
               "bins": latency.difference(then.get(f"{short_name}_latency_histogram"),
                                          now.get(f"{short_name}_latency_histogram"))}
        found[kind] = described(one)
        # a kind without requests needs no histogram
        if kind != "flush" and one["requests"]:
            everything["requests"] += one["requests"]
            everything["ns"] += one["ns"]
            bins = everything["bins"]
            everything["bins"] = None if bins is None or one["bins"] is None else bins + one["bins"]
    return {"read-and-write": described(everything), **found}


def described(one):
    mean = one["ns"] / one["requests"] / 1000 if one["requests"] > 0 and one["ns"] >= 0 else None
    p99, beyond = latency.percentile(one["bins"]) if one["bins"] else (None, False)
    return {"mean-us": mean, "p99-us": None if p99 is None else p99 / 1000, "p99-beyond": beyond}


# -- IOThreads

def iothreads(before, after, pid):
    old = {one["thread-id"]: one for one in (before.iothreads.value if before else None) or []}
    seconds = spent(before, after, "iothreads")
    rows = []
    for one in after.iothreads.value or []:
        thread = one["thread-id"]
        was = old.get(thread)
        rows.append({"name": one["id"], "thread-id": thread, "mode": mode(one),
                     "cpu-affinity": one.get("cpu-affinity"), **shares(before, after, thread),
                     **loop(one.get("counters"), was.get("counters") if was else None, seconds)})
    if pid is not None:
        rows.append({"name": MAIN_LOOP, "thread-id": pid, "mode": None, "cpu-affinity": None,
                     **shares(before, after, pid), **loop(None, None, None)})
    return rows


def mode(one):
    """The base's threads have one of two, which poll-max-ns chooses."""
    return one.get("poll-mode") or ("adaptive" if one["poll-max-ns"] else "off")


def shares(before, after, thread):
    """On a CPU, waiting for one, and asleep."""
    row = {"cpu": None, "busy": None, "wait": None, "idle": None}
    now = after.times.get(thread)
    then = before.times.get(thread) if before else None
    if now:
        row["cpu"] = now.cpu
    if now and then and now.at > then.at:
        passed = (now.at - then.at) * 1e9
        row["busy"] = within(now.ran - then.ran, passed)
        if now.waited is not None and then.waited is not None:
            row["wait"] = within(now.waited - then.waited, passed)
        row["idle"] = max(0.0, 1 - row["busy"] - (row["wait"] or 0))
    return row


def within(part, whole):
    """A share; the clocks are read one after the other."""
    return min(1.0, max(0.0, part / whole))


def loop(counters, old, seconds):
    row = {"polls-per-s": None, "hit-share": None, "sleeps-per-s": None, "syscalls-per-s": None,
           "interval": None, "total": counters}
    if not counters or not old or not seconds:
        return row
    interval = {key: counters[key] - old.get(key, 0) for key in counters}
    if any(value < 0 for value in interval.values()):
        return row
    polls = interval["polls-hit"] + interval["polls-vain"]
    row["interval"] = interval
    row["polls-per-s"] = polls / seconds
    row["hit-share"] = interval["polls-hit"] / polls if polls else None
    row["sleeps-per-s"] = interval["sleeps"] / seconds
    row["syscalls-per-s"] = interval["syscalls"] / seconds
    return row
