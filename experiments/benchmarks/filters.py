"""Other people's privacy filters under the testing kit, in the environment that has them.

Each is run from its own package, as it ships, on updates of the kit's choosing; NumPy's and torch's
draws are answered by the kit (``privacy.testing.redirect``). A row says what the package's own
documentation promises, what was set, what was claimed of it, and what the kit found. None of it is
about the cryptography or the transport around the filter.
"""

import logging
import math
import multiprocessing
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib import import_module
from importlib.metadata import version
from typing import Any

import numpy as np
from dp_accounting import DpEvent, GaussianDpEvent, LaplaceDpEvent
from dp_accounting import NeighboringRelation as Relation
from numpy.typing import NDArray

from privacy.accounting.gaussian import gaussian_epsilon
from privacy.errors import InvalidInputError
from privacy.testing import Recording, check_mechanism
from privacy.testing.redirect import numpy_drawing_from

__all__ = ["Filters", "PeerFilter", "as_table", "measure"]

Rows = NDArray[np.float64]
Run = Callable[[Rows, Any], list[NDArray[Any]]]
_PACKAGES = ("flwr", "nvflare")
_MULTIPLIER, _DELTA, _SECONDS = 2.0, 1e-5, 5.0
_LARGE, _SMALL = 2_000, 200  # records of a hospital: two large, six small
_PARAMETERS = 10_031


@dataclass(frozen=True)
class PeerFilter:
    """One filter in one setting.

    Attributes:
      package: Whose.
      name: Of its class.
      promise: What its documentation says of the noise.
      setting: What was set.
      claim: What the kit held it to.
      found: The checks that found something; empty if it does what was claimed.
      told: The first finding.
      numbers: What was measured beside the check.
    """

    package: str
    name: str
    promise: str
    setting: str
    claim: str
    found: tuple[str, ...]
    told: str
    numbers: Mapping[str, float]


@dataclass(frozen=True)
class Filters:
    """All rows, and the versions of the packages."""

    rows: tuple[PeerFilter, ...]
    versions: Mapping[str, str]

    def to_json(self) -> dict[str, Any]:
        """Return the rows as plain JSON."""
        return {"rows": [asdict(row) for row in self.rows], "versions": dict(self.versions)}

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> "Filters":
        """Read what ``to_json`` gave.

        Raises:
          InvalidInputError: It is no such record.
        """
        try:
            rows = tuple(
                PeerFilter(**{**row, "found": tuple(row["found"])}) for row in content["rows"]
            )
            return cls(rows, dict(content["versions"]))
        except (KeyError, TypeError) as error:
            raise InvalidInputError(
                "This is no record of filters: write it with `inpatient bench filters --out "
                "paper/bench` in the environment of `make bench`."
            ) from error


_WORDS = {
    "multiplier": "a noise multiplier of {:.2f}",
    "noise": "{:.1%} of the noise",
    "epsilon": "epsilon {:.4g}",
    "scalar_error": "the scalar arrives {:g} off",
}


def as_table(filters: Filters) -> str:
    """Return the rows as a table in Markdown."""
    lines = ["| filter | setting | held to | found |", "|---|---|---|---|"]
    for row in filters.rows:
        numbers = [_WORDS[name].format(value) for name, value in row.numbers.items()]
        findings = ", ".join([*(f"`{check}`" for check in row.found), *numbers]) or "as claimed"
        lines.append(f"| {row.package} `{row.name}` | {row.setting} | {row.claim} | {findings} |")
    return "\n".join(lines)


def measure(*, progress: Callable[[str], None] = print) -> Filters:
    """Look at every filter.

    Raises:
      InvalidInputError: A package is not installed.
    """
    os.environ["FLWR_TELEMETRY_ENABLED"] = "0"
    try:
        versions = {name: version(name) for name in _PACKAGES}
    except ModuleNotFoundError as error:
        raise InvalidInputError(
            f"{error.name} is not installed: `make bench` runs in an environment that has it."
        ) from error
    logging.disable(logging.WARNING)
    rows: list[PeerFilter] = []
    try:
        for group in (_flower_fixed, _flower_others, _percentile, _sparse_vector):
            progress(group.__name__.strip("_").replace("_", " "))
            rows += group()
    finally:
        logging.disable(logging.NOTSET)
    return Filters(tuple(rows), versions)


def _row(
    package: str,
    name: str,
    promise: str,
    setting: str,
    claim: str,
    run: Run,
    event: DpEvent,
    *,
    numbers: Mapping[str, float] | None = None,
    non_finite: bool = False,
    relation: Relation = Relation.REPLACE_ONE,
    patients: int = 8,
) -> PeerFilter:
    findings = check_mechanism(
        run, event, dim=3, patients=patients, relation=relation, crowd=33, non_finite=non_finite
    )
    message = findings[0].message if findings else ""
    checks = tuple(finding.check for finding in findings)
    return PeerFilter(package, name, promise, setting, claim, checks, message, dict(numbers or {}))


# --- Flower --------------------------------------------------------------------------------------


