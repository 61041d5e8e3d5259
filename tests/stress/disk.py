# SPDX-License-Identifier: GPL-2.0-or-later
# A disk in a raw file that is under load, and what is done to it meanwhile: which way requests go is
# seen by query-block-queues.

import contextlib
import os
import subprocess
import time

from programs import BUILD, KINDS, MIB, SECONDS, counts, loaded

SIZE = 32 * MIB
FORCED_OFF = os.environ.get("QEMU_FAST_PATH") == "off"


class Disk:
    """The one device or export of a program, on a raw file."""

    def __init__(self, folder):
        self.folder = folder
        self.guest = None       # ringload's process

    def runs_in(self, program):
        self.program = program
        self.command = program.command

    def file(self, name="image", **options):
        return {"driver": "file", "node-name": f"{name}-file", "aio": "io_uring",
                "filename": str(self.folder / name), "cache": {"direct": True}, **options}

    def raw(self, name="image", **options):
        return {"driver": "raw", "node-name": name, "file": f"{name}-file", **options}

    def one(self):
        one, = (one for one in self.program.queues() if one.get("export", "e0") == "e0")
        return one

    def total(self, way):
        return sum(counts(self.one(), way)[kind] for kind in KINDS)

    @contextlib.contextmanager
    def load(self, *options):
        with loaded(self.program, *options) as self.guest:
            yield self.guest

    def loaded(self):
        """Whether there is load still: it may end while something is done to the disk."""
        return self.guest.poll() is None

    def wait(self, what, true):
        deadline = time.monotonic() + SECONDS
        while not true():
            assert time.monotonic() < deadline, (what, self.one())
            time.sleep(0.002)

    def goes(self, way):
        """Some more requests go this way from now on, if the load goes on for so long."""
        if FORCED_OFF:
            way = "ordinary"
        before = self.total(way)
        self.wait(f"requests go the {way} way",
                  lambda: self.total(way) > before + 50 or not self.loaded())

    def again_and_again(self, deed, seconds):
        """Once at least, and while there is load; how often."""
        end, times = time.monotonic() + seconds, 0
        while not times or time.monotonic() < end and self.loaded():
            deed(self)
            times += 1
        return times

    def closed(self, *reasons):
        if FORCED_OFF:
            reasons = [*reasons, "switched-off"]
        self.wait(f"closed for {reasons}",
                  lambda: set(reasons) <= set(self.one()["reasons"]))
        self.goes("ordinary")

        def no_more():
            before = self.total("fast")
            self.goes("ordinary")
            return self.total("fast") == before

        # one may be on its way that has seen the path open
        self.wait("requests are fast no more", no_more)

    def open(self):
        if not FORCED_OFF:
            self.wait("open", lambda: not self.one()["reasons"])
        self.goes("fast")

    def create(self, name, size=SIZE):
        with open(self.folder / name, "wb") as image:
            image.truncate(size)

    def add_raw(self, name):
        self.create(name)
        self.command("blockdev-add", self.file(name))
        self.command("blockdev-add", self.raw(name))

    def reopen(self, *nodes):
        self.command("blockdev-reopen", {"options": list(nodes)})

    def job(self, status, name="job"):
        self.wait(f"job is {status}", lambda: [job["status"] for job in
                                               self.command("query-jobs")
                                               if job["id"] == name] == [status])

    def job_gone(self, name="job"):
        self.wait("job has ended", lambda: name not in [job["id"] for job in
                                                        self.command("query-jobs")])


# -- what is done to it; the path is open again then

def reopened_file(it):
    """Without flushes, and with: the path is resolved anew each time."""
    it.reopen(it.file(cache={"direct": True, "no-flush": True}))
    it.open()
    assert FORCED_OFF or it.one()["reasons"] == []
    it.reopen(it.file())
    it.open()


def snapshot_and_commit(it):
    """An overlay takes the writes, and gives them back."""
    it.create("overlay", 0)
    subprocess.run([BUILD / "qemu-img", "create", "-q", "-f", "qcow2", it.folder / "overlay",
                    str(SIZE)], check=True)
    it.command("blockdev-add", it.file("overlay"))
    it.command("blockdev-add", {"driver": "qcow2", "node-name": "overlay", "file": "overlay-file",
                                "backing": None})
    it.command("blockdev-snapshot", {"node": "image", "overlay": "overlay"})
    it.closed("image-format")
    it.command("block-commit", {"job-id": "job", "device": "overlay"})
    it.job("ready")
    it.command("job-complete", {"id": "job"})
    it.job_gone()
    it.command("blockdev-del", {"node-name": "overlay"})
    it.command("blockdev-del", {"node-name": "overlay-file"})
    it.open()


def mirror_and_pivot(it):
    """The disk is copied to another file, which it then uses; and back."""
    for here, there in (("image", "copy"), ("copy", "image")):
        if there == "copy":
            it.add_raw(there)
        it.command("blockdev-mirror", {"job-id": "job", "device": here, "target": there,
                                       "sync": "full"})
        it.closed("filter-node")
        it.job("ready")
        it.command("job-complete", {"id": "job"})
        it.job_gone()
        it.open()
    it.command("blockdev-del", {"node-name": "copy"})
    it.command("blockdev-del", {"node-name": "copy-file"})


def resize(it):
    """The path changes, and is open again; the file grows, and ends where it was."""
    for size in (SIZE + MIB, SIZE):
        it.command("block_resize", {"node-name": "image", "size": size})
    it.open()
