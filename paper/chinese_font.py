"""``python -m paper.chinese_font --source FONT``: the glyphs of the Chinese abstract alone.

The source is Noto Serif CJK (SIL Open Font License 1.1; Debian: fonts-noto-cjk). The subset stands
in ``paper/fonts`` so that the paper compiles anywhere without system fonts; run this when the
abstract gets a new character (a missing one stops the compilation).
"""

import re
from dataclasses import dataclass
from pathlib import Path

import tyro
from fontTools import subset
from fontTools.ttLib import TTFont

__all__ = ["FONT", "Fonts", "chinese"]

FONT = "fonts/NotoSerifCJKsc-Regular-subset.otf"
_WIDE = re.compile("[\\u2014\\u2018-\\u201d\\u3000-\\u303f\\u4e00-\\u9fff\\uff00-\\uffef]")
_PRINTABLE = "".join(map(chr, range(0x20, 0x7F)))


def chinese(text: str) -> set[str]:
    """Return the characters that need a Chinese font: ideographs and their punctuation."""
    return set(_WIDE.findall(text))


@dataclass(frozen=True)
class Fonts:
    """Cut the Chinese subset out of Noto Serif CJK."""

    source: Path
    """The font: NotoSerifCJK-Regular.ttc or the .otf of one language."""
    paper: Path = Path("paper")
    """The paper's folder."""

    def run(self) -> None:
        """Write the subset; the same source and text give the same bytes."""
        needed = chinese((self.paper / "abstract.zh.typ").read_text(encoding="utf-8"))
        number = 2 if self.source.suffix == ".ttc" else -1  # Debian's collection: JP, KR, SC, ...
        font = TTFont(self.source, fontNumber=number, recalcTimestamp=False)
        options = subset.Options(layout_features=[], hinting=False, notdef_outline=True)
        cutter = subset.Subsetter(options)
        cutter.populate(text="".join(sorted(needed)) + _PRINTABLE)
        cutter.subset(font)
        font.save(self.paper / FONT)
        print(f"Wrote {self.paper / FONT}: {len(needed)} Chinese characters.")


if __name__ == "__main__":
    tyro.cli(Fonts).run()
