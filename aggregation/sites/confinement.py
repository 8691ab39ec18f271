"""How a process that will hold a stranger's code gives up what it doesn't need, for good.

Linux alone, and nothing but the standard library: a process leaves its network before it has
threads, so before numpy is imported.

What a process here can't do once ``shut`` has returned what it is to return: open a file, make a
socket, or get any other descriptor, whatever code it runs. It can still compute for ever, use up
memory, and send signals to its own user's processes.
"""

import ctypes
import os
import resource
import socket

__all__ = ["SHUT", "keep_from_debuggers", "leave_network", "shut"]

SHUT = "no file or socket can be opened"
"""What ``shut`` returns where that is so."""

_NEW_USER, _NEW_NETWORK, _NEW_IPC = 0x10000000, 0x40000000, 0x08000000
_SET_DUMPABLE, _SET_NO_NEW_PRIVILEGES = 4, 38
_CAPABILITIES_3 = 0x20080522


def keep_from_debuggers() -> None:
    """Let no process of the same user read this one's memory; nor is there a core dump."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    _libc().prctl(_SET_DUMPABLE, 0, 0, 0, 0)


def leave_network() -> str:
    """Move to a network of this process alone, which leads nowhere; return what came of it.

    Needs a kernel that lets every user make namespaces; ``shut`` does not.
    """
    if _libc().unshare(_NEW_USER | _NEW_NETWORK | _NEW_IPC) == 0:
        return "a network of its own, which leads nowhere"
    return f"no network of its own: {os.strerror(ctypes.get_errno())}"


def shut() -> str:
    """Give up new descriptors, new processes and all capabilities; return what came of it.

    What is open stays open. To be called when everything is imported.
    """
    libc = _libc()
    libc.prctl(_SET_NO_NEW_PRIVILEGES, 1, 0, 0, 0)
    # A limit of 0 stops every call that makes a descriptor, also where one was closed before.
    resource.setrlimit(resource.RLIMIT_NOFILE, (0, 0))
    resource.setrlimit(resource.RLIMIT_NPROC, (0, 0))
    # Without capabilities no limit is raised again, also by root.
    header = (ctypes.c_uint32 * 2)(_CAPABILITIES_3, 0)
    libc.capset(header, (ctypes.c_uint32 * 6)())
    return SHUT if not _can_open() else "files and sockets can be opened"


def _can_open() -> bool:
    """Try what must fail now."""
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
    except (ValueError, OSError):
        pass
    else:
        return True
    try:
        os.close(os.open(os.devnull, os.O_RDONLY))
    except OSError:
        pass
    else:
        return True
    try:
        socket.socket().close()
    except OSError:
        return False
    return True


def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)
