"""Three seeded runs, pinned: whatever carries the messages, the bits of what they open stay.

Pinned are integers and what follows from them by elementwise arithmetic (models), the events that
ledgers hold, and what adversaries see. To pin anew after a change that is *meant* to move them:
``python -m tests.aggregation.test_golden``, with the reason in the changelog.
"""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from aggregation.data.patients import Patients
from aggregation.federation import Federation
from aggregation.models import Logistic, Perceptron
from aggregation.noise_kind import NoiseKind
from aggregation.plan import Plan
from aggregation.rules import Memory
from aggregation.timing import Pace, Trigger, simulate
from aggregation.transcript import Transcript
from attacks.views import observe
from attacks.views.adversary import Adversary, Knowledge, Name
from attacks.views.observation import GradientView, PublicView
from privacy.ledger import Ledger

PINNED = Path(__file__).resolve().parents[1] / "golden" / "federation_runs.json"
NAMES = ("north", "east", "south", "west")


def cohort() -> dict[str, Patients]:
    made = {}
    for number, name in enumerate(NAMES):
        rng = np.random.default_rng(100 + number)
        features = rng.normal(size=(18 + 4 * number, 5)).round(3)
        made[name] = Patients(features, (features[:, 0] > 0.2 * number).astype(np.int64))
    return made


COHORT = cohort()
BASE: dict[str, Any] = {
    "hospitals": NAMES,
    "declared_sizes": tuple(len(p) for p in COHORT.values()),
    "learning_rate": 0.8,
    "noise": NoiseKind.SHARED,
    "clip_norm": 1.0,
    "radius": 4096,
    "noise_multiplier": 3.0,
    "colluders": 1,
}
FULL = Plan(run="full batch", model=Logistic(5), rounds=4, scheme="shares", average_last=2, **BASE)
SMALL = Plan(
    run="small batch", model=Perceptron(5, 4), rounds=3, scheme="plain", sampling_size=7,
    model_seed=9, **BASE,
)  # fmt: skip
PACED = Plan(run="paced", model=Logistic(5), rounds=1, scheme="plain", smallest_sum=3, **BASE)
SCHEDULE = simulate(
    {name: Pace(d, upload=0.2) for name, d in zip(NAMES, (1.0, 1.5, 4.0, 3.0), strict=True)},
    Trigger(count=3, distinct=3),
    horizon=16.0,
    seed=2,
    waits=True,
)


def digest(values: NDArray[Any] | bytes) -> str:
    return hashlib.sha256(values if isinstance(values, bytes) else values.tobytes()).hexdigest()


def events(ledgers: Mapping[str, Ledger]) -> dict[str, list[Any]]:
    return {
        name: [e.content["event"] for e in ledger.entries() if e.kind == "release"]
        for name, ledger in ledgers.items()
    }


def seen(transcript: Transcript, adversary: Name | Adversary) -> list[Any]:
    view = observe(transcript, adversary)
    if isinstance(view, PublicView):
        return [digest(view.params)]
    assert isinstance(view, GradientView)
    return [
        {
            "round": g.round,
            "parts": [[c.hospital, round(c.weight, 9), digest(c.params)] for c in g.contributions],
            "integers": digest(g.integers),
            "noise_std": round(g.noise_std, 9),
        }
        for g in view.gradients
    ]


def traffic(transcript: Transcript) -> str:
    """Models, updates: whatever else is said beside them, in whatever order at one moment."""
    lines = sorted(
        f"{m.sender} {m.receiver} {m.kind} {m.round} {m.size} {m.time:.9f}"
        for m in transcript
        if m.kind in ("model", "update")
    )
    return digest("\n".join(lines).encode())


def synchronous(plan: Plan) -> dict[str, Any]:
    federation = Federation.simulated(plan, COHORT, seed=(7, 1))
    outcome = federation.run()
    sums = [m.payload for m in outcome.transcript.select(kind="opened", receiver="north")]
    sent = {(r, "west"): v for r, v in outcome.sent["west"].items()}
    colluder = Adversary("colluding", Knowledge(updates=sent))
    views = {
        "server_sealed": seen(outcome.transcript, "server_sealed"),
        "public": seen(outcome.transcript, "public"),
    }
    if plan.scheme == "plain":
        views["server_plain"] = seen(outcome.transcript, "server_plain")
    else:
        views["colluding"] = seen(outcome.transcript, colluder)
    return {
        "opened": [digest(payload) for payload in sums],
        "models": digest(outcome.models),
        "final": [float(v).hex() for v in outcome.params],
        "events": events({name: federation.ledger(name) for name in NAMES}),
        "views": views,
        "traffic": traffic(outcome.transcript),
        "drawn": {
            name: {str(r): [b.ids.tolist() for b in batches] for r, batches in rounds.items()}
            for name, rounds in outcome.drawn.items()
        },
    }


def paced() -> dict[str, Any]:
    memory = Memory(shares=dict.fromkeys(NAMES, 1.0))
    run = Federation.simulated(PACED, COHORT, seed=7, rule=memory, schedule=SCHEDULE).run()
    return {
        "opened": [digest(total) for total in run.opened],
        "models": digest(run.models),
        "final": [float(v).hex() for v in run.models[-1]],
        "events": events(run.ledgers),
        "views": {"server_sealed": seen(run.transcript, "server_sealed")},
        "traffic": traffic(run.transcript),
    }


RUNS = {
    "full batch, shares": lambda: synchronous(FULL),
    "small batch, perceptron": lambda: synchronous(SMALL),
    "own pace, memory": paced,
}


def plainly(value: Any) -> Any:
    return json.loads(json.dumps(value))


def to_digits(value: Any) -> Any:
    """Numbers to 12 digits: an event's eigenvalue has other last bits under another LAPACK."""
    if isinstance(value, float):
        return float(f"{value:.12g}")
    if isinstance(value, dict):
        return {key: to_digits(inner) for key, inner in value.items()}
    return [to_digits(inner) for inner in value] if isinstance(value, list) else value


@pytest.mark.parametrize("name", RUNS)
def test_a_seeded_run_is_the_same_bits(name: str) -> None:
    expected = json.loads(PINNED.read_text())[name]
    found = plainly(RUNS[name]())
    assert found.keys() == expected.keys()
    for part, value in expected.items():
        exact = part != "events"
        assert (found[part] if exact else to_digits(found[part])) == (
            value if exact else to_digits(value)
        ), part


if __name__ == "__main__":
    PINNED.write_text(json.dumps({name: run() for name, run in RUNS.items()}, indent=1) + "\n")
