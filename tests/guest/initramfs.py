# SPDX-License-Identifier: GPL-2.0-or-later
# Makes the guest's initramfs: busybox, programs of the host with their libraries, kernel modules.
#
# The archive is written here, in cpio's "newc" format, sorted and without times or owners, so
# that the same contents give the same bytes.

import lzma
import re
import shutil
import stat
import subprocess
from pathlib import Path

from errors import Error

HERE = Path(__file__).parent
INSTALL = "install it with `./configure --install-deps`"


def build(path, kernel, script, modules=(), programs=(), files=None):
    """Write an initramfs to `path` whose init loads `modules` and runs `script`.

    `programs` are names in the host's PATH, or paths; `files` are {path in the guest: bytes}.
    """
    archive = Archive()
    archive.add("init", (HERE / "init").read_bytes(), 0o755)
    archive.add("mq/guest.sh", (HERE / "guest.sh").read_bytes())
    archive.add("mq/run", Path(script).read_bytes(), 0o755)
    for folder in ("proc", "sys", "dev", "tmp"):
        archive.add_folder(folder)
    add_busybox(archive)
    for program in programs:
        add_program(archive, program)
    add_modules(archive, kernel, modules)
    for name, data in (files or {}).items():
        archive.add(name, data)
    archive.write(path)


class Archive:
    """The contents of a cpio archive, by path."""

    def __init__(self):
        self._entries = {}      # path: (mode, bytes)

    def add(self, path, data, mode=0o644):
        self._put(path, stat.S_IFREG | mode, data)

    def add_link(self, path, target):
        self._put(path, stat.S_IFLNK | 0o777, target.encode())

    def add_folder(self, path):
        self._put(path, stat.S_IFDIR | 0o755, b"")

    def _put(self, path, mode, data):
        for parent in Path(path).parents:
            if str(parent) != ".":
                self._entries.setdefault(str(parent), (stat.S_IFDIR | 0o755, b""))
        self._entries[path] = mode, data

    def write(self, path):
        with open(path, "wb") as out:
            # Sorted, a folder comes before what is in it.
            for number, name in enumerate(sorted(self._entries), 1):
                self._write_entry(out, number, name, *self._entries[name])
            self._write_entry(out, 0, "TRAILER!!!", 0, b"")

    @staticmethod
    def _write_entry(out, number, name, mode, data):
        links = 2 if stat.S_ISDIR(mode) else 1
        fields = [number, mode, 0, 0, links, 0, len(data), 0, 0, 0, 0, len(name) + 1, 0]
        head = b"070701" + b"".join(b"%08X" % field for field in fields) + name.encode() + b"\0"
        for part in (head, data):
            out.write(part)
            out.write(bytes(-len(part) % 4))


def add_busybox(archive):
    busybox = find("busybox", "busybox-static")
    if libraries(busybox):
        raise Error(f"{busybox} is not the static one (package busybox-static); {INSTALL}")
    archive.add("bin/busybox", Path(busybox).read_bytes(), 0o755)
    for applet in run([busybox, "--list"]).split():
        if applet != "busybox":
            archive.add_link(f"bin/{applet}", "busybox")


def add_program(archive, name):
    """A program under /bin, its libraries where its loader found them here."""
    program = find(name, name)
    archive.add(f"bin/{Path(name).name}", Path(program).read_bytes(), 0o755)
    for library in libraries(program):
        archive.add(library.lstrip("/"), Path(library).read_bytes(), 0o755)


def find(name, package):
    path = shutil.which(name)
    if not path:
        raise Error(f"the guest needs {name} (package {package}), which is not here; {INSTALL}")
    return path


def libraries(program):
    """The shared libraries a program is loaded with, the loader included."""
    # ldd fails for a static program, which has none.
    shown = run(["ldd", program], check=False)
    missing = re.findall(r"^\s*(\S+) => not found", shown, re.M)
    if missing:
        raise Error(f"{program} does not run here: {missing[0]} is missing; {INSTALL}")
    return re.findall(r"^\s*(?:\S+ => )?(/\S+) \(0x", shown, re.M)


def run(command, check=True):
    return subprocess.run(command, check=check, text=True, stdin=subprocess.DEVNULL,
                          stdout=subprocess.PIPE, stderr=subprocess.DEVNULL).stdout


def add_modules(archive, kernel, names):
    """Modules and what they depend on, and the order to load them in, as mq/modules."""
    available = {module_name(path): path for path in kernel.modules.glob("kernel/**/*.ko*")}
    builtin = {module_name(Path(line))
               for line in (kernel.modules / "modules.builtin").read_text().split()}
    order = []

    def need(name):
        name = name.replace("-", "_")
        if name in builtin or name in order:
            return
        if name not in available:
            raise Error(f"kernel {kernel.version} has no module {name}")
        data = module_data(available[name])
        for dependency in module_dependencies(data):
            need(dependency)
        order.append(name)
        archive.add(f"mq/{name}.ko", data)

    for name in names:
        need(name)
    archive.add("mq/modules", "".join(f"{name}\n" for name in order).encode())


def module_name(path):
    return path.name.partition(".ko")[0].replace("-", "_")


def module_data(path):
    # Debian 13 compresses modules; busybox's insmod does not know every way to.
    data = path.read_bytes()
    return lzma.decompress(data) if path.suffix == ".xz" else data


def module_dependencies(data):
    """What a module says of itself. modules.dep is made when a kernel is installed; this is not."""
    found = re.search(rb"\0depends=([^\0]*)\0", data)
    return found.group(1).decode().split(",") if found and found.group(1) else []
