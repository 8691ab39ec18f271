"""``inpatient account``: what releases cost, by every accountant side by side."""

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from tyro.conf import Positional, arg

if TYPE_CHECKING:
    from dp_accounting import DpEvent, NeighboringRelation

    from privacy.accounting import Interval

__all__ = ["Account", "AccountantAnswer"]


_NOT_ASKED = ("json", "phases", "plot", "attribute_prior", "targets")  # of the accountants


@dataclass(frozen=True)
class AccountantAnswer:
    """One accountant's epsilon and what is known about it.

    Attributes:
      accountant: Its name, with its library.
      epsilon: Its answer; None where it gives none.
      verdict: ``certified``; ``not a bound`` (below the certified lower end); ``unfounded`` (no
        proof, here by chance not below it); ``loose``; ``agrees``; or ``no answer``.
      note: Why, in one sentence; empty where there is nothing to say.
    """

    accountant: str
    epsilon: float | None
    verdict: str
    note: str


@dataclass(frozen=True)
class Account:
    """What T releases of sampled, noised sums cost a patient, and what an attacker gains.

    The interval is certified; every other accountant's answer stands beside it, with a warning
    where it is known, or found here, to be wrong. With a file of phases: what a whole training
    cost, each phase and all together, by the certified accountant.
    """

    noise_multiplier: float = 0.0
    """Standard deviation of all of the noise over the sensitivity, unitless."""
    sampling_prob: float = 1.0
    """Probability with which a patient takes part in a round (Poisson sampling)."""
    rounds: int = 1
    """Number of releases."""
    delta: float = 1e-5
    """The delta of (epsilon, delta)."""
    relation: Literal["add-or-remove-one", "replace-one"] = "add-or-remove-one"
    """What one patient's change is."""
    prior_success: float = 0.1
    """How often a guess without the releases is right: what reconstruction is measured against."""
    attribute_prior: tuple[float, ...] = ()
    """Probabilities of an attribute's values, as one guesses it blindly: asks for its bound."""
    targets: int = 1
    """How many patients an attacker asks for at once."""
    plot: Path | None = None
    """Draw epsilon against delta to this file, as SVG and as PNG."""
    json: bool = False
    """Print JSON instead of tables."""
    phases: Annotated[Positional[Path | None], arg(metavar="PHASES.toml")] = None
    """Phases (.toml), events (.json), an Opacus checkpoint (.pt) or an OpenDP registry entry
    (.yaml), in place of the numbers."""

    def run(self) -> int:
        """Account and print."""
        from experiments.commands.phases import report_phases, show_phases

        if self.phases is None:
            report, show = self.report(), _print
        else:
            report = report_phases(self.phases, delta=self.delta, risks=self._risks)
            show = show_phases
        if self.plot is not None:
            report["plot"] = [str(path) for path in self._draw(self.plot)]
        if self.json:
            import json

            print(json.dumps(report, indent=2, sort_keys=True, allow_nan=False))
        else:
            show(report)
        return 0

    def report(self) -> dict[str, Any]:
        """Return everything that is printed, as plain JSON (infinite values as null).

        Raises:
          InvalidInputError: A parameter is out of range.
        """
        from privacy.accounting import epsilon
        from privacy.accounting.tradeoff import attack_risks, bayes_success

        event, relation = self._event()
        interval = epsilon(event, delta=self.delta, relation=relation)
        risks = attack_risks(event, relation=relation)
        return {
            "config": {k: v for k, v in asdict(self).items() if k not in _NOT_ASKED},
            "interval": {k: _finite(v) for k, v in asdict(interval).items()},
            "accountants": [asdict(a) for a in self._answers(interval, relation)],
            "risks": {
                **self._risks(event, relation),
                "membership_success_even_odds": bayes_success(event, prior=0.5, relation=relation),
                "mu_worst": _finite(risks.worst_mu),
                "mu_fitted": risks.fitted_mu,
            },
        }

    def _event(self) -> "tuple[DpEvent, NeighboringRelation]":
        from dp_accounting import GaussianDpEvent, PoissonSampledDpEvent, SelfComposedDpEvent
        from dp_accounting import NeighboringRelation as Relation

        from privacy._validate import natural, positive

        positive(
            noise_multiplier=self.noise_multiplier,
            hint="Give --noise-multiplier, or a file of phases.",
        )
        natural(rounds=self.rounds, least=1)
        relation = Relation[self.relation.replace("-", "_").upper()]
        one = PoissonSampledDpEvent(self.sampling_prob, GaussianDpEvent(self.noise_multiplier))
        return SelfComposedDpEvent(one, self.rounds), relation

    def _risks(self, event: "DpEvent", relation: "NeighboringRelation") -> dict[str, Any]:
        from privacy.named_risks import FALSE_POSITIVES, named_risks

        risks = named_risks(
            event,
            relation=relation,
            prior_success=self.prior_success,
            prior=self.attribute_prior or None,
            targets=self.targets,
        )
        rates = zip(FALSE_POSITIVES, risks.true_positives, strict=True)
        return {
            "prior_success": self.prior_success,
            "reconstruction_success": risks.reidentified,
            "membership_advantage": risks.advantage,
            "membership_true_positives": {f"{false:g}": true for false, true in rates},
            "attribute_success": risks.attribute,
            "targets": self.targets,
            "targets_named": risks.expected_named,
            "any_target_named": risks.any_named,
        }

    def _draw(self, path: Path) -> tuple[Path, Path]:
        from experiments.commands.cost_curve import plot_cost
        from experiments.commands.phases import event_of_phases

        event, relation = self._event() if self.phases is None else event_of_phases(self.phases)
        return plot_cost(event, relation=relation, delta=self.delta, path=path)

    def _answers(
        self, interval: "Interval", relation: "NeighboringRelation"
    ) -> list[AccountantAnswer]:
        answers = [
            AccountantAnswer(
                "certified upper end", _finite(interval.upper), "certified", interval.why
            ),
            AccountantAnswer("certified lower end", _finite(interval.lower), "certified", ""),
        ]
        for name, (ask, warning) in self._others(relation).items():
            answers.append(_judge(name, ask, interval, warning))
        return answers

    def _others(
        self, relation: "NeighboringRelation"
    ) -> dict[str, tuple[Callable[[], float | None], str]]:
        """Name, how to ask, and the standing warning of every other accountant."""
        add_or_remove = self.relation == "add-or-remove-one"

        def library(kind: Literal["pld", "rdp"]) -> float | None:
            from dp_accounting import GaussianDpEvent, PoissonSampledDpEvent
            from dp_accounting.pld import PLDAccountant
            from dp_accounting.rdp import RdpAccountant

            # Its grid at its default step would take gigabytes where losses are this large.
            if kind == "pld" and math.sqrt(self.rounds) / self.noise_multiplier > 100:
                return None
            accountant = PLDAccountant(relation) if kind == "pld" else RdpAccountant(None, relation)
            gaussian = GaussianDpEvent(self.noise_multiplier)
            event = (
                gaussian
                if self.sampling_prob == 1
                else PoissonSampledDpEvent(self.sampling_prob, gaussian)
            )
            if not accountant.supports(event):
                return None
            accountant.compose(event, self.rounds)
            return float(accountant.get_epsilon(self.delta))

        def opacus(kind: Literal["RDPAccountant", "PRVAccountant", "GaussianAccountant"]) -> float:
            import warnings

            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                from opacus import accountants

                accountant = getattr(accountants, kind)()
                accountant.history = [(self.noise_multiplier, self.sampling_prob, self.rounds)]
                return float(accountant.get_epsilon(delta=self.delta))

        def classic() -> float:
            scale = 1 if add_or_remove else 2
            return scale * math.sqrt(2 * math.log(1.25 / self.delta)) / self.noise_multiplier

        rdp_warning = (
            ""
            if add_or_remove
            else "dp-accounting 0.6.0 under-counts Gaussians here: the distance doubles."
        )
        other_accountants: dict[str, tuple[Callable[[], float | None], str]] = {
            "dp-accounting PLD": (lambda: library("pld"), ""),
            "dp-accounting RDP": (lambda: library("rdp"), rdp_warning),
        }
        if add_or_remove:  # all that Opacus knows
            other_accountants |= {
                "Opacus PRV": (lambda: opacus("PRVAccountant"), ""),
                "Opacus RDP": (lambda: opacus("RDPAccountant"), ""),
                "Opacus GDP": (
                    lambda: opacus("GaussianAccountant"),
                    "A central limit, not a bound: never use it for a guarantee.",
                ),
            }
        other_accountants["classic formula, one release"] = (
            classic,
            "sqrt(2 ln(1.25/delta))/sigma is proved below epsilon 1 only and counts no rounds.",
        )
        return other_accountants


