"""What the parties of a real run keep while it lasts, so that they can take it up after a crash."""

import shutil
from collections.abc import Mapping
from pathlib import Path

from aggregation.agreement import Agreement
from aggregation.engines.carried import Carried
from aggregation.plan import Plan
from aggregation.roles.kept import Kept
from aggregation.sealing import (
    Adder,
    KeyScheme,
    Opener,
    Parameters,
    Policy,
    Roster,
    Scheme,
    Sealer,
    load_adder,
    load_holder,
    load_opener,
    load_sealer,
    scheme_class,
)
from aggregation.sealing.holders import Holder, QuorumScheme
from aggregation.sized import sealing_for
from privacy.errors import InvalidInputError, RefusedError
from privacy.files import make_folder, read_regular, sync_folder, write_durably
from privacy.ledger import SigningKey
from privacy.ledger.log import canonical

__all__ = ["KeptScheme", "RunFolder"]

_LARGEST = 2**31
_SEALER = "sealer"


class KeptScheme:
    """The roles of one run's scheme, each read from what its party keeps.

    Attributes:
      parameters: The run's.
      quorum: The scheme's class where holders open; None: one party has the key.
    """

    def __init__(
        self, adder: bytes, sealers: Mapping[str, bytes], openers: Mapping[str, bytes]
    ) -> None:
        self._added, self._sealers, self._openers = adder, sealers, openers
        self.parameters: Parameters = self.adder().parameters
        scheme = scheme_class(self.parameters.scheme)
        self.quorum = scheme if issubclass(scheme, QuorumScheme) else None

    def adder(self) -> Adder:
        """Return the aggregator's role."""
        return load_adder(self._added)

    def sealer(self, hospital: str) -> Sealer:
        """Return the role of one hospital."""
        return load_sealer(self._sealers[hospital], hospital)

    def holders(self, policy: Policy) -> dict[str, Holder]:
        """Return all holders, each with a policy and a log of its own."""
        return {
            name: load_holder(content, policy.fork(name)) for name, content in self._openers.items()
        }

    def opener(self, policy: Policy) -> Opener:
        """Return the role of the key holder."""
        (content,) = self._openers.values()
        return load_opener(content, policy)


