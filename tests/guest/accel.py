# SPDX-License-Identifier: GPL-2.0-or-later
# Finds out which accelerator runs a guest here, by running one: KVM if it does, else TCG.
#
# That /dev/kvm opens, gives virtual CPUs and even runs some firmware does not say that a guest
# runs. So the probe is the tests' own kernel on all of its processors, with nothing to mount: it
# panics, which resets the machine, which ends QEMU. Under KVM that takes about a second, and where
# no guest runs PROBE_SECONDS; hence what was seen is kept beside the build, until the host or QEMU
# is another one.

import contextlib
import json
import os
from pathlib import Path

from errors import GuestError, GuestHang, GuestPanic

PROBE_SECONDS = 10


class Accel:
    """An accelerator that runs guests: its QEMU arguments and why it was taken."""

    def __init__(self, name, reason, thread="multi"):
        self.name = name
        self.reason = reason
        self.args = (["-accel", "kvm", "-cpu", "host"] if name == "kvm" else
                     ["-accel", f"tcg,thread={thread}", "-cpu", "max"])

    def one_thread(self):
        """The same, but for TCG in one thread for all vCPUs."""
        return Accel(self.name, self.reason, "single")

    def __str__(self):
        return f"{self.name.upper()}: {self.reason}"


def choose(host, wanted=None):
    """KVM if a guest runs under it, else TCG; `wanted` takes one of them without asking."""
    if wanted:
        return Accel(wanted, "as asked for")
    if not os.path.exists("/dev/kvm"):
        return Accel("tcg", "there is no /dev/kvm")
    if not os.access("/dev/kvm", os.R_OK | os.W_OK):
        return Accel("tcg", "/dev/kvm is not accessible to this user")
    ran, seen = known(host, lambda: probe(host, Accel("kvm", "to be probed")))
    return Accel("kvm", seen) if ran else Accel("tcg", "KVM is there, but " + seen)


def known(host, ask):
    """What ask() returns, or has returned here in this boot of the host."""
    boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    what = [boot, host.kernel.version, str(host.qemu), os.stat(host.qemu).st_mtime_ns]
    path = host.arguments.build / "guest-accel.json"
    try:
        asked, answer = json.loads(path.read_text())
    except (OSError, ValueError):
        asked = None
    if asked != what:
        answer = ask()
        with contextlib.suppress(OSError):      # a build of somebody else's
            new = path.with_name(f"{path.name}.{os.getpid()}")
            new.write_text(json.dumps([what, answer]))
            new.replace(path)
    return answer


def probe(host, accel, seconds=PROBE_SECONDS, args=()):
    """Boot the kernel on its own; returns whether it ran, and what was seen."""
    guest = host.vm(f"probe-{accel.name}", accel=accel, seconds=seconds, args=args,
                    last_words=PROBE_SECONDS)
    try:
        with guest:
            guest.message()
    except GuestPanic:
        return True, f"a probe guest ran ({guest.age():.1f} s)"
    except GuestHang:
        return False, f"a probe guest did not run (nothing happened for {seconds} s)"
    except GuestError as error:
        return False, f"a probe guest did not run ({str(error).splitlines()[0]})"
    return False, "a probe guest did something unexpected"
