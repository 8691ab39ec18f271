"""``inpatient bench deployment``: sites as processes, with and without a network, beside one."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from tyro.conf import Positional

__all__ = ["BenchDeployment"]


@dataclass(frozen=True)
class BenchDeployment:
    """Seconds, bytes, memory of ``deploy local``, beside one process and NVFLARE's own sealing."""

    what: Positional[Literal["deployment"]] = "deployment"
    """What is measured."""
    rounds: int = 30
    """Rounds of each run."""
    models: tuple[str, ...] = ("logistic", "mlp")
    """As for ``inpatient train``."""
    growth: tuple[int, ...] = (16, 64, 256)
    """Hospitals of the rounds in one process from which larger federations are drawn."""
    out: Path = Path("results/bench")
    """Folder for deployment.json."""
    json: bool = False
    """Print the figures as JSON instead of a table."""

    def check(self) -> None:
        """Refuse less than two rounds or sizes, an unknown model, and a machine without NVFLARE."""
        from aggregation.models import check_name
        from aggregation.sites.flare.nvflare_commands import require_nvflare
        from privacy._validate import natural
        from privacy.errors import InvalidInputError

        natural(rounds=self.rounds, least=2)  # of one round there is no time between two
        if len(set(self.growth)) < 2:
            raise InvalidInputError(f"Expected two sizes at least, got growth={self.growth}.")
        for hospitals in self.growth:
            natural(growth=hospitals, least=4)
        for model in self.models:
            check_name(model)
        require_nvflare()

    def run(self) -> int:
        """Measure, write, print; 0 if all sums were those of one process."""
        from rich.console import Console
        from rich.table import Table

        from experiments.benchmarks.deployed import measure_deployed
        from experiments.run.bench_record import write_bench
        from experiments.run.record import writable_folder

        folder = writable_folder(self.out)
        record = measure_deployed(
            self.models, rounds=self.rounds, growth=self.growth, console=Console(stderr=True)
        )
        path = write_bench(folder, "deployment", record)
        if self.json:
            print(path.read_text(encoding="utf-8"), end="")
        else:
            table = Table(title=f"{self.rounds} rounds of four hospitals, {record['scheme']}")
            for heading in ("model", "carried by", "s in all", "s a round", "one process",
                            "kB a round", "MB a site", "MB of NVFLARE's"):  # fmt: skip
                table.add_column(heading)
            for row in record["rows"]:
                passed = sum(row["bytes_by_kind"].values()) / row["rounds"]
                largest = max(row["site_bytes"].values())
                table.add_row(
                    row["model"], "NVFLARE" if row["network"] else "sockets",
                    f"{row['seconds']:.0f}", f"{row['round_seconds']:.3f}",
                    f"{row['one_process_round_seconds']:.3f}", f"{passed / 1e3:.0f}",
                    f"{largest / 1e6:.0f}", f"{row['relay_bytes'] / 1e6:.0f}",
                )  # fmt: skip
            Console().print(table)
            beside = record["encrypted_averaging"]
            print(
                f"NVFLARE's own encrypted averaging: {beside['round_seconds']:.3f} s a round, "
                f"{beside['update_bytes'] / 1e3:.0f} kB an update; the secret key lies at "
                f"{beside['clients_with_secret_key']} of {beside['clients']} hospitals."
            )
            for row in record["growth"]:
                print(
                    f"{row['hospitals']} hospitals: {row['received'] / 1e3:.0f} kB to each in a "
                    f"round, {row['server'] / 1e6:.1f} MB through the server."
                )
            print(f"Written: {path}")
        return 0 if all(row["same_sums"] for row in record["rows"]) else 1
