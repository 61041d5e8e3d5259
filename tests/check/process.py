# SPDX-License-Identifier: GPL-2.0-or-later
# Runs one test's process: its own session, scratch and log, a deadline, and nothing left behind.
#
# The runner is a child subreaper, so that whatever a test puts in the background
# (qemu-nbd --fork, -daemonize) becomes the runner's own child when its parent is gone.
# Such a child is told by a mark in its environment, named in the log, and killed.

import ctypes
import os
import shutil
import signal
import subprocess
import tempfile
import threading
import time
from pathlib import Path
from typing import List, Optional, Set

from .model import Finished, Test

PR_SET_CHILD_SUBREAPER = 36
MARK = 'MQ_CHECK_TEST'
GRACE = 300     # seconds for what a test has just told to end, on a host that stands still


class Scratch:
    """Where tests may write: files under build/check/tmp, sockets under a short /tmp path.

    UNIX socket paths end at 107 bytes whatever the length of the clone's path, so TMPDIR is
    given as /tmp/mqc-XXXXXX/t/<n>, where t is a symbolic link to build/check/tmp.
    """

    def __init__(self, out: Path):
        self.files = out / 'tmp'
        shutil.rmtree(self.files, ignore_errors=True)
        self.files.mkdir(parents=True)
        self.short = Path(tempfile.mkdtemp(prefix='mqc-', dir='/tmp'))
        (self.short / 't').symlink_to(self.files)
        self._lock = threading.Lock()
        self._n = 0

    def new(self):
        """A fresh (files, sockets) pair of directories for one test."""
        with self._lock:
            self._n += 1
            files, socks = self.short / 't' / str(self._n), self.short / str(self._n)
        files.mkdir()
        socks.mkdir()
        return files, socks

    def close(self) -> None:
        for d in (self.files, self.short):
            shutil.rmtree(d, ignore_errors=True)


class Runner:
    """Starts and ends processes for any number of threads."""

    def __init__(self, scratch: Scratch, grace: float):
        self.scratch = scratch
        self.grace = grace
        self._lock = threading.Lock()       # guards _running against the orphan hunt
        self._running: Set[subprocess.Popen] = set()
        self._stopped = False
        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)

    def run(self, test: Test, log: Path, env: dict) -> Finished:
        files, socks = self.scratch.new()
        mark = files.name
        env = {**env, **test.env, MARK: mark, 'TMPDIR': str(files),
               'TEST_DIR': str(files), 'SOCK_DIR': str(socks)}
        argv = [a.replace('@TMP@', str(files)) for a in test.argv]
        log.parent.mkdir(parents=True, exist_ok=True)
        err = log.with_suffix('.err')
        with open(log, 'wb') as o, open(err, 'wb') as e:
            with self._lock:
                if self._stopped:
                    raise KeyboardInterrupt
                proc = subprocess.Popen(argv, cwd=test.cwd or files, env=env, stdout=o, stderr=e,
                                        stdin=subprocess.DEVNULL, start_new_session=True)
                self._running.add(proc)
            timed_out = False
            try:
                proc.wait(test.deadline)
            except subprocess.TimeoutExpired:
                timed_out = True
                killpg(proc.pid)
                proc.wait()
            left = self._end_orphans(mark, grace=0 if timed_out else self.grace)
            killpg(proc.pid)
            with self._lock:
                self._running.discard(proc)
        out, errors = (p.read_text(errors='replace') for p in (log, err))
        done = Finished(proc.returncode, timed_out, test.deadline, out, errors, files, left)
        with open(log, 'w', encoding='utf-8') as f:
            f.write(f'$ {" ".join(argv)}\n{out}')
            if errors:
                f.write(f'--- stderr ---\n{errors}')
            f.write(f'--- {done.how_it_ended()} ---\n')
            for name in left:
                f.write(f'--- left running, killed: {name} ---\n')
        err.unlink()
        return done

    def clean(self, done: Finished) -> None:
        unmount_below(done.tmp)
        shutil.rmtree(done.tmp, ignore_errors=True)
        shutil.rmtree(self.scratch.short / done.tmp.name, ignore_errors=True)

    def stop(self) -> None:
        """Ends everything at once (Ctrl-C); runs still in progress return."""
        with self._lock:
            self._stopped = True
            for proc in self._running:
                killpg(proc.pid)

    def close(self) -> None:
        self._end_orphans(None)
        self.scratch.close()

    def _end_orphans(self, mark: Optional[str], grace: float = 0) -> List[str]:
        """Reaps one test's background processes (all: None); kills and names those that stay."""
        names, beyond = [], set()
        give_up = time.monotonic() + grace
        while True:
            with self._lock:
                alive = [c for c in self._reap(mark) if c[0] not in beyond]
                if alive and (self._stopped or time.monotonic() >= give_up):
                    for pid, name in alive:
                        names.append(f'{name} (pid {pid})')
                        try:
                            os.kill(pid, signal.SIGKILL)
                            os.waitpid(pid, 0)
                        except PermissionError:     # another user's, through sudo
                            beyond.add(pid)
            if not alive:
                return names
            time.sleep(0.02)

    def _reap(self, mark: Optional[str]):
        started = {p.pid for p in self._running}
        alive = []
        for pid, state, name in children():
            if pid in started:
                continue
            if state == 'Z':
                os.waitpid(pid, os.WNOHANG)
            elif mark is None or marked(pid, mark):
                alive.append((pid, name))
        return alive


def killpg(pid: int) -> None:
    try:
        os.killpg(pid, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):
        pass


def children():
    """(pid, state, name) of this process's children."""
    me = os.getpid()
    for entry in os.listdir('/proc'):
        if not entry.isdigit():
            continue
        try:
            stat = Path('/proc', entry, 'stat').read_text()
        except OSError:
            continue
        name, rest = stat[stat.index('(') + 1:stat.rindex(')')], stat[stat.rindex(')') + 2:].split()
        if int(rest[1]) == me:
            yield int(entry), rest[0], name


def marked(pid: int, mark: str) -> bool:
    try:
        return f'{MARK}={mark}'.encode() in Path(f'/proc/{pid}/environ').read_bytes().split(b'\0')
    except OSError:
        return False


def unmount_below(path: Path) -> None:
    """A killed FUSE export leaves its mount point; it must not keep the scratch."""
    real = os.path.realpath(path) + '/'
    try:
        mounts = Path('/proc/self/mounts').read_text().splitlines()
    except OSError:
        return
    for line in mounts:
        point = line.split()[1].encode().decode('unicode_escape')
        if point.startswith(real):
            for cmd in (['fusermount3', '-uz', point], ['umount', '-l', point]):
                if shutil.which(cmd[0]) and subprocess.run(cmd, stderr=subprocess.DEVNULL,
                                                           check=False).returncode == 0:
                    break
