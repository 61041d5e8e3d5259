#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
# Gets Debian's cloud kernel for the guest: fetched once through apt, unpacked into a cache.
#
# Nothing is installed. apt runs with this machine's sources, keys and proxies, but with lists
# and a cache of its own in a temporary folder and without the hooks that other packages put
# on `apt-get update`, so that the machine's apt is left as it was.

import argparse
import os
import re
import shutil
import subprocess
import tempfile
from pathlib import Path

import errors
from errors import Error

META_PACKAGE = "linux-image-cloud-amd64"


class Kernel:
    """An unpacked kernel: `vmlinuz`, and `modules`, the folder that modules.builtin is in."""

    def __init__(self, folder):
        self.version = folder.name
        self.vmlinuz = folder / "vmlinuz"
        self.modules = folder / "modules"


def cache_folder():
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "qemu-mq" / "kernel"


def cached(cache):
    """The newest kernel in the cache, or None."""
    def by_version(folder):
        return [(int(n or 0), s) for n, s in re.findall(r"(\d*)(\D*)", folder.name)]
    # A name that begins with a dot is an unpacking that has not finished, or never did.
    found = [f for f in cache.glob("[!.]*") if f.is_dir()]
    return Kernel(max(found, key=by_version)) if found else None


def get(update=False):
    """The kernel to boot; fetches it when there is none yet (or, with `update`, a newer one)."""
    cache = cache_folder()
    kernel = None if update else cached(cache)
    if kernel is None:
        print(f"fetching Debian's cloud kernel into {cache} (once) ...", flush=True)
        with tempfile.TemporaryDirectory(prefix="qemu-mq-apt.") as scratch:
            deb, version = Apt(Path(scratch)).download(META_PACKAGE)
            kernel = unpack(deb, version, cache)
    return kernel


def unpack(deb, version, cache):
    """Unpack a kernel's .deb as cache/version, which appears whole or not at all."""
    cache.mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(prefix=".unpack.", dir=cache))
    try:
        call(["dpkg-deb", "-x", deb, scratch / "deb"], "cannot unpack the kernel")
        images = list((scratch / "deb/boot").glob("vmlinuz-*"))
        modules = [m.parent for m in (scratch / "deb").glob("**/modules.builtin")]
        if len(images) != 1 or len(modules) != 1:
            raise Error(f"{deb} is not one Linux kernel with its modules")
        whole = scratch / "whole"
        whole.mkdir()
        images[0].rename(whole / "vmlinuz")
        modules[0].rename(whole / "modules")
        os.sync()
        try:
            whole.rename(cache / version)
        except OSError:
            if not (cache / version).is_dir():      # else another process was faster
                raise
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return Kernel(cache / version)


class Apt:
    """apt with this machine's configuration and a state of its own."""

    def __init__(self, scratch):
        self.scratch = scratch
        for folder in ("lists/partial", "cache/archives/partial", "no-parts"):
            (scratch / folder).mkdir(parents=True)
        dump = call(["apt-config", "dump"], "this needs Debian's apt, or a kernel given with "
                    "kernel.py --deb")
        ours = [line for line in dump.splitlines() if "Invoke" not in line]
        ours += [f'Dir::State::Lists "{scratch}/lists/";',
                 f'Dir::Cache "{scratch}/cache/";',
                 f'Dir::Etc::Parts "{scratch}/no-parts/";',    # they are in the dump already
                 'Dir::Etc::Main "/dev/null";',
                 'Acquire::Languages "none";',
                 'APT::Sandbox::User "";']                      # _apt cannot write here
        (scratch / "apt.conf").write_text("\n".join(ours) + "\n")

    def download(self, meta):
        """Download what the meta package depends on; returns the file and its version."""
        self._apt("apt-get", "-q", "update")
        shown = self._apt("apt-cache", "--no-all-versions", "show", meta)
        found = re.search(r"^Depends:.*?\b(linux-image-\S+) \(= ([^)]+)\)", shown, re.M)
        if not found:
            raise Error(f"{meta} does not name the kernel it stands for; apt shows:\n{shown}")
        package, version = found.groups()
        self._apt("apt-get", "-q", "download", f"{package}={version}")
        return next(self.scratch.glob("*.deb")), version

    def _apt(self, *command):
        return call(command, "cannot fetch the guest's kernel: is there a network, and does "
                    f"`apt-get update` work? (`apt-cache policy {META_PACKAGE}` must name a "
                    "candidate)", cwd=self.scratch,
                    env={**os.environ, "APT_CONFIG": str(self.scratch / "apt.conf"),
                         "LC_ALL": "C"})


def call(command, on_failure, **options):
    """Run a command and return its output; on failure an Error that ends with its last words."""
    try:
        return subprocess.run(command, check=True, text=True, stdin=subprocess.DEVNULL,
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE, **options).stdout
    except FileNotFoundError:
        raise Error(f"{on_failure} ({command[0]} is not installed)") from None
    except subprocess.CalledProcessError as error:
        words = (error.stderr or error.stdout).strip().splitlines()[-3:]
        raise Error(f"{on_failure}\n  {command[0]} said: " + "\n  ".join(words)) from None


def main():
    parser = argparse.ArgumentParser(description="Fetch the guest's kernel and show where it is.")
    parser.add_argument("--update", action="store_true", help="fetch the newest one")
    parser.add_argument("--deb", type=Path, help="take this kernel package, without a network")
    args = parser.parse_args()
    if args.deb:
        version = call(["dpkg-deb", "-f", args.deb, "Version"], f"cannot read {args.deb}").strip()
        kernel = unpack(args.deb, version, cache_folder())
    else:
        kernel = get(args.update)
    print(f"version {kernel.version}\nvmlinuz {kernel.vmlinuz}\nmodules {kernel.modules}")


if __name__ == "__main__":
    errors.run(main)
