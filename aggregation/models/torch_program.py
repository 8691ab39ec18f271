"""Record gradients of a torch module in float64, in blocks of one shape.

``torch.func.vmap`` over a batch is one matrix product over its rows, and the order in which that
adds follows the number of rows, the row's place and the buffer's alignment: packed in the table's
order, one patient's leaving moved the integer sum by 2.5 times its bound. So every block has
``SLOTS`` rows, whatever is in it; a patient's row in it follows from the patient's id alone; each
block is copied into a new buffer, which torch aligns to 64 bytes; what is empty is never read.
Rows then depended on nothing but record and slot, whatever else was in the block (measured; see
``TorchModel`` for what is claimed).
"""

import hashlib
import platform
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Lock

import numpy as np
import torch
from jaxtyping import Float, Int
from numpy.typing import NDArray
from torch import Tensor
from torch.func import functional_call, grad, vmap

from aggregation.data.patients import SLOTS
from aggregation.models.inputs import Inputs
from aggregation.models.torch_model import SHIPPED, RunsModule, TorchModel
from aggregation.models.torch_source import SOURCES, approve
from privacy.errors import InvalidInputError, RefusedError

__all__ = [
    "Program",
    "Recorded",
    "constructed",
    "flat",
    "in_float64",
    "log_odds",
    "packed",
    "rebuilt",
]

_Named = dict[str, Tensor]


def log_odds(logits: Tensor, rows: int) -> Tensor:
    """Return what a module gives as log-odds ``[n]``: as they are, or of two logits the difference.

    Cross-entropy of two logits is binary cross-entropy of their difference, and so are its
    gradients.

    Args:
      logits: ``[n]``, ``[n, 1]`` or ``[n, 2]``.
      rows: n, which is asked for; -1: however many there are.
    """
    if logits.dim() == 2 and logits.shape[1] == 2:
        return logits[:, 1] - logits[:, 0]
    return logits.reshape(rows)


class Recorded(torch.nn.Module):
    """A module, and the loss of what it gives: both read the parameters that are handed in."""

    def __init__(self, module: torch.nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, x: Tensor, y: Tensor, offset: float) -> tuple[Tensor, Tensor]:
        """Return the log-odds ``[n]`` of rows ``[n, features]``, and each one's loss."""
        scores = log_odds(self.module(x), len(x))
        moved, module_loss = scores + offset, getattr(self.module, "loss", None)
        if module_loss is not None:
            return scores, module_loss(moved, y)
        losses = torch.nn.functional.binary_cross_entropy_with_logits(moved, y, reduction="none")
        return scores, losses


