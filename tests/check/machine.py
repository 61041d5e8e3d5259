# SPDX-License-Identifier: GPL-2.0-or-later
# What the machine must allow for some tests.

import ctypes
import os
import shutil
import socket

IO_URING_SETUP = 425        # the same number on every architecture


def missing(need: str) -> str:
    """Why the machine does not offer it, or ''."""
    return NEEDS[need]() if need else ''


def io_uring_missing() -> str:
    """Containers often forbid it, and sysctl kernel.io_uring_disabled can."""
    libc = ctypes.CDLL(None, use_errno=True)
    params = ctypes.create_string_buffer(120)       # struct io_uring_params
    fd = libc.syscall(IO_URING_SETUP, 1, params)
    if fd < 0:
        return f'no usable io_uring: {os.strerror(ctypes.get_errno())}'
    os.close(fd)
    return ''


def fuse_missing() -> str:
    if not os.access('/dev/fuse', os.R_OK | os.W_OK):
        return 'no usable /dev/fuse'
    if os.geteuid() != 0 and not shutil.which('fusermount3'):
        return 'no usable /dev/fuse without fusermount3'
    return ''


def kvm_broken() -> str:
    """Some virtual machines offer /dev/kvm and run no guest under it.

    Without the device QEMU takes TCG; with it, a test that asks for KVM first has a guest that
    stops with an internal error, sooner or later.
    """
    if not os.access('/dev/kvm', os.R_OK | os.W_OK):
        return ''
    with open('/proc/cpuinfo', encoding='utf-8') as info:
        flags = next((line.split() for line in info if line.startswith('flags')), None)
    if flags is not None and not {'vmx', 'svm'} & set(flags):
        return 'KVM is offered here, but the CPU has neither vmx nor svm: no guest runs'
    return ''


def localhost_missing() -> str:
    """A root made by debootstrap has no /etc/hosts."""
    try:
        socket.gethostbyname('localhost')
    except OSError:
        return 'localhost does not resolve'
    return ''


NEEDS = {'io_uring': io_uring_missing, 'fuse': fuse_missing, 'kvm': kvm_broken,
         'localhost': localhost_missing}
