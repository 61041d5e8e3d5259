# SPDX-License-Identifier: GPL-2.0-or-later
# A fresh Debian that the package is installed in: the script `root` makes it; here are its paths, what
# runs in it, and what is in it.
#
# All of it is in a mount namespace of the test's (inside()): what is mounted goes with the test's
# processes, however those end, and nothing that is removed afterwards has a mount in it.

import os
import shutil
import stat
import subprocess
from pathlib import Path

import tap
from errors import Error
from vm import die_with_parent

HERE = Path(__file__).parent
NAMESPACES = ("--mount", "--propagation", "private", "--pid", "--fork", "--kill-child",
              "--mount-proc")
# what keeps the books of packages, and their logs
STATE = ("var/lib/dpkg/status", "var/lib/dpkg/lock", "var/lib/apt/", "var/cache/", "var/log/",
         "etc/ld.so.cache")


def missing():
    """Why no root can be made here, or ''."""
    if os.geteuid() != 0:
        return "needs root"
    for program, package in (("debootstrap", "debootstrap"), ("dh", "debhelper"),
                             ("dpkg-buildpackage", "dpkg-dev")):
        if not shutil.which(program):
            return f"needs {program} (package {package})"
    probe = subprocess.run(["unshare", *NAMESPACES, "mount", "-t", "tmpfs", "none", "/mnt"],
                           stderr=subprocess.PIPE, text=True, check=False)
    return f"no namespaces can be made: {probe.stderr.strip()}" if probe.returncode else ""


def inside(*command):
    """Run a command in namespaces of its own, to its end; returns its exit status."""
    return subprocess.run(["unshare", *NAMESPACES, *map(str, command)], check=False,
                          preexec_fn=die_with_parent).returncode


def output(*command, **options):
    """What a command prints; Error, with its last words, when it fails."""
    done = subprocess.run([*map(str, command)], text=True, check=False, stdin=subprocess.DEVNULL,
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE, **options)
    if done.returncode:
        said = (done.stderr.strip() or done.stdout.strip()).splitlines()[-5:]
        raise Error("\n  ".join([f"{' '.join(map(str, command))} ended with {done.returncode}:",
                                 *said]))
    return done.stdout


class Root:
    """A root made in `path`, which must not be there."""

    def __init__(self, path):
        self.path = Path(path)
        self.apt_state = self.path.with_name(self.path.name + ".apt")
        made = subprocess.run([HERE / "root", "make", self.path], text=True, check=False,
                              stderr=subprocess.PIPE)
        if made.returncode == 77:
            raise tap.Skip(made.stderr.strip())
        if made.returncode:
            raise Error(made.stderr.strip())
        # a look at the root without what is mounted in it
        self._view = self.path.with_name(self.path.name + ".view")
        self._view.mkdir()
        output("mount", "--bind", self.path, self._view)

    def show(self, folder):
        """Let a folder of the host be seen in the root, under the same path."""
        there = self.path / str(folder).lstrip("/")
        there.mkdir(parents=True)
        output("mount", "--bind", folder, there)

    def apt(self, *command):
        """apt-get in the root, its folder being `apt_state`."""
        return output(HERE / "root", "apt", self.path, *command)

    def download(self, *names):
        """Packages of Debian's, as files that are not installed."""
        output(HERE / "root", "download", self.path, *names)
        return sorted((self.apt_state / "download").glob("*.deb"))

    def run(self, *command):
        return output("chroot", self.path, *command)

    def files(self):
        """All that is in it but the state of apt and dpkg: {path: type, mode, size and target}."""
        found = {}
        for folder, folders, files in os.walk(self._view):
            for name in folders + files:
                path = os.path.join(folder, name)
                relative = os.path.relpath(path, self._view)
                if relative.startswith(STATE):
                    continue
                seen = os.lstat(path)
                found[relative] = (stat.filemode(seen.st_mode),
                                   0 if stat.S_ISDIR(seen.st_mode) else seen.st_size,
                                   os.readlink(path) if stat.S_ISLNK(seen.st_mode) else "")
        return found


def contents(deb):
    """The files and links in a package, without its folders."""
    lines = output("dpkg-deb", "--contents", deb).splitlines()
    return {line.split(maxsplit=5)[5].split(" -> ")[0].lstrip(".") for line in lines
            if not line.startswith("d")}
