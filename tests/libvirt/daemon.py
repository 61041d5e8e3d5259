# SPDX-License-Identifier: GPL-2.0-or-later
# A libvirt daemon of the test's own: Debian's libvirtd as root, without systemd, in namespaces where
# all that it keeps is in a folder of the test. Of the host's libvirt nothing is read or written; that
# there is a /run/libvirt is all that stays.
#
#     with Daemon(folder, "one") as daemon:
#         daemon.virsh("define", file)
#         daemon.qmp("guest", "query-iothreads")
#
# Its processes end with the test, since a PID namespace holds them.

import json
import os
import re
import shutil
import signal
import subprocess
import time
from pathlib import Path

from errors import Error, GuestError
from vm import die_with_parent

NEEDED = (10, 0)        # <iothreads> of a disk's <driver>
SECONDS = 600           # for one command
FOLDERS = ("/run/libvirt", "/var/lib/libvirt", "/var/log/libvirt", "/var/cache/libvirt",
           "/etc/libvirt")
# the first process of the PID namespace reaps, and dies with unshare; networks are not the host's
NAMESPACES = ("--mount", "--uts", "--ipc", "--net", "--pid", "--fork", "--kill-child",
              "--mount-proc")
START = """
name=$1 state=$2
shift 2
for folder; do
    mkdir -p "$folder" "$state$folder"
    mount --bind "$state$folder" "$folder"
done
hostname "$name"
libvirtd --config /etc/libvirt/libvirtd.conf --pid-file /run/libvirt/libvirtd.pid &
wait $!
"""
QEMU_CONF = """
user = "root"
group = "root"
security_driver = "none"
cgroup_controllers = []
namespaces = []
stdio_handler = "file"
remember_owner = 0
dynamic_ownership = 0
"""
LIBVIRTD_CONF = """
auth_unix_ro = "none"
auth_unix_rw = "none"
log_outputs = "1:file:{log}"
log_filters = "{filters}"
host_uuid = "{uuid}"
"""


class VirshError(GuestError):
    """libvirt refused a command."""


def missing():
    """Why libvirt cannot be tested here, or ''."""
    if os.geteuid() != 0:
        return "needs root"
    for program, package in (("libvirtd", "libvirt-daemon"), ("virsh", "libvirt-clients")):
        if not shutil.which(program):
            return f"needs {program} (package {package})"
    said = subprocess.run(["libvirtd", "--version"], stdout=subprocess.PIPE, text=True,
                          check=True).stdout
    version = tuple(int(n) for n in re.findall(r"\d+", said)[:2])
    if version < NEEDED:
        return f"needs libvirt {'.'.join(map(str, NEEDED))}, this is {said.split()[-1]}"
    # A container may have no right to do this.
    probe = subprocess.run(["unshare", *NAMESPACES, "mount", "-t", "tmpfs", "none", "/mnt"],
                           stderr=subprocess.PIPE, text=True, check=False)
    return f"no namespaces can be made: {probe.stderr.strip()}" if probe.returncode else ""


class Daemon:
    """Inside its `with` the daemon runs.

    Its log is `log`: warnings and errors, and what `filters` adds to them (libvirtd.conf has their
    syntax); `qemu_conf` is added to the qemu.conf.
    """

    def __init__(self, folder, name, filters="", qemu_conf=""):
        self._filters, self._qemu_conf = filters, qemu_conf
        self._name = name
        self.state = Path(folder) / name
        self.log = self.state / "libvirtd.log"
        self.uri = f"qemu+unix:///system?socket={self.state}/run/libvirt/libvirt-sock"

    def __enter__(self):
        for path in FOLDERS:
            (self.state / path.lstrip("/")).mkdir(parents=True)
        etc = self.state / "etc/libvirt"
        (etc / "qemu.conf").write_text(QEMU_CONF + self._qemu_conf)
        uuid = Path("/proc/sys/kernel/random/uuid").read_text().strip()
        (etc / "libvirtd.conf").write_text(LIBVIRTD_CONF.format(
            log=self.log, uuid=uuid, filters=self._filters))
        self._process = subprocess.Popen(
            ["unshare", *NAMESPACES, "sh", "-eu", "-c", START, "sh", "mq-" + self._name,
             str(self.state), *FOLDERS],
            stdin=subprocess.DEVNULL, stdout=open(self.state / "said", "wb"),
            stderr=subprocess.STDOUT, preexec_fn=die_with_parent)
        try:
            self._wait()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        self._process.send_signal(signal.SIGKILL)
        self._process.wait()

    def _wait(self):
        deadline = time.monotonic() + SECONDS
        while True:
            try:
                return self.virsh("uri")
            except VirshError as error:
                if self._process.poll() is not None:
                    said = (self.state / "said").read_text().strip()
                    raise Error(f"libvirtd ended: {said}") from None
                if time.monotonic() > deadline:
                    raise Error(f"libvirtd does not answer: {error}") from None
                time.sleep(0.1)

    def virsh(self, *words, seconds=SECONDS):
        """What a command of virsh's prints; raises VirshError if it fails."""
        done = subprocess.run(["virsh", "-q", "-c", self.uri, *map(str, words)],
                              stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE, text=True, check=False, timeout=seconds)
        if done.returncode:
            raise VirshError(f"virsh {words[0]}: {done.stderr.strip()}")
        return done.stdout.strip()

    def qmp(self, domain, command, **arguments):
        """Ask the domain's QEMU past libvirt; returns what it returns."""
        reply = json.loads(self.virsh("qemu-monitor-command", domain, json.dumps(
            {"execute": command, "arguments": arguments})))
        if "error" in reply:
            raise VirshError(f"{command}: {reply['error']['desc']}")
        return reply["return"]

    def qemu_log(self, domain):
        """What QEMU said of itself: libvirt begins with the command line."""
        return (self.state / "var/log/libvirt/qemu" / f"{domain}.log").read_text(errors="replace")
