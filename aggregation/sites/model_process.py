"""A torch model of a site, run by a process of its own that has no key, no ledger and no network.

    site's daemon                         model's process (model_child)
    model's spec, its file's bytes  --->  imports; gives up files and network; makes the module
    first parameters are the plan's <---  first parameters, what it gave up, the environment
    parameters, drawn rows          --->  gradients, in blocks of one shape
    a row for each, finite or zero  <---  numbers alone

What comes back is a stranger's: its size is known before it is read, and it is waited for so long
and no longer. The daemon imports no torch.
"""

import hashlib
import os
import signal
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import fields
from enum import StrEnum
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Int
from numpy.typing import NDArray

from aggregation.models.model_file import ModelFile
from aggregation.models.torch_model import SHIPPED, RunsModule, TorchModel
from aggregation.roles.messages import pack, unpack
from aggregation.sites.confinement import SHUT, keep_from_debuggers
from privacy._foreign import parse_json, printable
from privacy.errors import CorruptMessageError, RefusedError
from privacy.ledger.log import canonical

__all__ = [
    "LARGEST_TOLD",
    "LARGEST_WORDS",
    "ModelAnswer",
    "ModelApart",
    "ModelProcess",
    "ModelQuestion",
    "heard",
    "installed_file",
    "said",
]

LARGEST_TOLD = 1 << 25
"""Most bytes that a model is told with: its spec, its file, its first parameters."""

_LENGTH = struct.Struct("<Q")
LARGEST_WORDS = 2000
_SMALL = 1 << 14  # bytes of words or facts, and of lengths
_MOST_FACTS = 16
_ROOT = str(Path(__file__).resolve().parents[2])
_CHILD = (
    "import sys; sys.path.insert(0, sys.argv[1]); "
    "from aggregation.sites.model_child import main; main()"
)


class ModelQuestion(StrEnum):
    """What a model's process is asked for each row."""

    GRADIENTS = "gradients"
    SCORES = "scores"


class ModelAnswer(StrEnum):
    """What it answers."""

    SHUT = "shut"
    READY = "ready"
    REFUSED = "refused"
    ROWS = "rows"
    FAILED = "failed"


