"""A sealed update with its hospital's signature: what is opened is what hospitals signed.

A signed *list of names* would not bind the ciphertexts; a server could pass one hospital's update
off as a sum. So each signature covers the digest of the very bytes, and whoever opens adds those
bytes.
"""

import hashlib
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TypeVar

from privacy._validate import natural, positive
from privacy.errors import CorruptMessageError, InvalidInputError
from privacy.ledger.log import canonical
from privacy.ledger.log.heads import Extension, Head
from privacy.ledger.log.keys import SigningKey, verifies

__all__ = ["Contribution"]

Json = str | int | float | bool | None

_DOMAIN = "inpatient contribution v2"
_NONCE_BYTES = 16

_Form = TypeVar("_Form", Head, Extension)


@dataclass(frozen=True)
class Contribution:
    """One sealed update of one hospital, signed.

    Attributes:
      run: Name of the run.
      hospital: Name of the hospital.
      base_version: Number of the model that the update was computed from.
      nonce: 32 hex digits, drawn once a contribution; a contribution enters one opened sum at most.
      weight: What the hospital multiplied its update by, before the noise. Nobody else may.
      parameters: Digest of the sealing parameters, in hex.
      sealed: The sealed bytes.
      head: The hospital's ledger after it spent for this update, signed, or None.
      extends: Proof that the head extends the last one that was seen in an opened sum; None: none
        was.
      model: SHA-256 of the parameters that the update was computed on, in hex; None: not told.
      signature: Ed25519 over all of the above (the sealed bytes by their SHA-256), in hex.
    """

    run: str
    hospital: str
    base_version: int
    nonce: str
    weight: float
    parameters: str
    sealed: bytes = field(repr=False)
    head: Head | None = None
    extends: Extension | None = None
    model: str | None = None
    signature: str = field(default="", repr=False)

    def __post_init__(self) -> None:
        natural(base_version=self.base_version)
        positive(weight=self.weight)

    @classmethod
    def sign(
        cls,
        key: SigningKey,
        sealed: bytes,
        *,
        run: str,
        hospital: str,
        base_version: int,
        parameters: str,
        weight: float = 1.0,
        nonce: str | None = None,
        head: Head | None = None,
        extends: Extension | None = None,
        model: str | None = None,
    ) -> "Contribution":
        """Sign a sealed update; the nonce comes from the operating system unless given."""
        nonce = secrets.token_hex(_NONCE_BYTES) if nonce is None else nonce
        unsigned = cls(
            run, hospital, base_version, nonce, float(weight), parameters, sealed, head, extends,
            model,
        )  # fmt: skip
        return replace(unsigned, signature=key.sign(unsigned.statement))

    @cached_property
    def ciphertext(self) -> str:
        """SHA-256 of the sealed bytes, in hex."""
        return hashlib.sha256(self.sealed).hexdigest()

    @property
    def ledger_head(self) -> str | None:
        """SHA-256 of the head, in hex: what the signature covers of it."""
        return None if self.head is None else canonical.digest(self.head.note)

    @property
    def statement(self) -> bytes:
        """The bytes that the signature covers: canonical JSON, with a domain of its own."""
        return canonical.encode(
            {
                "domain": _DOMAIN,
                "run": self.run,
                "hospital": self.hospital,
                "base_version": self.base_version,
                "nonce": self.nonce,
                "weight": self.weight,
                "parameters": self.parameters,
                "ciphertext": self.ciphertext,
                "ledger_head": self.ledger_head,
                "extends": None if self.extends is None else self.extends.to_json(),
                "model": self.model,
            }
        )

    def verifies(self, public_key: str) -> bool:
        """Whether this hospital's key signed exactly this contribution."""
        return verifies(public_key, self.signature, self.statement)

    @property
    def public(self) -> dict[str, Json]:
        """Everything but the sealed bytes, as plain JSON values: what a transcript shows."""
        beside: dict[str, Json] = {} if self.model is None else {"model": self.model}
        for name, form in (("head", self.head), ("extends", self.extends)):
            if form is not None:
                beside[name] = canonical.encode(form.to_json()).decode()
        return {
            "run": self.run,
            "hospital": self.hospital,
            "base_version": self.base_version,
            "nonce": self.nonce,
            "weight": self.weight,
            "parameters": self.parameters,
            "ledger_head": self.ledger_head,
            "signature": self.signature,
            **beside,
        }

    @classmethod
    def from_message(cls, sealed: bytes, public: Mapping[str, Json]) -> "Contribution":
        """Put a message's payload and its public values together again; further values are ignored.

        Raises:
          CorruptMessageError: A value is missing or of another type.
        """
        text = {}
        for name in ("run", "hospital", "nonce", "parameters", "signature"):
            value = public.get(name)
            if not isinstance(value, str):
                raise CorruptMessageError(f"A contribution needs {name} as text, got {value!r}.")
            text[name] = value
        base_version, weight = public.get("base_version"), public.get("weight")
        if not isinstance(base_version, int) or isinstance(base_version, bool) or base_version < 0:
            raise CorruptMessageError(f"A contribution has base_version {base_version!r}.")
        if (
            not isinstance(weight, int | float)
            or isinstance(weight, bool)
            or not 0 < weight < 2**53
        ):
            raise CorruptMessageError(f"A contribution has weight {weight!r}; expected above 0.")
        model = public.get("model")
        if model is not None and not isinstance(model, str):
            raise CorruptMessageError(f"A contribution has model {model!r}; expected a digest.")
        made = cls(
            run=text["run"],
            hospital=text["hospital"],
            base_version=base_version,
            nonce=text["nonce"],
            weight=float(weight),
            parameters=text["parameters"],
            sealed=sealed,
            head=_form(Head, public.get("head")),
            extends=_form(Extension, public.get("extends")),
            model=model,
            signature=text["signature"],
        )
        if public.get("ledger_head") != made.ledger_head:
            raise CorruptMessageError(
                f"A contribution names the ledger head {public.get('ledger_head')!r} and comes "
                f"with {made.ledger_head!r}."
            )
        return made


def _form(kind: type[_Form], value: Json) -> _Form | None:
    if value is None:
        return None
    try:
        if not isinstance(value, str):
            raise InvalidInputError(f"Expected text, got {value!r}.")
        return kind.from_json(canonical.decode(value.encode("utf-8", "surrogatepass")))
    except InvalidInputError as error:
        what = kind.__name__.lower()
        raise CorruptMessageError(f"The {what} of a contribution can't be read: {error}") from error