def _judge(
    name: str, ask: Callable[[], float | None], interval: "Interval", warning: str
) -> AccountantAnswer:
    try:
        answer = ask()
    except (ArithmeticError, RuntimeError, ValueError, MemoryError) as error:
        return AccountantAnswer(
            name, None, "no answer", f"It raised {type(error).__name__}. {warning}".strip()
        )
    if answer is None or not math.isfinite(answer):
        said = "It gives no finite epsilon here." if answer is not None else "Not applicable here."
        return AccountantAnswer(name, None, "no answer", f"{said} {warning}".strip())
    if answer < interval.lower * (1 - 1e-9):
        below = f"Below the certified lower end ({interval.lower:.4g})."
        return AccountantAnswer(name, answer, "not a bound", f"{below} {warning}".strip())
    if warning:
        return AccountantAnswer(name, answer, "unfounded", warning)
    return AccountantAnswer(
        name, answer, "loose" if answer > 1.05 * interval.upper else "agrees", ""
    )


def _finite(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _print(report: dict[str, Any]) -> None:
    from rich.console import Console
    from rich.table import Table

    from experiments.commands.phases import show_plot, show_risks

    console = Console()
    config, risks = report["config"], report["risks"]
    table = Table(
        title=f"epsilon at delta = {config['delta']:g}: sigma {config['noise_multiplier']:g}, "
        f"q {config['sampling_prob']:g}, T {config['rounds']}, {config['relation']}"
    )
    for column in ("accountant", "epsilon", "verdict", "note"):
        table.add_column(column, justify="right" if column == "epsilon" else "left")
    for answer in report["accountants"]:
        value = "-" if answer["epsilon"] is None else f"{answer['epsilon']:.4g}"
        row = answer["accountant"], value, answer["verdict"], answer["note"]
        table.add_row(*row, style="bold red" if answer["verdict"] == "not a bound" else None)
    console.print(table)
    show_risks(risks)
    mu = "infinite" if risks["mu_worst"] is None else f"{risks['mu_worst']:.3f}"
    console.print(
        f"Membership is guessed rightly at most {risks['membership_success_even_odds']:.1%} of the "
        f"time at even odds. Gaussian DP: mu at most {mu}, nearest {risks['mu_fitted']:.3f}.",
        soft_wrap=True,
    )
    show_plot(report)
