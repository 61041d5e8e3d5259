# SPDX-License-Identifier: GPL-2.0-or-later
# QMP of a libvirt domain, through virsh: each command is a process.

import json
import subprocess
from pathlib import Path

from .qmp import Error, answer

VIRSH = "virsh"


class Domain:
    """A domain by its name; a remote one is reached by `uri` (None: the default of virsh)."""

    def __init__(self, name, uri, patience):
        self.target = f"domain {name}"
        self._name = name
        self._patience = patience
        self._virsh = [VIRSH, "--quiet", *(["--connect", uri] if uri else []),
                       "qemu-monitor-command", "--domain", name]

    def command(self, name, arguments=None):
        """Execute a command and return what it returns."""
        request = json.dumps({"execute": name, "arguments": arguments or {}})
        try:
            done = subprocess.run([*self._virsh, request], stdin=subprocess.DEVNULL,
                                  stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                                  timeout=self._patience, check=False)
        except FileNotFoundError:
            raise Error(f"--domain needs {VIRSH}, which is not installed (Debian: "
                        "libvirt-clients)") from None
        except OSError as error:
            raise Error(f"{VIRSH} cannot be started: {error.strerror}") from None
        except subprocess.TimeoutExpired:
            raise Error(f"{self.target}: no answer to {name} within {self._patience:g} s") from None
        if done.returncode:
            said = " ".join(done.stderr.split()) or f"exit status {done.returncode}"
            raise Error(f"{self.target}: {VIRSH}: {said.removeprefix('error: ')}")
        try:
            reply = json.loads(done.stdout)
        except ValueError:
            reply = {}
        return answer(name, reply if isinstance(reply, dict) else {})

    def process(self, thread):
        """The process of a thread, or None where the domain is not one of this host."""
        try:
            status = Path(f"/proc/{thread}/status").read_text()
            pid = int(status.partition("Tgid:")[2].split()[0])
            words = Path(f"/proc/{pid}/cmdline").read_text(errors="replace").split("\0")
        except (OSError, ValueError, IndexError):
            return None
        # a thread of that number may be anything, if the domain runs elsewhere
        named = {f"guest={self._name}", self._name}
        return pid if any(word.partition(",debug-threads")[0] in named for word in words) else None
