# SPDX-License-Identifier: GPL-2.0-or-later
# The command line of mq-top, and how it ends.

import argparse
import json
import os
import shutil
import signal
import sys

from . import histograms, sampler, text
from .libvirt import Domain
from .names import short
from .qmp import Error, Socket
from .sample import Collector

PATIENCE = 60       # seconds for an answer; on the live screen a user sees the wait, and can quit


class Parser(argparse.ArgumentParser):
    def error(self, message):
        """One line, as for all other errors."""
        self.exit(2, f"{self.prog}: {message}; see {self.prog} --help\n")


def seconds(word):
    value = float(word)
    if not 0.1 <= value <= 3600:
        raise argparse.ArgumentTypeError("0.1 to 3600 seconds")
    return value


def parse(arguments):
    parser = Parser(prog="mq-top", description="Shows what the queues and IOThreads of a QEMU, a "
                    "qemu-storage-daemon or a libvirt domain do.")
    parser.add_argument("socket", nargs="?", metavar="SOCKET",
                        help="of a QMP monitor: -qmp unix:SOCKET,server=on,wait=off")
    parser.add_argument("--domain", metavar="NAME", help="a libvirt domain, through virsh")
    parser.add_argument("--connect", metavar="URI", help="where the domain is, as virsh has it")
    parser.add_argument("--interval", type=seconds, default=1, metavar="SECONDS",
                        help="between figures (default: 1)")
    parser.add_argument("--sort", choices=text.SORTS, default="name", metavar="FIGURE",
                        help="one of " + ", ".join(text.SORTS) + " (default: name)")
    parser.add_argument("--reverse", action="store_true", help="the other way around")
    parser.add_argument("--once", action="store_true",
                        help="print the figures of one interval, and end")
    parser.add_argument("--json", action="store_true",
                        help="print a JSON document each interval, a line each; one with --once")
    parser.add_argument("--histograms", action="store_true",
                        help="set latency histograms for devices that have none, and remove them at "
                             "the end")
    options = parser.parse_args(arguments)
    if bool(options.socket) == bool(options.domain):
        parser.error("give the SOCKET of a QMP monitor, or --domain NAME")
    if options.connect and not options.domain:
        parser.error("--connect is for --domain")
    options.live = not options.once and not options.json
    return options


def monitor(options):
    patience = None if options.live else PATIENCE
    if options.domain:
        return Domain(options.domain, options.connect, patience)
    return Socket(options.socket, patience)


def show(options, collector):
    """Until the end."""
    if options.live:
        from .screen import Screen      # a Python without curses has the rest
        Screen(collector, options).run()
        return
    for frame in sampler.frames(collector, options.interval):
        if options.json:
            print(json.dumps(frame), flush=True)
        else:
            width = shutil.get_terminal_size((80, 24)).columns
            print("\n".join(text.once(frame, width, options.sort, options.reverse)))
        if options.once:
            return


def say(words):
    print(f"mq-top: {words}", file=sys.stderr)


def with_histograms(options, connection, collector):
    if not options.histograms:
        show(options, collector)
        return
    own = histograms.Histograms(connection)
    try:
        names = own.set()
        say(f"latency histograms set for {', '.join(map(short, names))}; they are removed at the end" if names
            else "no device lacks latency histograms; none were set")
        show(options, collector)
    finally:
        kept = own.names if collector.busy else own.remove()
        if kept:
            say(f"no answer: latency histograms stay set for {', '.join(map(short, kept))}")


def run(options):
    if options.live and not (os.isatty(0) and os.isatty(1)):
        raise Error("this is no terminal: say --once or --json")
    connection = monitor(options)
    with_histograms(options, connection, Collector(connection))


def end(number, _):
    sys.exit(128 + number)


def main(arguments):
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, end)      # so that the terminal is restored
    try:
        run(parse(arguments))
        sys.stdout.flush()
    except Error as error:
        say(error)
        return 1
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:             # the reader had enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    return 0
