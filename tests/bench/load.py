# SPDX-License-Identifier: GPL-2.0-or-later
# Runs ringload, and the servers that it drives, each pinned to a CPU of its own.

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

START_SECONDS = 600
TIMES = 10              # a window is measured, at the most, until something was served in it


def ringload(context, transport, depth, extra=()):
    """One run of 4 KiB random reads; returns the total of ringload's JSON."""
    command = [context.ringload, *transport, "--timeout", str(START_SECONDS),
               "--cpus", str(context.cpus[-1]), "--depth", str(depth),
               "--runtime", str(context.seconds), "--warmup", str(context.seconds / 4),
               "--json", "-", *extra]
    for _ in range(TIMES):
        done = subprocess.run([str(word) for word in command], stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE, text=True, check=False)
        if done.returncode:
            sys.exit(f"bench: {' '.join(str(word) for word in command)}\n{done.stderr.strip()}")
        total = json.loads(done.stdout)["total"]
        if total["requests"]:       # or the server's CPU has stood still
            return total
    sys.exit(f"bench: the server of {' '.join(str(word) for word in transport)} served nothing")


@contextlib.contextmanager
def vhost_user(context, build, blockdevs, iothread=""):
    """A storage daemon that exports the last of blockdevs; yields ringload's options.

    iothread: further options of its IOThread.
    """
    with tempfile.TemporaryDirectory(prefix="mqb-") as folder:
        socket = Path(folder) / "s"
        arguments = ["--object", "iothread,id=io0" + iothread]
        for blockdev in blockdevs:
            arguments += ["--blockdev", blockdev]
        arguments += ["--export", "vhost-user-blk,id=e,node-name=leaf,iothread=io0,writable=on,"
                      f"addr.type=unix,addr.path={socket}"]
        program = build / "storage-daemon" / "qemu-storage-daemon"
        with server(context, [program, *arguments], socket):
            yield ["--vhost-user", socket]


@contextlib.contextmanager
def virtio_blk(context, build, blockdevs, iothread="", device=""):
    """A QEMU whose virtio-blk device has no guest; yields ringload's options.

    iothread, device: further options of these.
    """
    with tempfile.TemporaryDirectory(prefix="mqb-") as folder, \
            tempfile.NamedTemporaryFile(prefix="mqb-", dir="/dev/shm") as memory:
        socket = Path(folder) / "q"
        arguments = ["-M", "q35,memory-backend=mem", "-m", "256M", "-accel", "qtest",
                     "-object", f"memory-backend-file,id=mem,size=256M,mem-path={memory.name},"
                     "share=on", "-display", "none", "-nodefaults", "-qtest-log", "none",
                     "-qtest", f"unix:{socket},server=on,wait=off",
                     "-object", "iothread,id=io0" + iothread]
        for blockdev in blockdevs:
            arguments += ["-blockdev", blockdev]
        arguments += ["-device", "virtio-blk-pci,disable-legacy=on,drive=leaf,iothread=io0"
                      + device]
        with server(context, [build / "qemu-system-x86_64", *arguments], socket):
            # a guest's kick does not go through QEMU's main loop
            yield ["--qtest", socket, "--mem", memory.name, "--kick", "ioeventfd"]


@contextlib.contextmanager
def server(context, command, socket):
    """A server on the first CPU, listening on socket when this is entered."""
    cpu = context.cpus[0]
    log = context.work / "server.log"
    with open(log, "wb") as output:
        process = subprocess.Popen([str(word) for word in command], stdin=subprocess.DEVNULL,
                                   stdout=output, stderr=output,
                                   preexec_fn=lambda: os.sched_setaffinity(0, {cpu}))
    try:
        deadline = time.monotonic() + START_SECONDS
        while not socket.exists():
            if process.poll() is not None or time.monotonic() > deadline:
                sys.exit(f"bench: {command[0]} did not start: {log.read_text().strip()}")
            time.sleep(0.01)
        yield
    finally:
        # not killed: the kernel would let go of its image some time later
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(START_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
