"""Benchmarks as tables for the terminal, 80 columns wide."""

from collections.abc import Iterator

from rich.table import Table

from experiments.benchmarks.sealing_cost import SealingBenchmark

__all__ = ["sealing_tables"]


def sealing_tables(benchmark: SealingBenchmark) -> Iterator[Table]:
    """Return one table a point; each "x" is a ratio to NVFLARE, below 1 is less."""
    for point in dict.fromkeys((row.size, row.hospitals) for row in benchmark.rows):
        table = Table(title=f"{point[0]:,} values, {point[1]} hospitals")
        table.add_column("scheme")
        for heading in ("kB", "x", "seal ms", "x", "add ms", "open ms", "error"):
            table.add_column(heading, justify="right")
        for row in benchmark.rows:
            if (row.size, row.hospitals) == point:
                table.add_row(
                    row.name,
                    _number(row.bytes, 1e-3),
                    _number(row.bytes_ratio),
                    _number(row.seconds, 1e3),
                    _number(row.ratio),
                    _number(row.add_seconds, 1e3),
                    _number(row.open_seconds, 1e3),
                    "" if row.accuracy is None else f"{row.accuracy:.0e}",
                )
        yield table


def _number(value: float | int | None, unit: float = 1.0) -> str:
    if value is None:
        return ""
    scaled = value * unit
    if scaled == 0:
        return "0"
    return f"{scaled:,.0f}" if scaled >= 100 else f"{scaled:.2g}"