class ModelProcess(RunsModule):
    """Runs a plan's module in a child process; one that dies is started again.

    Guarantees (each is a test in ``tests/aggregation/sites/test_model_process.py``):
      - rows are those of the module in one process, to the last bit;
      - the process has no descriptor of this one, nothing of its environment, and a network of its
        own where the kernel gives one; before the module's code runs, the process can open neither
        file nor socket any more, or it is refused (``unconfined`` lets it run nevertheless);
      - whatever it answers, this process gets finite rows of the shape that was asked for, or a
        refusal within ``seconds``, in words that are not the module's;
      - a process that died is started once for what was asked, and asked again.

    Args:
      model: The plan's.
      file: Which the plan names.
      seconds: That one answer may take.
      unconfined: Whether it may run where files and sockets can't be kept from it.
      say: Writes a line about each start into the site's log.
      code: What the process runs.
    """

    def __init__(
        self,
        model: TorchModel,
        file: ModelFile,
        *,
        seconds: float = 300.0,
        unconfined: bool = False,
        say: Callable[..., None] = lambda *_, **__: None,
        code: str = _CHILD,
    ) -> None:
        self._model, self._file, self._seconds = model, file, seconds
        self._unconfined, self._say, self._code = unconfined, say, code
        self._child: subprocess.Popen[bytes] | None = None
        self._connection: socket.socket | None = None
        self._first: NDArray[np.float64] | None = None
        self._environment: dict[str, str] = {}

    @property
    def content(self) -> bytes:
        """Of the module's file."""
        return self._file.content

    @property
    def first(self) -> Float[np.ndarray, "dim"]:
        """The first parameters, which are the plan's.

        Raises:
          RefusedError: The process can't be started, or gives others.
        """
        if self._first is None:
            self._started()
        return np.asarray(self._first)

    @property
    def environment(self) -> Mapping[str, str]:
        """What of the machine the last bits of a gradient depend on, as the process says.

        Raises:
          RefusedError: As ``first``.
        """
        if self._first is None:
            self._started()
        return self._environment

    def gradients(
        self,
        params: Float[np.ndarray, "dim"],
        x: Float[np.ndarray, "patients features"],
        y: Int[np.ndarray, "patients"],
        slots: Int[np.ndarray, "patients"] | None,
        offset: float = 0.0,
    ) -> tuple[Float[np.ndarray, "patients dim"], Float[np.ndarray, "patients"]]:
        """Return each record's gradient and log-odds (before the offset); zeros if not finite.

        Raises:
          RefusedError: The process gives none.
        """
        rows = self._asked(
            ModelQuestion.GRADIENTS, params, x, y, slots, offset, self._model.dim + 1
        )
        return rows[:, :-1], rows[:, -1]

    def scores_and_losses(
        self,
        params: Float[np.ndarray, "dim"],
        x: Float[np.ndarray, "patients features"],
        y: Int[np.ndarray, "patients"],
        slots: Int[np.ndarray, "patients"] | None,
    ) -> tuple[Float[np.ndarray, "patients"], Float[np.ndarray, "patients"]]:
        """Return each record's log-odds and loss; zeros if not finite.

        Raises:
          RefusedError: The process gives none.
        """
        rows = self._asked(ModelQuestion.SCORES, params, x, y, slots, 0.0, 2)
        return rows[:, 0], rows[:, 1]

    def close(self) -> None:
        """End the process; it is started again when it is asked again."""
        if self._connection is not None:
            self._connection.close()
        if self._child is not None:
            with suppress(OSError):
                os.killpg(self._child.pid, signal.SIGKILL)
            self._child.wait()
        self._child = self._connection = None

    def _asked(
        self,
        question: ModelQuestion,
        params: NDArray[np.float64],
        x: NDArray[np.float64],
        y: NDArray[np.int64],
        slots: NDArray[np.int64] | None,
        offset: float,
        width: int,
    ) -> NDArray[np.float64]:
        if not len(x):
            return np.zeros((0, width))
        arrays = (params.astype("<f8"), x.astype("<f8"), y.astype("<i8"))
        places = b"" if slots is None else slots.astype("<i8").tobytes()
        parts = (question.encode(), *(a.tobytes() for a in arrays), places,
                 np.array([offset], dtype="<f8").tobytes())  # fmt: skip
        size = 8 * len(x) * width
        try:
            kind, content = self._exchanged(parts, size)
            if kind != ModelAnswer.ROWS or len(content) != 1 or len(content[0]) != size:
                raise CorruptMessageError("it gave no rows, or rows of another shape")
        except (CorruptMessageError, OSError) as error:
            self.close()
            why = error if isinstance(error, CorruptMessageError) else "it did not answer in time"
            raise RefusedError(
                f"The process of the model {self._file.path} was asked for rows of {len(x)} "
                f"records and ended by this site: {why}. What it says of rows is told nowhere, for "
                "it could quote a patient: try the file on made-up rows. Time is module_seconds in "
                "site.toml."
            ) from None
        rows = np.frombuffer(content[0], dtype="<f8").reshape(len(x), width).copy()
        rows[~np.isfinite(rows).all(axis=1)] = 0.0  # as ``Program``; here nobody is believed
        return rows

    def _exchanged(self, parts: Sequence[bytes], size: int) -> tuple[str, tuple[bytes, ...]]:
        """Ask, and ask once more if the process is gone."""
        for again in (True, False):
            connection = self._connection or self._started()
            until = time.monotonic() + self._seconds
            try:
                said(connection, *parts, until=until)
                return _answer(heard(connection, size + _SMALL, until=until))
            except ConnectionError as error:
                self.close()
                self._say("model ended", again=again)
                if not again:
                    raise CorruptMessageError("it died twice; is there memory enough?") from error
        raise AssertionError

    def _started(self) -> socket.socket:
        """Start the process and have it make the module.

        Raises:
          RefusedError: It can't be started, is not confined, or makes another module.
        """
        self.close()
        keep_from_debuggers()  # this process has keys in memory, and the child is of its user
        ours, theirs = socket.socketpair()
        with theirs:
            self._child = subprocess.Popen(  # noqa: S603 - our own interpreter and code
                [sys.executable, "-I", "-c", self._code, _ROOT],
                stdin=theirs.fileno(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                env={}, cwd="/", close_fds=True, start_new_session=True,
            )  # fmt: skip
        self._connection = ours
        try:
            self._take_up(ours)
        except (CorruptMessageError, OSError) as error:
            self.close()
            why = "it died, or did not answer in time" if isinstance(error, OSError) else error
            raise RefusedError(
                f"The process of the model {self._file.path} can't be started: {why}. Time is "
                "module_seconds in site.toml."
            ) from None
        except BaseException:
            self.close()
            raise
        return ours

    def _take_up(self, connection: socket.socket) -> None:
        until = time.monotonic() + self._seconds
        spec = canonical.encode(self._model.spec)
        parts = (spec, str(self._file.path).encode(), self._file.content, self._file.beside)
        said(connection, *parts, until=until)
        kind, content = _answer(heard(connection, _SMALL, until=until))
        if kind == ModelAnswer.REFUSED:
            raise RefusedError(_words(content))
        if kind != ModelAnswer.SHUT or len(content) != 2:
            raise CorruptMessageError("it did not say what it gave up")
        files, network = (_words([part]) for part in content)
        if files != SHUT and not self._unconfined:
            raise RefusedError(
                f"Here nothing keeps the code of {self._file.path} from this user's files and from "
                "the network, so none of it was run. Run the site on a Linux that limits "
                "descriptors (RLIMIT_NOFILE), or set module_unconfined = true in site.toml: then "
                "the file is trusted with the site's keys."
            )
        said(connection, until=until)
        largest = 8 * self._model.dim + _SMALL
        kind, content = _answer(heard(connection, largest, until=until))
        if kind == ModelAnswer.REFUSED:
            raise RefusedError(_words(content))
        if kind != ModelAnswer.READY or len(content) != 2:
            raise CorruptMessageError("it answered with what is none of its answers")
        if hashlib.sha256(content[1]).hexdigest() != self._model.first:
            raise RefusedError(
                f"The process of the model {self._file.path} has other first parameters than the "
                "plan names."
            )
        environment = _read_environment(content[0])
        if self._first is not None and environment != self._environment:
            raise RefusedError(
                "torch or the processor changed while this site ran. Start the site again."
            )
        self._first = np.frombuffer(content[1], dtype="<f8").copy()
        self._environment = environment
        self._say("model started", module=self._model.source[:16], files=files, network=network)


class ModelApart(TorchModel):
    """A plan's torch model whose rows come from another process."""

    _runs: RunsModule

    @classmethod
    def run_by(cls, model: TorchModel, runs: RunsModule) -> "ModelApart":
        """Return the model of a plan, run by a process."""
        made = cls(**{field.name: getattr(model, field.name) for field in fields(model)})
        object.__setattr__(made, "_runs", runs)  # no field: plans say nothing of it
        return made

    @property
    def program(self) -> RunsModule:
        """The process."""
        return self._runs


def installed_file(model: TorchModel, path: Path | None) -> ModelFile:
    """Return the file that a plan's model is of.

    Args:
      model: The plan's.
      path: Where this site has installed it; None: it has none.

    Raises:
      InvalidInputError: It can't be read.
      RefusedError: It is another one, or none was named and none that is shipped is meant.
    """
    if path is None:
        for shipped in SHIPPED.values():
            file = ModelFile.read(Path(shipped.rpartition(":")[0]))
            if file.digest == model.source:
                return file
        raise RefusedError(
            f"The plan's model is made by {model.factory!r} of a file with the SHA-256 "
            f"{model.source}, and this site has named none. Have the file sent, read it as you "
            'would read a program, install it, and name it: module = "FILE" in site.toml, '
            "--module FILE where the site joins."
        )
    file = ModelFile.read(path)
    if file.digest != model.source:
        raise RefusedError(
            f"{path} has the SHA-256 {file.digest}, and the plan's model is of a file with "
            f"{model.source}: it is another file, or it was changed. Nothing of it was run. Ask "
            "the coordinator for the plan's file, and read it anew."
        )
    return file


def said(connection: socket.socket, *parts: bytes | str, until: float | None = None) -> None:
    """Write one frame of several byte strings.

    Raises:
      OSError: The other end is gone, or does not read in time.
    """
    body = pack([part.encode() if isinstance(part, str) else part for part in parts])
    _wait(connection, until)
    connection.sendall(_LENGTH.pack(len(body)))
    _wait(connection, until)
    connection.sendall(body)


def heard(
    connection: socket.socket, largest: int, *, until: float | None = None
) -> tuple[bytes, ...]:
    """Read one frame of at most ``largest`` bytes, before the monotonic clock says ``until``.

    Raises:
      ConnectionError: The other end is gone.
      TimeoutError: It does not answer in time.
      CorruptMessageError: A larger frame, which is not read, or none.
    """
    (length,) = _LENGTH.unpack(_exactly(connection, _LENGTH.size, until))
    if length > largest:
        raise CorruptMessageError(f"it answered with {length} bytes where {largest} are read")
    return unpack(_exactly(connection, length, until), most=8)


def _answer(parts: tuple[bytes, ...]) -> tuple[str, tuple[bytes, ...]]:
    return parts[0].decode(errors="replace") if parts else "", parts[1:]


def _exactly(connection: socket.socket, count: int, until: float | None) -> bytes:
    received = bytearray()
    while len(received) < count:
        _wait(connection, until)
        part = connection.recv(min(count - len(received), 1 << 20))
        if not part:
            raise ConnectionError("the other end is gone")
        received += part
    return bytes(received)


def _wait(connection: socket.socket, until: float | None) -> None:
    if until is not None:
        remaining = until - time.monotonic()
        if remaining <= 0:
            raise TimeoutError("it did not answer in time")
        connection.settimeout(remaining)


def _words(parts: Sequence[bytes]) -> str:
    return printable(b"".join(parts).decode(errors="replace"))[:LARGEST_WORDS]


def _read_environment(content: bytes) -> dict[str, str]:
    facts: Any = parse_json(content, what="The environment of a model's process", most=_SMALL)
    if not isinstance(facts, dict) or len(facts) > _MOST_FACTS:
        raise CorruptMessageError("it says of its environment what is no short list of facts")
    if not all(isinstance(word, str) and printable(word) == word for word in facts.values()):
        raise CorruptMessageError("it says of its environment what is no plain text")
    return facts
