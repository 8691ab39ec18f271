"""Files that an adversary may have laid, a crash may cut, and a disk may refuse.

Whatever is wrong with a file arrives as one kind of error, ``OSError``, whose ``strerror`` says it
in words; whoever asked puts its own sentence around it and raises an ``InpatientError``. Nothing
here waits for ever: not at a pipe without a writer, not at a lock, not at a device without end.

>>> read_regular(Path("/dev/null"), largest=10)
Traceback (most recent call last):
    ...
OSError: [Errno 22] it is not a regular file (a device)
"""

import errno
import os
import secrets
import stat
import time
from pathlib import Path

__all__ = [
    "create_durably",
    "identity_of",
    "lock_file",
    "make_folder",
    "open_regular",
    "read_regular",
    "sync_folder",
    "write_durably",
]

_KINDS = {
    stat.S_IFIFO: "a named pipe",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
    stat.S_IFDIR: "a folder",
    stat.S_IFSOCK: "a socket",
}


def open_regular(path: Path, flags: int = os.O_RDONLY, mode: int = 0o644) -> int:
    """Open a regular file and nothing else; return its descriptor.

    Args:
      path: The file.
      flags: As for ``os.open``; ``O_NOFOLLOW`` refuses a symbolic link.
      mode: Permissions of a file that is made.

    Raises:
      OSError: There is none, it is no regular file, or the system refuses.
    """
    try:
        # O_NONBLOCK: a pipe without a writer would be waited for. On regular files it does nothing.
        descriptor = os.open(path, flags | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY, mode)
    except ValueError as error:  # a zero byte, or what no file system can spell
        raise OSError(errno.EINVAL, "no file can have this name") from error
    except OSError as error:
        if error.errno == errno.ELOOP and flags & os.O_NOFOLLOW:
            raise OSError(errno.ELOOP, "it is a symbolic link; name the file itself") from error
        raise
    kind = stat.S_IFMT(os.fstat(descriptor).st_mode)
    if kind != stat.S_IFREG:
        os.close(descriptor)
        kind_name = _KINDS.get(kind, "something else")
        raise OSError(errno.EINVAL, f"it is not a regular file ({kind_name})")
    return descriptor


def read_regular(path: Path, *, largest: int, secret: bool = False) -> bytes:
    """Return the content of a regular file of at most ``largest`` bytes.

    Args:
      path: The file.
      largest: Bytes that are read at most.
      secret: Whether nobody but its owner may have had a look at it.

    Raises:
      PermissionError: It is to be secret, and its mode lets others read or write it.
      OSError: As ``open_regular``; or it is larger, in which case it was not read.
    """
    with os.fdopen(open_regular(path), "rb") as file:
        held = os.fstat(file.fileno())
        size, mode = held.st_size, stat.S_IMODE(held.st_mode)
        if secret and mode & 0o077:
            raise PermissionError(errno.EACCES, f"it has mode {mode:04o}: others can read it")
        # A file may grow, or lie about its size as those under /proc do: count what arrives too.
        content = file.read(largest + 1) if size <= largest else b""
    if size > largest or len(content) > largest:
        raise OSError(errno.EFBIG, f"it is larger than the {largest} bytes that are read of it")
    return content


def identity_of(descriptor: int, path: Path) -> tuple[int, int]:
    """Return the device and number of an open file that ``path``, and no other name, stands for.

    Raises:
      OSError: The path was removed or stands for another file by now, or the file has a second
        name (a hard link).
    """
    held = os.fstat(descriptor)
    try:
        named = path.lstat()
    except OSError as error:
        raise OSError(error.errno, f"it was taken away meanwhile ({error.strerror})") from error
    if (held.st_dev, held.st_ino) != (named.st_dev, named.st_ino):
        raise OSError(errno.ESTALE, "another file was put in its place meanwhile")
    if held.st_nlink != 1:
        raise OSError(
            errno.EMLINK,
            f"it has {held.st_nlink} names (hard links), beside which its other files would be "
            "missed; keep one name, and copy instead of linking",
        )
    return held.st_dev, held.st_ino


def lock_file(descriptor: int, *, seconds: float) -> None:
    """Lock an open file against every other opening of it, in this process too.

    The lock belongs to the file itself, under whatever name, and ends with the descriptor. There is
    no second file that could be deleted, and no weaker lock where a file system has none.

    Raises:
      TimeoutError: Another has held it for so long.
      OSError: This system, or this file system, has no such lock.
    """
    try:
        import fcntl
    except ImportError as error:
        raise OSError(errno.ENOSYS, "this system can't lock files (flock)") from error
    end, pause = time.monotonic() + seconds, 0.0005
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            if time.monotonic() >= end:
                raise TimeoutError(errno.ETIMEDOUT, "another holds its lock") from error
        except OSError as error:
            raise OSError(
                error.errno, f"its file system can't lock it (flock: {error.strerror})"
            ) from error
        else:
            return
        time.sleep(pause)
        pause = min(2 * pause, 0.05)


def make_folder(folder: Path, *, mode: int = 0o777) -> None:
    """Make a folder and those above it, unless it is there.

    Args:
      folder: The folder.
      mode: Of the folder itself, where it is made; the process's mask takes bits away.

    Raises:
      OSError: The system refuses.
    """
    try:
        folder.mkdir(mode=mode, parents=True, exist_ok=True)
    except ValueError as error:
        raise OSError(errno.EINVAL, "no folder can have this name") from error
    except FileExistsError as error:
        raise OSError(errno.ENOTDIR, "a file stands where its folder has to be") from error


def write_durably(path: Path, content: bytes, *, mode: int = 0o644) -> None:
    """Replace a file so that a crash leaves the old or the new one, whole; its folder is made.

    Raises:
      OSError: The disk refuses; the old file stands.
    """
    # A name nobody can foresee: two writers never share it, and no link lies in wait under it.
    partial = path.with_name(f".{secrets.token_hex(8)}.tmp")
    _create(partial, content, mode)
    try:
        partial.replace(path)
    except OSError:
        partial.unlink(missing_ok=True)
        raise
    # The folder waits for its new name alone: a lost partial name leaves the old file as it was.
    sync_folder(path.parent)


def create_durably(path: Path, content: bytes, *, mode: int = 0o644) -> None:
    """Make a new file, whole or not at all, unless the process dies; its folder is made.

    Raises:
      FileExistsError: Something stands there already; it is left as it is.
      OSError: The disk refuses; what was begun is removed.
    """
    _create(path, content, mode)
    try:
        sync_folder(path.parent)
    except OSError:
        path.unlink(missing_ok=True)
        raise


def _create(path: Path, content: bytes, mode: int) -> None:
    """Make a new file whose content is on the disk; its name may not be."""
    make_folder(path.parent)
    descriptor = open_regular(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, mode)
    try:
        with os.fdopen(descriptor, "wb") as file:
            os.fchmod(descriptor, mode)  # whatever the umask
            file.write(content)
            file.flush()
            os.fsync(descriptor)
    except OSError:
        path.unlink(missing_ok=True)
        raise


def sync_folder(folder: Path) -> None:
    """Wait until the disk knows which files a folder has.

    Raises:
      OSError: It can't.
    """
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
