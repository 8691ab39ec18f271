"""Published and measured values, each with its source."""

import json
from pathlib import Path
from typing import Any

__all__ = ["golden"]


def golden(name: str) -> dict[str, Any]:
    """Read ``tests/golden/privacy_<name>.json``."""
    path = Path(__file__).parents[1] / "golden" / f"privacy_{name}.json"
    found: dict[str, Any] = json.loads(path.read_text())
    return found
