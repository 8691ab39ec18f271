"""A folder in which somebody else's server keeps what it sent and what it got, update by update.

``updates.json`` lists them; the weights lie beside it as ``.npz``, each array under its name. Such
a folder is written by the recorders for Flower and NVFLARE, and read without either. Whoever hands
it over may have written anything: it is read as an adversary's (``capture.files``).
"""

import io
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from privacy._foreign import json_text, parse_json, quoted, read_file
from privacy.errors import CorruptMessageError, InvalidInputError
from privacy.files import make_folder, write_durably
from privacy.ledger.forms import (
    Form,
    constant,
    form,
    listed,
    matching,
    name,
    optional,
    ruled,
    text,
    whole,
)

__all__ = ["INDEX", "SavedUpdate", "UpdateFolder", "read_updates"]

INDEX = "updates.json"
_BESIDE = matching(
    r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}\.(npz|safetensors)", "a file of weights in the same folder"
)
_MOST = 100_000
_LARGEST = 2**26


@dataclass(frozen=True)
class SavedUpdate(Form):
    """One client's answer in one round.

    Attributes:
      round: As the server counts.
      client: Its name.
      before: File of what it was sent.
      after: File of what it sent back.
      patients: How many it said that it trained on; None: it did not say.
    """

    round: int = ruled(whole(0, 10**6))
    client: str = ruled(name())
    before: str = ruled(_BESIDE)
    after: str = ruled(_BESIDE)
    patients: int | None = ruled(optional(whole(1, 10**9)))


@dataclass(frozen=True)
class _Index(Form):
    """What ``updates.json`` holds."""

    kind: str = ruled(constant("inpatient updates"))
    version: int = ruled(constant(1))
    program: str = ruled(text())
    updates: tuple[SavedUpdate, ...] = ruled(listed(form(SavedUpdate), least=0, most=_MOST))


class UpdateFolder:
    """The folder, open for writing; its index is whole after every update.

    Args:
      folder: Made if it lacks; refused if another run's updates lie there.
      program: Whose server keeps it, with its version.
    """

    def __init__(self, folder: Path, program: str) -> None:
        make_folder(folder)
        if (folder / INDEX).exists():
            raise InvalidInputError(
                f"{folder} holds the updates of another run. Name a folder that is new."
            )
        self._folder = folder
        self._program = program
        self._updates: list[SavedUpdate] = []
        self._before: dict[int, str] = {}

    def sent(self, round_: int, tensors: Mapping[str, NDArray[Any]]) -> None:
        """Keep the weights that clients are sent in a round."""
        if round_ not in self._before:
            self._before[round_] = self._keep(f"r{round_}-before.npz", tensors)

    def got(
        self,
        round_: int,
        client: str,
        tensors: Mapping[str, NDArray[Any]],
        *,
        patients: int | None = None,
    ) -> None:
        """Keep the weights that a client sends back; those of its round were kept before."""
        after = self._keep(f"r{round_}-{len(self._updates)}.npz", tensors)
        self._updates.append(SavedUpdate(round_, client, self._before[round_], after, patients))
        index = _Index("inpatient updates", 1, self._program, tuple(self._updates))
        write_durably(self._folder / INDEX, json_text(index.to_json()).encode() + b"\n")

    def _keep(self, file: str, tensors: Mapping[str, NDArray[Any]]) -> str:
        content = io.BytesIO()
        np.savez(content, **tensors)  # type: ignore[arg-type]  # arrays by name
        write_durably(self._folder / file, content.getvalue())
        return file


def read_updates(folder: Path, *, program: str) -> tuple[SavedUpdate, ...]:
    """Read which updates a folder holds.

    Args:
      folder: Holds ``updates.json``.
      program: How the name of the program begins that kept them, such as ``flwr``.

    Raises:
      CorruptMessageError: There is no index, or it is none.
      InvalidInputError: Another program kept them, or it holds none.
    """
    content = read_file(folder / INDEX, most=_LARGEST, what="The index of updates")
    try:
        index = _Index.from_json(parse_json(content, what="It", most=_LARGEST))
    except InvalidInputError as error:
        raise CorruptMessageError(f"{quoted(INDEX)} is no index of updates: {error}") from error
    if not index.program.startswith(program):
        raise InvalidInputError(
            f"The updates in {quoted(folder.name)} were kept by {quoted(index.program)}, not by "
            f"{program}."
        )
    if not index.updates:
        raise InvalidInputError(f"{quoted(folder.name)} holds no updates: no round was finished.")
    return index.updates