class Program(RunsModule):
    """A module with its first parameters, ready to give rows.

    Args:
      module: In float64.
      first: Its parameters, flat.
      content: Of the file that it is from.
    """

    def __init__(
        self, module: torch.nn.Module, first: NDArray[np.float64], content: bytes = b""
    ) -> None:
        self.module = module
        self._first, self._content = first, content
        self._shapes = [(f"module.{n}", p.shape) for n, p in module.named_parameters()]
        self.recorded = Recorded(module)
        self._lock = Lock()  # torch puts the parameters into the one module while it runs

    @property
    def first(self) -> Float[np.ndarray, "dim"]:
        """The first parameters, flat."""
        return self._first

    @property
    def content(self) -> bytes:
        """Of the module's file."""
        return self._content

    @property
    def environment(self) -> dict[str, str]:
        """What of this machine the last bits of a gradient depend on."""
        return {
            "torch": torch.__version__,
            "torch threads": str(torch.get_num_threads()),
            "processor": f"{platform.machine()} {torch.backends.cpu.get_cpu_capability()}",
        }

    def gradients(
        self,
        params: Float[np.ndarray, "dim"],
        x: Float[np.ndarray, "patients features"],
        y: Int[np.ndarray, "patients"],
        slots: Int[np.ndarray, "patients"] | None,
        offset: float = 0.0,
    ) -> tuple[Float[np.ndarray, "patients dim"], Float[np.ndarray, "patients"]]:
        """Return each record's gradient and log-odds (before the offset); zeros if not finite."""

        def block(named: _Named, bx: Tensor, by: Tensor) -> Tensor:
            def loss(named: _Named, row: Tensor, outcome: Tensor) -> tuple[Tensor, Tensor]:
                return self._one(named, row, outcome, offset)

            rows, scores = vmap(grad(loss, has_aux=True), in_dims=(None, 0, 0), randomness="error")(
                named, bx, by
            )
            flat = [row.reshape(SLOTS, -1) for row in rows.values()]
            return torch.cat([*flat, scores.reshape(SLOTS, 1)], dim=1)

        gradients_and_scores = self._by_block(params, x, y, slots, block, len(params) + 1)
        return gradients_and_scores[:, :-1], gradients_and_scores[:, -1]

    def scores_and_losses(
        self,
        params: Float[np.ndarray, "dim"],
        x: Float[np.ndarray, "patients features"],
        y: Int[np.ndarray, "patients"],
        slots: Int[np.ndarray, "patients"] | None,
    ) -> tuple[Float[np.ndarray, "patients"], Float[np.ndarray, "patients"]]:
        """Return each record's log-odds and loss; zeros if not finite."""

        def block(named: _Named, bx: Tensor, by: Tensor) -> Tensor:
            def both(row: Tensor, outcome: Tensor) -> Tensor:
                loss, score = self._one(named, row, outcome, 0.0)
                return torch.stack([score, loss])

            with torch.no_grad():
                return vmap(both, randomness="error")(bx, by)

        pairs = self._by_block(params, x, y, slots, block, 2)
        return pairs[:, 0], pairs[:, 1]

    def whole(
        self,
        params: Float[np.ndarray, "dim"],
        x: Float[np.ndarray, "patients features"],
        y: Int[np.ndarray, "patients"],
    ) -> tuple[Float[np.ndarray, "patients"], Float[np.ndarray, "patients"]]:
        """Return log-odds and losses of a batch at once, as the module gives them by itself."""
        with self._lock, in_float64(), torch.no_grad():
            scores, losses = functional_call(
                self.recorded,
                self._named(params),
                (torch.from_numpy(x), torch.from_numpy(y.astype(np.float64)), 0.0),
            )
        return scores.numpy(), losses.numpy()

    def _one(
        self, named: _Named, row: Tensor, outcome: Tensor, offset: float
    ) -> tuple[Tensor, Tensor]:
        scores, losses = functional_call(
            self.recorded, named, (row.unsqueeze(0), outcome.unsqueeze(0), offset)
        )
        return losses.reshape(()), scores.reshape(())

    def _by_block(
        self,
        params: NDArray[np.float64],
        x: NDArray[np.float64],
        y: NDArray[np.int64],
        slots: NDArray[np.int64] | None,
        compute: Callable[[_Named, Tensor, Tensor], Tensor],
        width: int,
    ) -> NDArray[np.float64]:
        at = np.arange(len(x)) % SLOTS if slots is None else slots % SLOTS
        per_record = np.zeros((len(x), width))
        with self._lock, in_float64():
            named = self._named(params)
            for rows in packed(at):
                bx = torch.zeros(SLOTS, x.shape[1])  # new each time, and aligned: see above
                by = torch.zeros(SLOTS)
                places = torch.from_numpy(at[rows])
                bx[places] = torch.from_numpy(np.ascontiguousarray(x[rows], dtype=np.float64))
                by[places] = torch.from_numpy(y[rows].astype(np.float64))
                per_record[rows] = compute(named, bx, by)[places].detach().numpy()
        # Not multiplied by 0: NaN times 0 is NaN. An error would tell that such a patient is here.
        per_record[~np.isfinite(per_record).all(axis=1)] = 0.0
        return per_record

    def _named(self, params: NDArray[np.float64]) -> _Named:
        """Each parameter in a new buffer of its own: a view's alignment would follow the offset."""
        flat = torch.from_numpy(np.ascontiguousarray(params, dtype=np.float64))
        parts = torch.split(flat, [shape.numel() for _, shape in self._shapes])
        return {
            name: part.reshape(shape).clone()
            for (name, shape), part in zip(self._shapes, parts, strict=True)
        }


def packed(slots: Int[np.ndarray, "patients"]) -> Iterator[Int[np.ndarray, "_"]]:
    """Yield the rows of each block: no two of one slot, as few blocks as that takes.

    Which block a patient comes to depends on who else is there; what is computed from the patient
    does not, for all blocks are of one shape.
    """
    order = np.argsort(slots, kind="stable")
    ordered = slots[order]
    starts = np.flatnonzero(np.diff(ordered, prepend=-1))
    ranks = np.arange(len(slots)) - np.repeat(starts, np.diff(starts, append=len(slots)))
    for rank in range(int(ranks.max(initial=-1)) + 1):
        yield order[ranks == rank]


