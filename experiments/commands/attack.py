"""``inpatient attack``: one attack on one view of a run, true patients beside recovered ones."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from tyro.conf import Positional, arg

from experiments.commands.captured import CapturedUpdate, OptimizerName, show

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from aggregation.data.patients import Patients
    from aggregation.plan import Plan
    from attacks.knowledge.priors import Prior
    from attacks.reconstructed import Reconstruction
    from attacks.suite import Attack, Effort
    from attacks.views import GradientView
    from experiments.cohorts import Cohort
    from experiments.studies.people import LineUp

__all__ = ["AttackCommand"]


@dataclass(frozen=True)
class AttackCommand:
    """Attack what one adversary sees of a run, and show true and recovered patients side by side.

    The run is of the public heart-disease table, so that patients may be shown, unless --cohort
    names another: then the picture holds its patients' values. The attack gets the view and the
    public schema; the truth is used afterwards, to score it.

    With --update BEFORE AFTER it attacks somebody else's client instead: its weights before and
    after training (.safetensors or .npz), as the public schema of --cohort names their columns. The
    picture and the record then hold what was read of their patients.
    """

    name: Annotated[Positional[str], arg(metavar="NAME")] = ""
    """closed_form, spear, tableak, cascade, dlg, idlg, ig, fedavg, imprint, row_space, sratta,
    stale, likelihood_ratio (before line-ups of ten, on a fold in which one of each trains),
    informed_exact or informed_search; fishing, suppression, differencing and disaggregation need
    other runs. With --update none has to be named: cascade, or what suits the model and the
    number of steps."""
    update: tuple[Path, Path] | None = None
    """Weights of a client before and after its training."""
    learning_rate: float = 0.0
    """With --update: the client's."""
    batch_size: int = 0
    """With --update: patients of one step; 0: not known, and searched."""
    steps: int = 1
    """With --update: local steps, each on the same patients, or as --patients says."""
    patients: int = 0
    """With --update: all behind the steps, where those are one pass: steps times batch size."""
    optimizer: OptimizerName = "sgd"
    """With --update: the client's."""
    momentum: float = 0.0
    """With --update: of sgd (without difference in the first step)."""
    weight_decay: float | None = None
    """With --update: the optimiser's; by default torch's own, .01 of adamw and none else."""
    checkpoint: Path | None = None
    """With --update: Opacus's checkpoint, where the step was private; with --clip-norm."""
    clip_norm: float = 0.0
    """With --update: of a private step (Opacus's max_grad_norm)."""
    labels: str = ""
    """With --update: the batch's outcomes where the attacker knows them, such as 01100101."""
    view: str = "server_plain"
    """The adversary: server_plain, server_sealed, colluding (with all hospitals but the attacked
    and one more), key_holder, longitudinal or informed."""
    design: str = "none"
    """The defence: none, article, local or sealed."""
    epsilon: float = float("inf")
    """Of the whole run of the design (of one upload for article); inf: no noise."""
    regime: str = "small"
    """small: about 8 patients of a hospital in a round; full: all of them."""
    model: str = "mlp"
    """mlp, logistic, deep, embedded, transformer, or a Python file's factory of a torch module,
    FILE:FACTORY (docs/own-model.md)."""
    width: int = 64
    """Hidden units of the perceptron."""
    cohort: str = "heart"
    """Whose patients: a cohort's name, or the path of a ``cohort.toml`` (docs/own-data.md)."""
    hospital: str = ""
    """Whose patients are attacked, where the view tells hospitals apart; default: the first's."""
    know_labels: bool = False
    """Declare that the adversary knows the outcomes of the batch."""
    restarts: int = 8
    """Restarts of an attack that searches (the papers use 30)."""
    iterations: int = 500
    """Iterations of each restart (the papers use 1500)."""
    device: str = "auto"
    """What a search computes on: auto takes an accelerator that torch finds, else cpu."""
    seed: int = 0
    """The experiment's seed; it protects nobody."""
    data_dir: Path | None = None
    """Folder with a named cohort's original files (heart: UCI's; default: as packaged)."""
    out: Path = Path("results/attack")
    """Folder for the picture."""
    json: bool = False
    """Print the result as JSON instead of a table."""

    def check(self) -> None:
        """Refuse unknown names, a noise that is none, and a view that the design does not have."""
        from typing import get_args

        from aggregation.models import check_name
        from attacks.searching.device import checked_device
        from attacks.suite import make_attack
        from attacks.views import Name
        from experiments.studies.design import FEDERATED, Regime
        from privacy.errors import InvalidInputError

        checked_device(self.device)
        if self.update is not None:
            self._captured(self.update).check()
            if self.name:
                make_attack(self.name, restarts=self.restarts, iterations=self.iterations)
            return
        if not self.name:
            raise InvalidInputError(
                "Which attack? Name one, such as closed_form or cascade (--help lists them), or "
                "give --update BEFORE AFTER."
            )
        make_attack(self.name, restarts=self.restarts, iterations=self.iterations)
        if self.design not in FEDERATED:
            raise InvalidInputError(
                f"Unknown design {self.design!r}; choose one of {', '.join(FEDERATED)}."
            )
        if not self.epsilon > 0:
            raise InvalidInputError(f"Expected epsilon={self.epsilon} > 0. Use inf for no noise.")
        if self.regime not in tuple(Regime):
            raise InvalidInputError(f"Unknown regime {self.regime!r}; choose small or full.")
        check_name(self.model)
        if self.view not in get_args(Name):
            raise InvalidInputError(
                f"Unknown view {self.view!r}; choose one of {', '.join(get_args(Name))}."
            )
        if self.view in ("server_sealed", "colluding") and self.design != "sealed":
            raise InvalidInputError(
                f"The design {self.design!r} seals nothing: its server sees every update. Use "
                "--view server_plain, or --design sealed."
            )

    def run(self) -> int:
        """Run the federation's first round, attack it, score the attack, draw the picture."""
        import json
        import sys
        import tempfile
        import time

        import numpy as np
        import torch

        from attacks.knowledge.priors import Prior
        from attacks.scoring import LEVELS, score
        from attacks.scoring.picture import draw
        from attacks.suite import ATTACKS, Foretelling
        from experiments.cohorts import load, resolve
        from experiments.run.record import writable_folder, write_new

        torch.set_num_threads(1)  # with more, small tensors only wait for each other
        if self.update is not None:
            return self._attack_update(self.update)
        attack = ATTACKS.find(self.name).make(self._effort())
        out = writable_folder(self.out)
        cohort = load(*resolve(self.cohort, self.data_dir))
        hospitals, lineups = self._who_trains(cohort)
        plan, view, truth, lineups = self._first_round(hospitals, cohort.schema, lineups)
        held = view.knowledge.patients if self.view == "colluding" else {}
        prior = Prior.held(cohort.schema, held)
        if isinstance(attack, Foretelling):
            print(attack.foretell(view), file=sys.stderr)
        started = time.perf_counter()
        named: tuple[int, int] | None = None
        if lineups:
            reconstruction, named = _before_line_ups(attack, view, prior, lineups, self.seed)
        else:
            reconstruction = attack.reconstruct(view, prior)
        seconds = time.perf_counter() - started
        scored = score(reconstruction, truth.features, prior, np.random.default_rng(self.seed))
        with tempfile.TemporaryDirectory(dir=out, prefix=".drawing-") as inner:
            drawn = draw(
                reconstruction, truth.features, prior, Path(inner) / "drawn.png"
            ).read_bytes()
        (picture,) = write_new((out / f"{self.name}-{self.view}.png", drawn))
        result: dict[str, Any] = {
            "attack": self.name,
            "view": self.view,
            "knowledge": list(view.knowledge.declared),
            "design": self.design,
            "noise_multiplier": plan.noise_multiplier,
            "patients": len(truth),
            "records": len(reconstruction),
            "accuracy": float(scored.accuracy.mean()),
            "guessing": float(scored.baseline.mean()),
            "matched": {f"{level:g}": float(scored.exact(level).mean()) for level in LEVELS},
            "certified": scored.certified,
            "false_certificates": scored.false_certificates,
            **({} if named is None else {"named": named[0], "line_ups": named[1]}),
            "seconds": round(seconds, 3),
            "picture": str(picture),
        }
        if self.json:
            print(json.dumps(result, sort_keys=True))
        else:
            _print(result)
        return 0

    def _effort(self) -> "Effort":
        """How hard a search tries, and on what."""
        from attacks.searching.device import checked_device
        from attacks.suite import Effort

        return Effort(self.restarts, self.iterations, self.seed, checked_device(self.device))

    def _captured(self, files: tuple[Path, Path]) -> CapturedUpdate:
        """What was told of an update."""
        return CapturedUpdate(
            files,
            self.model,
            self.learning_rate,
            self.batch_size,
            self.steps,
            self.optimizer,
            self.labels,
            self.momentum,
            self.weight_decay,
            self.patients,
            self.checkpoint,
            self.clip_norm,
        )

    def _attack_update(self, files: tuple[Path, Path]) -> int:
        """Attack what was captured."""
        import json

        from experiments.cohorts import load, resolve
        from experiments.run.record import writable_folder

        key, place = resolve(self.cohort, self.data_dir)
        out, cohort = writable_folder(self.out), load(key, place)
        result = self._captured(files).run(self.name, cohort, key, out, self._effort())
        if self.json:
            print(json.dumps(result, sort_keys=True))
        else:
            show(result)
        return 0

    def _who_trains(self, cohort: "Cohort") -> "tuple[Mapping[str, Patients], tuple[LineUp, ...]]":
        """Everybody; or, where an attack needs line-ups, a fold with one of ten of each."""
        from attacks.suite import ATTACKS, Arena
        from experiments.studies.people import with_line_ups
        from privacy.errors import InvalidInputError

        if ATTACKS.find(self.name).arena is not Arena.LINE_UP:
            return cohort.hospitals, ()
        split = with_line_ups(cohort, count=5, seed=self.seed)[0]
        attacked = self.hospital or next(iter(split.train))
        lineups = tuple(one for one in split.lineups if one.hospital == attacked)
        if not lineups:
            raise InvalidInputError(
                f"The hospital {attacked!r} has no line-up: a fifth of its patients with one "
                "outcome are fewer than nine, so that nobody can stand beside a patient who "
                "trained. Choose a larger one with --hospital."
            )
        return split.train, lineups

    def _first_round(
        self,
        hospitals: "Mapping[str, Patients]",
        schema: "Any",
        lineups: "tuple[LineUp, ...]" = (),
    ) -> "tuple[Plan, GradientView, Patients, tuple[LineUp, ...]]":
        """Calibrate the whole run, and run its first round: that is what is attacked."""
        import dataclasses
        from typing import cast

        import numpy as np

        from aggregation.data.patients import Patients
        from aggregation.federation import Federation
        from aggregation.models import Inputs, named_model
        from attacks.views import Adversary, GradientView, Knowledge, Name, observe, require
        from experiments.studies.design import Regime, make_plan, training_of
        from experiments.studies.people import seated
        from privacy.errors import InvalidInputError

        attacked = self.hospital or next(iter(hospitals))
        if attacked not in hospitals:
            raise InvalidInputError(
                f"Unknown hospital {attacked!r}; choose one of {', '.join(hospitals)}."
            )
        plan = make_plan(
            run="attack",
            design=self.design,
            epsilon=self.epsilon,
            model=named_model(self.model, Inputs.of(schema), width=self.width, seed=self.seed),
            setting=training_of(Regime(self.regime), self.model),
            patients=hospitals,
            model_seed=self.seed,
        )
        plan = dataclasses.replace(plan, rounds=1, average_last=1)
        if lineups:
            hospitals, lineups = seated(plan, hospitals, lineups, seed=(self.seed,))
        outcome = Federation.simulated(plan, hospitals, seed=self.seed).run()
        drawn = {name: batches[0][0] for name, batches in outcome.drawn.items()}
        known_patients = dict(drawn)
        target = drawn[attacked].take(np.arange(len(drawn[attacked])) == 0)
        known_patients[attacked] = drawn[attacked].take(np.arange(len(drawn[attacked])) != 0)
        labels = {(0, n): p.outcomes for n, p in drawn.items()} if self.know_labels else {}
        knowledge = Knowledge(labels=labels)
        if self.view == "informed" and plan.sampling_size is not None:
            knowledge = Knowledge(
                labels=labels, batches={(0, n): p for n, p in known_patients.items()}
            )
        elif self.view == "informed":
            knowledge = Knowledge(labels=labels, patients=known_patients)
        elif self.view == "colluding":  # all but the attacked hospital and one more
            colluders = [name for name in hospitals if name != attacked][1:]
            knowledge = Knowledge(
                labels=labels,
                patients={name: hospitals[name] for name in colluders},
                updates={(0, name): outcome.sent[name][0] for name in colluders},
            )
        if lineups:
            first = lineups[0]
            outcomes = np.full(len(first.people), first.outcome, dtype=np.int64)
            candidates = Patients(first.people.copy(), outcomes)
            knowledge = dataclasses.replace(knowledge, hospital=attacked, candidates=candidates)
        seen = observe(outcome.transcript, Adversary(cast(Name, self.view), knowledge))
        view = require(seen, GradientView, self.name).only(hospital=attacked)
        if self.view == "informed":
            return plan, view, target, lineups
        if lineups:
            sought = [one.patient for one in lineups]
            group = hospitals[attacked]
            return plan, view, group.take(np.isin(group.ids, sought)), lineups
        names = view.gradients[0].hospitals
        return plan, view, Patients.together(drawn[n] for n in names), lineups


