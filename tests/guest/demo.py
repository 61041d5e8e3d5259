#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
# The project's main job, seen whole: a guest writes and verifies a disk on two queues, each with
# an IOThread of its own, and the host shows what each queue served.

import argparse

import errors
import verify
from host import Host, add_arguments


def main():
    parser = argparse.ArgumentParser(
        description="Boot a guest that verifies data on two queues, and show what each served.")
    add_arguments(parser)
    parser.add_argument("--disk", help="a raw image to use and keep; made if it is not there "
                        "(default: a new one, removed when all went well)")
    parser.add_argument("--passes", nargs="+", choices=("write", "verify"),
                        default=("write", "verify"), help="default: both")
    parser.add_argument("--guest-cpus", metavar="CPU[,CPU]",
                        help="the guest's processors to run fio on (default: one for each queue)")
    arguments = parser.parse_args()
    with Host(arguments) as host:
        disk = verify.Disk(arguments.disk or host.work / "disk.raw")
        print(f"kernel       Debian {host.kernel.version}\n"
              f"accelerator  {host.accel}\n"
              f"disk         {disk}", flush=True)
        environment = {"CPUS": arguments.guest_cpus} if arguments.guest_cpus else {}
        run = verify.run(host, "guest", verify.make_initramfs(host), disk, arguments.passes,
                         environment)
        print(f"guest        ready after {run.up:.1f} s\n")
        print_figures(run)
        print_queues(run)
    return 0


def print_figures(run):
    rows = [("fio in the guest", "processor", "requests", "IOPS", "MiB/s", "p50 us", "p99 us")]
    for name, jobs in run.figures.items():
        for job in jobs:
            side = job["write" if name == "write" else "read"]
            latency = side["clat_ns"]["percentile"]
            options = job["job options"]
            rows.append((f"{name} {options['bs']}", options["cpus_allowed"], side["total_ios"],
                         round(side["iops"]), f"{side['bw_bytes'] / (1 << 20):.1f}",
                         *(round(latency[at] / 1000) for at in ("50.000000", "99.000000"))))
    print_table(rows)


def print_queues(run):
    passes = list(run.requests)
    rows = [("queue", "IOThread", "thread", "may run on CPU", "ran on CPU", *passes, "requests")]
    for queue in run.queues:
        rows.append((queue.number, queue.iothread, queue.thread_id, queue.allowed, queue.last_cpu,
                     *(queue.served[name] for name in passes), queue.total()))
    print_table(rows)
    total = {kind: sum(requests[kind] for requests in run.requests.values())
             for kind in ("reads", "writes", "flushes")}
    if "verify" in run.requests:
        print("The data is what was written.")
    print(f"{sum(queue.total() for queue in run.queues)} requests = "
          + " + ".join(f"{count} {kind}" for kind, count in total.items())
          + ":\nthe used indexes of the queues, QEMU's block statistics, the guest's kernel "
          "and fio agree.")
    if run.ways:
        print(f"Fast path {'on' if run.fast_path else 'off'}: {run.ways['fast']} requests took "
              f"it, {run.ways['ordinary']} the ordinary way (query-block-queues).")


def print_table(rows):
    widths = [max(len(str(row[i])) for row in rows) for i in range(len(rows[0]))]
    for row in rows:
        first, *rest = (str(cell) for cell in row)
        print("  ".join([first.ljust(widths[0])] +
                        [cell.rjust(width) for cell, width in zip(rest, widths[1:])]))
    print()


if __name__ == "__main__":
    errors.run(main)