def constructed(name: str, inputs: Inputs, seed: int) -> TorchModel:
    """Approve a file, run its factory and check the module: ``TorchModel.of``."""
    from aggregation.models.torch_check import check_module, check_rows

    path, colon, factory = SHIPPED.get(name, name).rpartition(":")
    if not colon or not path or not factory:
        raise InvalidInputError(
            f"Expected FILE:FACTORY or one of {', '.join(SHIPPED)}, got {name!r}."
        )
    source = approve(Path(path))
    module = source.make(factory, inputs, seed)
    check_module(module, name)
    shapes = tuple((n, tuple(p.shape)) for n, p in module.named_parameters())
    given = source.first_parameters(sum(p.numel() for p in module.parameters()))
    drawn = flat(module)
    if given is None and not np.array_equal(drawn, flat(source.make(factory, inputs, seed))):
        raise InvalidInputError(
            f"{name} makes other parameters each time, under one seed: it draws from elsewhere "
            "than torch's generator. Use torch.nn.init or torch.rand, so that every hospital "
            "begins with the same ones."
        )
    first = drawn if given is None else given
    model = TorchModel(
        features=inputs.features,
        groups=inputs.groups,
        factory=factory,
        source=source.digest,
        seed=seed,
        parameters=shapes,
        first=_digest(first),
    )
    check_rows(Program(module.double(), first, source.content), inputs.features, name)
    return model


def rebuilt(model: TorchModel) -> Program:
    """Return what a plan names, from the file that this site approved.

    Raises:
      RefusedError: The file is not approved here, or does not give what the plan names.
      InvalidInputError: It breaks a rule (``torch_check``).
    """
    from aggregation.models.torch_check import check_module, check_rows

    if model.source not in SOURCES:
        for shipped in SHIPPED.values():
            approve(Path(shipped.rpartition(":")[0]))  # came with the code that runs here
    if model.source not in SOURCES:
        raise RefusedError(
            f"The plan's model is the factory {model.factory!r} of a file with the SHA-256 "
            f"{model.source}, which this site has not approved. Read that file, and name it: "
            "--model FILE:FACTORY where a model is trained, --module FILE where one is read, "
            "approve(FILE) in Python."
        )
    source = SOURCES[model.source]
    name = f"{source.path}:{model.factory}"
    module = source.make(model.factory, model.inputs, model.seed)
    check_module(module, name)
    shapes = tuple((n, tuple(p.shape)) for n, p in module.named_parameters())
    if shapes != model.parameters:
        raise RefusedError(
            f"{name} has other parameters here than the plan says: {_told(shapes)} instead of "
            f"{_told(model.parameters)}. The versions of torch may differ; agree on one."
        )
    first = flat(module)
    if _digest(first) != model.first:
        given = source.first_parameters(model.dim)
        if given is None or _digest(given) != model.first:
            raise RefusedError(
                f"{name} draws other first parameters here than the plan's (SHA-256 "
                f"{model.first[:16]}...): torch's generator gives other numbers here. Ask whoever "
                f"made the plan for them, and put them into {source.path.stem}.first.npy beside "
                "the file."
            )
        first = given
    program = Program(module.double(), first, source.content)
    check_rows(program, model.features, name)
    return program


def flat(module: torch.nn.Module) -> Float[np.ndarray, "dim"]:
    """Return a module's parameters as one float64 vector, in the order of their names."""
    parts = [p.detach().to(torch.float64).reshape(-1) for p in module.parameters()]
    return np.asarray(torch.cat(parts).numpy().copy())


def _digest(vector: NDArray[np.float64]) -> str:
    return hashlib.sha256(np.ascontiguousarray(vector, dtype="<f8").tobytes()).hexdigest()


def _told(shapes: tuple[tuple[str, tuple[int, ...]], ...]) -> str:
    return ", ".join(f"{name} {list(shape)}" for name, shape in shapes)[:300]


@contextmanager
def in_float64() -> Iterator[None]:
    """Constants that a module makes as it runs are float64 too."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        yield
    finally:
        torch.set_default_dtype(before)
