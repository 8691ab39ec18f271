"""Authors' own code, as a checkout that whoever measures brings along, in a process of its own."""

import os
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor

from privacy.errors import InvalidInputError

__all__ = ["commit_of", "require_same_gradient", "run_authors"]

_SECONDS = 7_200  # of one batch, at most


def commit_of(checkout: Path) -> str:
    """Return what was measured: the commit, or "unknown" where git does not say."""
    head = subprocess.run(  # noqa: S603 - a fixed command
        ["git", "-C", str(checkout), "rev-parse", "HEAD"],  # noqa: S607 - git, as it is found
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    return head.stdout.strip() or "unknown"


def run_authors(
    command: Sequence[str],
    *,
    checkout: Path,
    folder: Path,
    environment: Mapping[str, str] | None = None,
    way_out: str = "",
) -> None:
    """Run one batch of theirs.

    Args:
      command: Program and arguments.
      checkout: Of their repository, for the error.
      folder: Where it runs.
      environment: Beside this process's own.
      way_out: A sentence for whoever meets its failure.

    Raises:
      InvalidInputError: It failed: with its last line.
    """
    ran = subprocess.run(  # noqa: S603 - our own program
        [*command], cwd=folder, capture_output=True, text=True, timeout=_SECONDS, check=False,
        env={**os.environ, **(environment or {})},
    )  # fmt: skip
    if ran.returncode:
        last = (ran.stderr.strip().splitlines() or ["no word"])[-1]
        raise InvalidInputError(
            f"The authors' code in {checkout} failed with {command[0]}: {last} {way_out}".strip()
        )


def require_same_gradient(ours: Tensor, theirs: Tensor) -> None:
    """Refuse columns that are mapped wrongly between theirs and ours: they show here.

    Raises:
      InvalidInputError: Another gradient than theirs.
    """
    if not torch.allclose(ours, theirs, rtol=1e-3, atol=1e-5):
        raise InvalidInputError(
            f"Our columns do not give the authors' gradient: it differs by up to "
            f"{float((ours - theirs).abs().max()):.3g}. Another version of either?"
        )
