"""``inpatient results``: ask the records in SQL."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar

from tyro.conf import Positional

__all__ = ["Results"]


@dataclass(frozen=True)
class Results:
    """Query records with SQL: the table ``records`` has config, metrics and stamp as structs.

    For example: select config.design, config.epsilon, metrics.auc_within.value from records
    where config.experiment = 'frontier' order by 1, 2
    """

    READS_OUT: ClassVar = True

    query: Annotated[str, Positional] = "select name, config.experiment from records order by 2, 1"
    """One SELECT over the table ``records`` (columns name, config, metrics, stamp)."""
    out: Path = Path("paper")
    """Folder of a run, whose ``records/`` are read; by default the published ones."""
    seed: int = 0
    """Seed of a ``using sample`` in the query; nothing else is drawn."""
    json: bool = False
    """Print rows as JSON instead of a table."""

    def run(self) -> int:
        """Run the query on a database in memory; the records stay as they are."""
        import json

        from rich.console import Console
        from rich.table import Table

        from experiments.records_table import query

        columns, rows = query(self.out / "records", self.query, seed=self.seed)
        if self.json:
            shown = [dict(zip(columns, row, strict=True)) for row in rows]
            print(json.dumps(shown, sort_keys=True, default=str))
            return 0
        table = Table()
        for column in columns:
            table.add_column(column)
        for row in rows:
            table.add_row(*("" if value is None else str(value) for value in row))
        Console().print(table)
        return 0
