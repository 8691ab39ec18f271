"""A file of model factories as it stands at one site: its bytes, read once, without running them.

Plans name a model by the SHA-256 of such a file. Nothing here imports torch.
"""

import hashlib
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from aggregation.models.torch_model import LARGEST
from privacy.errors import InvalidInputError
from privacy.files import read_regular

__all__ = ["ModelFile"]

_LARGEST_FILE = 1 << 20
_LARGEST_FIRST = 8 * LARGEST + 4096  # bytes of parameters, and their header


@dataclass(frozen=True)
class ModelFile:
    """A file of factories, and the first parameters beside it.

    Attributes:
      path: Where it stood when it was read.
      content: Its bytes: what is digested is what runs.
      beside: The bytes of ``FILE.first.npy``; empty: there is none.
    """

    path: Path
    content: bytes
    beside: bytes = b""

    @property
    def digest(self) -> str:
        """SHA-256 of the file's bytes, hex."""
        return hashlib.sha256(self.content).hexdigest()

    @classmethod
    def read(cls, path: Path) -> "ModelFile":
        """Read a file, and ``FILE.first.npy`` beside it where that is.

        Raises:
          InvalidInputError: One of them can't be read, or is too large.
        """
        path = path.absolute()
        try:
            size = path.stat().st_size
        except OSError:
            size = 0  # told below
        if size > _LARGEST_FILE:
            raise InvalidInputError(
                f"The model file {path} has {size:,} bytes; expected at most {_LARGEST_FILE:,}: "
                "somebody has to read it."
            )
        try:
            content = read_regular(path, largest=_LARGEST_FILE)
        except OSError as error:
            raise InvalidInputError(
                f"Can't read the model file {path}: {error.strerror}. Name it as FILE:FACTORY "
                "where a model is trained, as FILE elsewhere."
            ) from error
        beside = path.with_suffix(".first.npy")
        try:
            return ModelFile(path, content, read_regular(beside, largest=_LARGEST_FIRST))
        except FileNotFoundError:
            return ModelFile(path, content)
        except OSError as error:
            raise InvalidInputError(f"Can't read {beside}: {error.strerror}.") from error

    def first_parameters(self, dim: int) -> NDArray[np.float64] | None:
        """Return what stands beside the file; None: nothing does.

        Args:
          dim: How many parameters the model has.

        Raises:
          InvalidInputError: It is no vector of ``dim`` finite float64 numbers.
        """
        if not self.beside:
            return None
        path = self.path.with_suffix(".first.npy")
        try:
            vector = np.load(BytesIO(self.beside), allow_pickle=False)
        except (OSError, ValueError, EOFError) as error:
            raise InvalidInputError(f"{path} is no array of numpy's: {error}.") from error
        if vector.shape != (dim,) or vector.dtype != np.float64 or not np.isfinite(vector).all():
            raise InvalidInputError(
                f"{path} holds {vector.dtype} {vector.shape}; expected ({dim},) finite float64 "
                "numbers, the parameters in the order of the module's named_parameters()."
            )
        return np.asarray(vector)
