"""Models that a study is given by name: what names their records, whatever folder a file lies in.

>>> called_model("mlp"), called_model("folder/mine.py:make")
('mlp', 'mine.make')
"""

import hashlib
from pathlib import Path
from typing import Any

from aggregation.models import sized_kinds
from aggregation.models.torch_model import SHIPPED
from privacy._foreign import read_file

__all__ = ["called_model", "identity"]

_LARGEST = 1 << 20  # bytes of a model's file


def called_model(name: str) -> str:
    """Return a model's short name: of a file's factory, file and factory without the folder."""
    path, colon, factory = name.rpartition(":")
    return f"{Path(path).stem}.{factory}" if colon else name


def identity(name: str) -> dict[str, Any]:
    """Return what a record's config says of a model: nothing of a written-out one but its name.

    Of a torch module: its short name, and the SHA-256 of its file, so that a changed file never
    meets old numbers.

    Raises:
      CorruptMessageError: The file can't be read.
    """
    if name in sized_kinds():
        return {}
    path = Path(SHIPPED.get(name, name).rpartition(":")[0])
    content = read_file(path, most=_LARGEST, what="The model's file")
    return {"model": called_model(name), "source": hashlib.sha256(content).hexdigest()}