def _flower(values: Rows, weight: int | None = None, to: Any = None) -> Any:
    """Make a message that carries one array, and how many records are behind it."""
    app = import_module("flwr.app")
    identity = import_module("flwr.supercore.task_identity").TaskIdentity
    identity.run_id = identity.node_id = identity.task_id = 1  # as its process would
    content = app.RecordDict({"arrays": app.ArrayRecord({"w": app.Array(np.asarray(values))})})
    if weight is not None:
        content["metrics"] = app.MetricRecord({"num-examples": weight})
    if to is not None:
        return app.Message(content, reply_to=to)
    return app.Message(content, dst_node_id=1, message_type="train")


def _never_zero(run: Run) -> Run:
    """Spare a filter the updates that are exactly zero."""

    def spared(rows: Rows, source: Any) -> list[NDArray[Any]]:
        return run(np.where(rows.any(axis=1, keepdims=True), rows, 1e-12), source)

    return spared


def _fixed(
    weights: Callable[[int], Sequence[int]], *, dtype: Any = np.float64, clients: int | None = None
) -> Run:
    strategies = import_module("flwr.serverapp.strategy")
    app = import_module("flwr.app")

    def run(rows: Rows, source: Any) -> list[NDArray[Any]]:
        strategy = strategies.DifferentialPrivacyServerSideFixedClipping(
            strategies.FedAvg(), _MULTIPLIER, 1.0, clients or len(rows)
        )
        params = np.zeros(rows.shape[1], dtype)
        strategy.current_arrays = app.ArrayRecord({"w": app.Array(params)})
        records = weights(len(rows))
        replies = [_flower(row.astype(dtype), n) for row, n in zip(rows, records, strict=True)]
        with numpy_drawing_from(source):
            arrays, _ = strategy.aggregate_train(1, replies)
        return [arrays.to_numpy_ndarrays()[0]]

    return run


def _equal(clients: int) -> list[int]:
    return [_SMALL] * clients


def _unequal(clients: int) -> list[int]:
    return [_LARGE] * min(2, clients) + [_SMALL] * max(0, clients - 2)


def _multiplier(run: Run) -> float:
    """What the noise of a release is over half of what replacing the first client moves it."""
    rows = np.tile(np.eye(1, 3), (8, 1))
    other = rows.copy()
    other[0] *= -1
    source = Recording()
    moved = np.linalg.norm(run(rows, source)[0] - run(other, Recording())[0])
    return float(2 * source.noise_calls[-1].scale / moved)


def _flower_fixed() -> list[PeerFilter]:
    name, claim = "DifferentialPrivacyServerSideFixedClipping", "GaussianDpEvent(2), replace one"
    promise = (
        "central DP for clients: Gaussian noise of noise_multiplier for updates clipped to "
        "clipping_norm, a number of sampled clients apart; with an accountant it demands equal "
        "weights, without one it does not"
    )
    fair = "8 clients of 200 records, float64, noise multiplier 2"
    event = GaussianDpEvent(_MULTIPLIER)
    equal, unequal = _never_zero(_fixed(_equal)), _never_zero(_fixed(_unequal))

    def row(setting: str, run: Run, **more: Any) -> PeerFilter:
        return _row("flwr", name, promise, setting, more.pop("claim", claim), run, event, **more)

    return [
        row(fair, equal, numbers={"multiplier": _multiplier(equal)}),
        row(
            "two clients of 2,000 records and six of 200, no accountant",
            unequal,
            numbers={"multiplier": _multiplier(unequal)},
        ),
        row(
            "the number of sampled clients is set, one more or less answers",
            _never_zero(_fixed(_equal, clients=8)),
            claim="GaussianDpEvent(2), add or remove one",
            relation=Relation.ADD_OR_REMOVE_ONE,
        ),
        row("float32 updates", _never_zero(_fixed(_equal, dtype=np.float32))),
        row("an update that is exactly zero", _fixed(_equal)),
        row("an update with NaN", equal, non_finite=True),
    ]


def _adaptive_noise() -> float:
    """Standard deviation over what was aimed at, where all eight clients are clipped."""
    strategies = import_module("flwr.serverapp.strategy")
    app = import_module("flwr.app")
    strategy = strategies.DifferentialPrivacyServerSideAdaptiveClipping(
        strategies.FedAvg(), 1.0, 8, initial_clipping_norm=1.0, clipped_count_stddev=2.0
    )
    strategy.current_arrays = app.ArrayRecord({"w": app.Array(np.zeros(3))})
    source = Recording([np.zeros(1)])  # the count is not moved by its noise
    with numpy_drawing_from(source):
        strategy.aggregate_train(1, [_flower(np.full(3, 5.0), _SMALL) for _ in range(8)])
    return float(source.noise_calls[-1].scale / (strategy.noise_multiplier * 1.0 / 8))


def _local(sensitivity: float) -> Run:
    mod = import_module("flwr.clientapp.mod").LocalDpMod(1.0, sensitivity, 1.0, _DELTA)

    def run(rows: Rows, source: Any) -> list[NDArray[Any]]:
        request = _flower(np.zeros(rows.shape[1]))
        with numpy_drawing_from(source):
            sent = mod(request, None, lambda message, _: _flower(rows.sum(axis=0), to=message))
        return [sent.content["arrays"].to_numpy_ndarrays()[0]]

    return run


