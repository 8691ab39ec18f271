"""Tables of the pages that are generated."""

from collections.abc import Sequence

__all__ = ["table"]


def table(columns: Sequence[str], body: Sequence[Sequence[str]]) -> str:
    """Return a Markdown table."""
    lines = [columns, ["---"] * len(columns), *body]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)
