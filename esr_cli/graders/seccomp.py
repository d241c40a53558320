"""Builds a filter for `bwrap --seccomp` that refuses unneeded system calls.

rlimits bound address space, open files and file size, but not the resources of these calls: SysV
memory persists without being mapped, a new user namespace can mount its own file systems, and a
socket to the hypervisor (AF_VSOCK) bypasses network namespaces. The filter also refuses new
processes but allows threads, so the memory of a run is the address space of one process. The
numbers are those of the kernel's x86-64 and arm64 tables. Other machines have no filter, only the
rlimits.
"""

from __future__ import annotations

import errno
import platform
import struct

ALLOW, KILL, REFUSE = 0x7FFF0000, 0x80000000, 0x00050000
LOAD, EQUAL, AT_LEAST, HAS_BIT, RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
NUMBER, ARCHITECTURE, FIRST_ARGUMENT = 0, 4, 16
THREAD_FLAG = 0x00010000
SOCKET_FAMILIES = (1, 2, 10)  # AF_UNIX, AF_INET, AF_INET6
X32 = 0x40000000

# The same numbers on both architectures: io_uring, mounts by descriptor, secret memory.
SHARED = (425, 426, 427, 428, 429, 430, 431, 432, 433, 442, 447)
# fork vfork; shmget msgget semget; memfd_create; mq_open; add_key request_key keyctl; bpf
# perf_event_open userfaultfd; mount unshare setns ptrace; process_vm_readv process_vm_writev
X86_64 = (57, 58, 29, 68, 64, 319, 240, 248, 249, 250, 321, 298, 323, 165, 272, 308, 101, 310, 311)
ARM64 = (194, 186, 190, 279, 180, 217, 218, 219, 280, 241, 282, 40, 97, 268, 117, 270, 271)
# The audit architecture; the refused calls; clone, clone3, socket.
MACHINES = {
    "x86_64": (0xC000003E, X86_64, 56, 435, 41),
    "aarch64": (0xC00000B7, ARM64, 220, 435, 198),
}


def program(machine: str | None = None) -> bytes | None:
    """Returns the filter as classic BPF, or None for an unknown machine."""
    entry = MACHINES.get(machine or platform.machine())
    if entry is None:
        return None
    architecture, refused, clone, clone3, socket = entry
    refuse = REFUSE | errno.EPERM
    steps = [_load(ARCHITECTURE), _step(EQUAL, architecture, 1, 0), _return(KILL), _load(NUMBER)]
    if machine_has_x32(architecture):
        steps += [_step(AT_LEAST, X32, 0, 1), _return(refuse)]
    for number in (*refused, *SHARED):
        steps += [_step(EQUAL, number, 0, 1), _return(refuse)]
    # ENOSYS makes the C library fall back to clone, whose flags a filter can read.
    steps += [_step(EQUAL, clone3, 0, 1), _return(REFUSE | errno.ENOSYS)]
    steps += [_step(EQUAL, clone, 0, 4), _load(FIRST_ARGUMENT)]
    steps += [_step(HAS_BIT, THREAD_FLAG, 0, 1), _return(ALLOW), _return(refuse)]
    count = len(SOCKET_FAMILIES)
    steps += [_step(EQUAL, socket, 0, count + 2), _load(FIRST_ARGUMENT)]
    steps += [
        _step(EQUAL, family, count - index, 0) for index, family in enumerate(SOCKET_FAMILIES)
    ]
    return b"".join([*steps, _return(refuse), _return(ALLOW)])


def machine_has_x32(architecture: int) -> bool:
    """Returns whether the machine has the x32 ABI: the same calls under other numbers."""
    return architecture == MACHINES["x86_64"][0]


def _step(code: int, value: int, if_true: int = 0, if_false: int = 0) -> bytes:
    return struct.pack("=HBBI", code, if_true, if_false, value)


def _load(offset: int) -> bytes:
    return _step(LOAD, offset)


def _return(value: int) -> bytes:
    return _step(RETURN, value)