def _flower_others() -> list[PeerFilter]:
    classic = math.sqrt(2 * math.log(1.25 / _DELTA))
    promise = "local DP: the update is clipped to clipping_norm and noised for sensitivity, epsilon"
    local = [
        _row(
            "flwr",
            "LocalDpMod",
            promise,
            f"clipping_norm 1, sensitivity {sensitivity}, epsilon 1, delta 1e-5",
            "what epsilon 1 needs for any two updates",
            _never_update_zero(_local(sensitivity)),
            GaussianDpEvent(classic),
            relation=Relation.ADD_OR_REMOVE_ONE,
            numbers={"epsilon": gaussian_epsilon(mu=2 / (classic * sensitivity), delta=_DELTA)},
        )
        for sensitivity in (1, 2)
    ]
    adaptive = PeerFilter(
        "flwr",
        "DifferentialPrivacyServerSideAdaptiveClipping",
        "central DP with a clip norm that follows a noised count",
        "8 clients, all clipped, first round",
        "noise for the norm that the updates were clipped to",
        (),
        "The norm is moved between clipping and noise: the noise is of the new one.",
        {"noise": _adaptive_noise()},
    )
    return [adaptive, *local]


def _never_update_zero(run: Run) -> Run:
    """Spare a filter the sum that is exactly zero."""

    def spared(rows: Rows, source: Any) -> list[NDArray[Any]]:
        return run(rows if rows.sum(axis=0).any() else np.full((1, rows.shape[1]), 1e-12), source)

    return spared


# --- NVFLARE -------------------------------------------------------------------------------------


def _nvflare(data: Mapping[str, Any], made: Any) -> Any:
    dxo = import_module("nvflare.apis.dxo")
    context = import_module("nvflare.apis.fl_context").FLContext()
    shareable = import_module("nvflare.apis.shareable").Shareable()
    update = dxo.DXO(dxo.DataKind.WEIGHT_DIFF, data=dict(data))
    return made.process_dxo(update, shareable, context)


def _filtered(make: Callable[[], Any]) -> Run:
    def run(rows: Rows, source: Any) -> list[NDArray[Any]]:
        with numpy_drawing_from(source):
            return [np.array(_nvflare({"w": rows.sum(axis=0)}, make()).data["w"])]

    return run


def _percentile() -> list[PeerFilter]:
    make = import_module("nvflare.app_common.filters.percentile_privacy").PercentilePrivacy
    promise = "the largest percentile of an update is shared (Shokri and Shmatikov 2015)"
    return [
        _row(
            "nvflare",
            "PercentilePrivacy",
            promise,
            "defaults",
            "any Gaussian noise at all",
            _filtered(make),
            GaussianDpEvent(1.0),
            relation=Relation.ADD_OR_REMOVE_ONE,
        )
    ]


def _hang() -> None:
    make = import_module("nvflare.app_common.filters.svt_privacy").SVTPrivacy
    _nvflare({"w": np.full(100, np.nan)}, make())


def _returns(seconds: float) -> bool:
    process = multiprocessing.get_context("spawn").Process(target=_hang)
    process.start()
    process.join(seconds)
    returned = not process.is_alive()
    process.kill()
    process.join()
    return returned


def _sparse_vector() -> list[PeerFilter]:
    make = import_module("nvflare.app_common.filters.svt_privacy").SVTPrivacy
    promise = "sparse vector technique; its own ledger adds up threshold, queries and release"

    def everything() -> Any:
        return make(fraction=1.0, epsilon=1.0, gamma=0.01, replace=False, epsilon_release=3.0)

    rows = [
        _row(
            "nvflare",
            "SVTPrivacy",
            promise,
            "all values released, epsilon_release 3",
            f"LaplaceDpEvent(1 / {epsilon}): epsilon_release {epsilon}",
            _filtered(everything),
            LaplaceDpEvent(1 / epsilon),
            relation=Relation.ADD_OR_REMOVE_ONE,
        )
        for epsilon in (3, 2.9)
    ]
    default = make()
    scalar = 7.25
    sent = _nvflare({"w": np.zeros(_PARAMETERS), "b": np.float64(scalar)}, default)
    defaults_row = PeerFilter(
        "nvflare",
        "SVTPrivacy",
        promise,
        f"defaults (epsilon 0.1), {_PARAMETERS:,} values and a scalar",
        "what its own ledger says of one upload",
        (),
        "The argument epsilon is of the selection alone. A scalar is sent as it is; it says so.",
        {
            "epsilon": float(default.get_privacy_spent()),
            "scalar_error": abs(float(sent.data["b"]) - scalar),
        },
    )
    returned = _returns(_SECONDS)
    diverged = PeerFilter(
        "nvflare",
        "SVTPrivacy",
        promise,
        "defaults, an update of 100 NaN",
        "an answer",
        () if returned else ("hangs",),
        "" if returned else f"No value is ever accepted: it had not returned after {_SECONDS:g} s.",
        {},
    )
    return [*rows, defaults_row, diverged]