def _before_line_ups(
    attack: "Attack",
    view: "GradientView",
    prior: "Prior",
    lineups: "Sequence[LineUp]",
    seed: int,
) -> "tuple[Reconstruction, tuple[int, int]]":
    """Put the attack before each line-up: whom it names, and how often it was right of how many."""
    import dataclasses

    import numpy as np

    from aggregation.data.patients import Patients
    from attacks.reconstructed import join
    from attacks.scoring import lineup

    rng = np.random.default_rng([seed, 2])
    reconstructions, named = [], 0
    for one in lineups:
        outcomes = np.full(len(one.people), one.outcome, dtype=np.int64)
        knowledge = dataclasses.replace(
            view.knowledge, candidates=Patients(one.people.copy(), outcomes)
        )
        reconstructions.append(
            attack.reconstruct(dataclasses.replace(view, knowledge=knowledge), prior)
        )
        named += lineup(reconstructions[-1], one.people, rng) == one.target
    return join(*reconstructions), (named, len(lineups))


def _print(result: "dict[str, Any]") -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(title=f"{result['attack']} on {result['view']}, design {result['design']}")
    table.add_column("what")
    table.add_column("value", justify="right")
    table.add_row("patients attacked", str(result["patients"]))
    table.add_row("what it knew beside its view", ", ".join(result["knowledge"]) or "nothing")
    if "line_ups" in result:
        table.add_row("named out of ten", f"{result['named']} of {result['line_ups']} line-ups")
    table.add_row("features right", f"{result['accuracy']:.1%}")
    table.add_row("features right by guessing alone", f"{result['guessing']:.1%}")
    for level, share in result["matched"].items():
        table.add_row(f"patients with {float(level):.0%} of their features right", f"{share:.1%}")
    table.add_row("records certified", str(result["certified"]))
    table.add_row("of these false", str(result["false_certificates"]))
    table.add_row("seconds", str(result["seconds"]))
    Console().print(table)
    print(f"True and recovered patients side by side: {result['picture']}")
