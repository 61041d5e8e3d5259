# SPDX-License-Identifier: GPL-2.0-or-later
# Objects in the programs that have them, for tests of -object iothread: how each program writes
# options, starts, and refuses.

import contextlib
import subprocess

import programs


class System:
    """qemu-system-x86_64, whose -object takes a list as repeated options."""

    option = "-object"
    program = [programs.SYSTEM, "-machine", "none", "-nodefaults", "-display", "none"]

    @staticmethod
    def monitor(fd):
        return ["-chardev", f"socket,id=qmp,fd={fd}", "-mon", "chardev=qmp,mode=control"]

    @staticmethod
    def listed(name, values):
        return "".join(f",{name}={value}" for value in values)


class Daemon:
    """qemu-storage-daemon, whose --object takes a list by index."""

    option = "--object"
    program = [programs.DAEMON]

    @staticmethod
    def monitor(fd):
        return ["--chardev", f"socket,id=qmp,fd={fd}", "--monitor", "chardev=qmp"]

    @staticmethod
    def listed(name, values):
        return "".join(f",{name}.{i}={value}" for i, value in enumerate(values))


BOTH = (System, Daemon)


@contextlib.contextmanager
def running(program, *objects, enter=None):
    """A program with these --object values; yields its QMP and its process ID."""
    command, *arguments = program.program
    for value in objects:
        arguments += [program.option, value]
    with programs.run(command, arguments, program.monitor, enter=enter) as (process, qmp):
        yield qmp, process.pid


def refused(program, value, *words, options=(), enter=None):
    """The program does not start with this --object, and says so."""
    done = subprocess.run([*program.program, *options, program.option, value],
                          stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, text=True, timeout=programs.SECONDS,
                          check=False, preexec_fn=enter)
    assert done.returncode == 1, (done.returncode, done.stdout)
    for word in words:
        assert word in done.stdout, f"'{done.stdout.strip()}' does not say: {word}"


def iothreads(qmp):
    return {thread["id"]: thread for thread in qmp.command("query-iothreads")}


def option_help():
    done = subprocess.run([System.program[0], "-object", "iothread,help"], check=True, text=True,
                          stdout=subprocess.PIPE)
    return done.stdout
