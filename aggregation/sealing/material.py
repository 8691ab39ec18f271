"""A role as bytes: its public parameters and what it was given, framed like every message.

frame( length of the parameters 4 | parameters as canonical JSON | material )
"""

import struct

from aggregation.sealing.envelope import Kind, peek_label, unwrap, wrap
from aggregation.sealing.parameters import Parameters
from privacy.errors import CorruptMessageError
from privacy.ledger.log import canonical

__all__ = ["join", "scheme_of", "split"]

_LENGTH = struct.Struct("<I")
_LARGEST = 1 << 26


def join(kind: Kind, label: str, parameters: Parameters, material: bytes) -> bytes:
    """Frame a role."""
    public = canonical.encode(parameters.to_json())
    content = _LENGTH.pack(len(public)) + public + material
    return wrap(kind, label, parameters.digest, content)


def split(message: bytes, kind: Kind, label: str) -> tuple[Parameters, bytes]:
    """Return a role's parameters and material.

    Raises:
      CorruptMessageError: Damaged, of another scheme or version, or another role: a server that was
        given an adder has nothing that could be read as an opener.
    """
    content = unwrap(message, kind, label, None, largest=_LARGEST)
    if len(content) < _LENGTH.size:
        raise CorruptMessageError("This role holds no parameters; it was not written by to_bytes.")
    (length,) = _LENGTH.unpack_from(content)
    public = content[_LENGTH.size : _LENGTH.size + length]
    parameters = Parameters.from_json(canonical.decode(public))
    unwrap(message, kind, label, parameters.digest, largest=_LARGEST)
    return parameters, content[_LENGTH.size + length :]


def scheme_of(message: bytes) -> str:
    """Return the name of the scheme that a role belongs to, from its frame's label."""
    return peek_label(message).split("/")[0]
