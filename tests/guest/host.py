# SPDX-License-Identifier: GPL-2.0-or-later
# What guest tests need of this host: their options, QEMU, kernel, accelerator, a work folder.
#
#     with Host(arguments) as host:
#         with host.vm("name", initramfs=...) as guest:

import shutil
import sys
import tempfile
from pathlib import Path

import accel
import kernel
from errors import Error, GuestError
from vm import VM

ROOT = Path(__file__).resolve().parent.parent.parent


def add_arguments(parser):
    """The options that every guest test takes."""
    parser.add_argument("--build", type=Path, default=ROOT / "build" / "qemu",
                        help="QEMU's build folder (default: build/qemu)")
    parser.add_argument("--accel", choices=("kvm", "tcg"), help="default: what works here")
    parser.add_argument("--memory", default="512M", help="the guest's (default: 512M)")
    parser.add_argument("--deadline", type=float, default=600, metavar="SECONDS",
                        help="for each guest (default: 600)")
    parser.add_argument("--no-affinity", dest="affinity", action="store_false",
                        help="do not bind IOThreads to processors")
    parser.add_argument("--work", type=Path, metavar="FOLDER",
                        help="where to make the work folder (default: in the build folder)")
    parser.add_argument("--keep", action="store_true",
                        help="keep the work folder when all went well, too")


class Host:
    """Inside its `with` there is a work folder; it stays after an error, which then names it."""

    def __init__(self, arguments):
        self.arguments = arguments
        self.qemu = (arguments.build / "qemu-system-x86_64").resolve()
        if not self.qemu.is_file():
            raise Error(f"there is no {self.qemu}; build QEMU first: ./configure && make")
        self.kernel = kernel.get()

    def __enter__(self):
        # Beside the build rather than in /tmp, which is often memory that takes no O_DIRECT.
        self.work = Path(tempfile.mkdtemp(prefix="guest.", dir=self.arguments.work or
                                          self.arguments.build))
        try:
            self.accel = accel.choose(self, self.arguments.accel)
        except BaseException as error:
            self.__exit__(type(error), error, None)
            raise
        return self

    def __exit__(self, kind, error, traceback):
        # An interrupt, or an Error that says what is missing here, needs no logs.
        plain = not isinstance(error, Exception) or (isinstance(error, Error) and
                                                     not isinstance(error, GuestError))
        if plain and not self.arguments.keep:
            shutil.rmtree(self.work)
        elif isinstance(error, Error):
            error.args = (f"{error}\n  logs: {self.work}",)
        else:
            print(f"logs: {self.work}", file=sys.stderr)

    def vm(self, name, **options):
        """A guest whose logs are in the work folder under its name; options as for VM."""
        options.setdefault("seconds", self.arguments.deadline)
        options.setdefault("memory", self.arguments.memory)
        options["accel"] = options.get("accel") or self.accel
        return VM(self.qemu, self.kernel, self.work / name, **options)