class RunFolder:
    """A folder (mode 700, files 600) with one inside for each party of a run in one process.

    ``hospital <name>``: its sealer, its last update, the sums that it learnt (``Kept``).
    ``holder <name>`` or ``opener``: its secret, and the opener's signing key. ``aggregator``: its
    adder and what passed it. ``agreed``: what the run is, written when all else is there.

    Guarantees (each is a test in ``tests/aggregation/test_resumed.py``):
      - a run is taken up under the very plan, keys and parameters that it was begun with, or not;
      - a folder that holds a run is not used for another.

    Not for backups. What is deleted at the end, and why: ``Federation.save``.

    Args:
      folder: The folder.
      resume: Whether a run that died there is taken up.

    Raises:
      InvalidInputError: A run is there and is not to be taken up; or none is that could be.
    """

    def __init__(self, folder: Path, *, resume: bool) -> None:
        self._folder = folder
        self._resume = resume
        self._kept: dict[str, Kept] = {}
        self._carried: Carried | None = None
        if resume and not (folder / "agreed").exists():
            raise InvalidInputError(
                f"No run that could be taken up is in {folder}: there was none, it has ended, or "
                "it died before anything was sent. Start one in a new folder."
            )
        if not resume and folder.exists():
            raise InvalidInputError(
                f"{folder} holds a run that has not ended, and nothing of it is ever overwritten. "
                "Take it up (resume=True), or choose another folder with --out."
            )

    def carried(self) -> Carried:
        """Return what passed the aggregator, and will."""
        if self._carried is None:
            self._carried = Carried(self._folder / "aggregator" / "passed")
        return self._carried

    def parties(
        self, agreement: Agreement, keys: Mapping[str, SigningKey], *, detects: bool
    ) -> tuple[KeptScheme, SigningKey]:
        """Return the run's scheme and the opener's key: made and written down, or found again.

        Raises:
          RefusedError: Another process has a party's folder, or the disk refuses.
        """
        names = agreement.plan.hospitals
        try:
            if self._resume:
                return self._found(names)
            scheme = sealing_for(agreement.plan, agreement.timing, detects=detects)
            if isinstance(scheme, QuorumScheme):
                scheme = scheme.vouched(agreement.plan.run, keys)
            return self._made(scheme, agreement.plan, keys)
        except OSError as error:
            raise RefusedError(
                f"What the run's parties keep in {self._folder} can't be had: {error.strerror}."
            ) from error

    def require(self, agreement: Agreement) -> None:
        """Write down what was agreed on; of a run that is taken up, demand that it is the same.

        Raises:
          InvalidInputError: It is another.
          RefusedError: The disk refuses.
        """
        timing = canonical.digest(repr(agreement.timing).encode())
        said = canonical.encode({"plan": agreement.plan.digest, "timing": timing})
        path = self._folder / "agreed"
        try:
            if not self._resume:
                write_durably(path, said, mode=0o600)
                sync_folder(self._folder.parent)
            elif read_regular(path, largest=_LARGEST) != said:
                raise InvalidInputError(
                    f"The run in {self._folder} was begun with another plan, rule or schedule. "
                    "Take it up with its own; for another run choose another folder."
                )
        except OSError as error:
            raise RefusedError(f"{path} can't be had: {error.strerror}.") from error

    def kept(self, hospital: str) -> Kept:
        """Return a hospital's folder."""
        if hospital not in self._kept:
            self._kept[hospital] = Kept(self._folder / f"hospital {hospital}")
        return self._kept[hospital]

    def delete(self) -> None:
        """Delete all of it: the run has ended."""
        # First, so that what is half deleted is taken up by nobody.
        (self._folder / "agreed").unlink(missing_ok=True)
        shutil.rmtree(self._folder)

    def close(self) -> None:
        """Let another process have it."""
        for kept in self._kept.values():
            kept.close()
        if self._carried is not None:
            self._carried.close()

    def _made(
        self, scheme: Scheme, plan: Plan, keys: Mapping[str, SigningKey]
    ) -> tuple[KeptScheme, SigningKey]:
        make_folder(self._folder, mode=0o700)
        SigningKey.create(self._folder / "opener" / "key")
        self._write("aggregator", "adder", scheme.adder().to_bytes())
        for name in plan.hospitals:
            self.kept(name).put({_SEALER: scheme.sealer(name).to_bytes()})
        members = {name: key.public for name, key in keys.items()}
        policy = Policy(Roster(plan.run, members), min_honest=1, c_assumed=0)  # nothing is opened
        if isinstance(scheme, QuorumScheme):
            for name, holder in scheme.holders(policy).items():
                self._write(f"holder {name}", "secret", holder.to_bytes())
        elif isinstance(scheme, KeyScheme):
            self._write("opener", "secret", scheme.opener(policy).to_bytes())
        return self._found(plan.hospitals)

    def _found(self, names: tuple[str, ...]) -> tuple[KeptScheme, SigningKey]:
        sealers = {name: self.kept(name).get(_SEALER) or b"" for name in names}
        openers = {
            path.parent.name.removeprefix("holder "): _read(path)
            for path in sorted(self._folder.glob("*/secret"))
        }
        adder = _read(self._folder / "aggregator" / "adder")
        key = SigningKey.load(self._folder / "opener" / "key")
        return KeptScheme(adder, sealers, openers), key

    def _write(self, party: str, name: str, content: bytes) -> None:
        make_folder(self._folder / party, mode=0o700)
        write_durably(self._folder / party / name, content, mode=0o600)


def _read(path: Path) -> bytes:
    return read_regular(path, largest=_LARGEST, secret=True)
