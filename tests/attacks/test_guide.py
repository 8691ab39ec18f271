"""The guide is true: its code runs, in order, and its attack does what the text says."""

import re
from pathlib import Path
from typing import Any

import pytest

from aggregation.registry import Registry
from attacks import suite

GUIDE = Path(__file__).parents[2] / "docs" / "write-an-attack.md"


def test_the_guide_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(suite, "ATTACKS", Registry("attack", dict(suite.ATTACKS)))
    blocks = re.findall(r"```python\n(.*?)```", GUIDE.read_text(), flags=re.DOTALL)
    assert len(blocks) == 5
    names: dict[str, Any] = {"__name__": "guide"}
    for block in blocks:
        exec(compile(block, str(GUIDE), "exec"), names)
    assert names["gradient"].hospitals == ("north",)
    assert names["result"].advantage.mean() > 0.1
    assert suite.make_attack("valid_ratios").name == "valid_ratios"
