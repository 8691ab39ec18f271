"""The guide to one's own model is true: its code runs, in order, and its command too."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from aggregation.models import TorchModel
from experiments.cli import main, parsed
from tests.aggregation.models.test_torch_refusals import WRONG

GUIDE = Path(__file__).parents[3] / "docs" / "own-model.md"


def test_the_guide_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    first, *blocks = re.findall(r"```python\n(.*?)```", GUIDE.read_text(), flags=re.DOTALL)
    assert len(blocks) == 3
    Path("mine.py").write_text(first)
    names: dict[str, Any] = {"__name__": "guide"}
    for block in blocks:
        exec(compile(block, str(GUIDE), "exec"), names)
    assert isinstance(names["model"], TorchModel)
    assert capsys.readouterr().out.split()[0] == str(5 * 32 + 32 + 2 * 32 + 32 + 1)
    command, *others = re.findall(r"^inpatient (.*)$", GUIDE.read_text(), flags=re.MULTILINE)
    assert [other.split()[0] for other in others] == ["train", "predict", "export"]
    assert all(parsed(other.split()) for other in others)
    Path("mine.first.npy").unlink()  # of other columns
    with pytest.raises(SystemExit) as ended:
        main([*command.split(), "--json", "--out", str(tmp_path / "out")])
    assert ended.value.code == 0
    told = json.loads(capsys.readouterr().out)
    assert told["records"] >= 1 and told["patients"] == 1


def test_whatever_the_guide_says_is_refused_is_tried() -> None:
    table = GUIDE.read_text().split("| refused |")[1].split("\n\n")[0]
    assert len(table.splitlines()) - 2 == 10
    assert len(WRONG) >= 30
