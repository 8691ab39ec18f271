"""Where the sites of a run meet over a network, and whose certificates count there."""

import re
from dataclasses import dataclass

from privacy._foreign import parse_json
from privacy.errors import CorruptMessageError, InvalidInputError
from privacy.ledger.forms import Form, constant, hexadecimal, matching, ruled, whole
from privacy.ledger.log import canonical

__all__ = ["NETWORK_FILE", "FlareNetwork", "require_carriable"]

NETWORK_FILE = "network.json"
_LARGEST = 1 << 12
_LABEL = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,62}")
_WORD = r"[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?"
_HOST = rf"(?=.{{1,64}}\Z){_WORD}(\.{_WORD})*"


@dataclass(frozen=True)
class FlareNetwork(Form):
    """The one address that all sites connect to, and the authority of their certificates.

    Attributes:
      host: Name or IPv4 address of the server's machine, as the sites reach it; it stands in the
        server's certificate.
      port: TCP port there; no other is opened anywhere.
      root: SHA-256 of the authority's own certificate (DER), in hex.
      version: Of this form.
    """

    host: str = ruled(matching(_HOST, "a host's name of at most 64 characters, or IPv4 address"))
    port: int = ruled(whole(1, 65535))
    root: str = ruled(hexadecimal(64))
    version: int = ruled(constant(1), 1)

    @property
    def fingerprint(self) -> str:
        """The authority's digest as certificates' tools write it."""
        pairs = [self.root[i : i + 2].upper() for i in range(0, 64, 2)]
        return f"SHA256:{':'.join(pairs)}"

    def to_bytes(self) -> bytes:
        """Return canonical JSON."""
        return canonical.encode(self.to_json())

    @classmethod
    def from_bytes(cls, content: bytes) -> "FlareNetwork":
        """Read what ``to_bytes`` wrote.

        Raises:
          CorruptMessageError: Something else.
        """
        try:
            return cls.from_json(parse_json(content, what=NETWORK_FILE, most=_LARGEST))
        except InvalidInputError as error:
            raise CorruptMessageError(f"{NETWORK_FILE} tells no network: {error}") from error


def require_carriable(site: str) -> str:
    """Return a site's name, if a certificate can carry it.

    Raises:
      InvalidInputError: It can't.
    """
    if not _LABEL.fullmatch(site):
        raise InvalidInputError(
            f"The site's name {site!r} can't stand in a certificate: between machines names have "
            "letters, digits, _ and - alone. Name it otherwise in federation.toml."
        )
    return site
