"""An entry of the OpenDP deployments registry, read as the bare guarantee that it states.

The registry's template has ``deployment.privacy_loss`` with the privacy unit and its parameters.
What it does not say in so many words is not guessed: a ledger counts for one unit, under one
relation.
"""

from collections.abc import Mapping
from typing import Any

from privacy._foreign import quoted
from privacy.errors import CorruptMessageError, InvalidInputError
from privacy.ledger.imported import Guarantee

__all__ = ["registered"]

_LARGEST = 2**16  # bytes
_RELATIONS = {
    "add or remove one": "ADD_OR_REMOVE_ONE",
    "replace one": "REPLACE_ONE",
    "replace special": "REPLACE_SPECIAL",
}


def registered(content: bytes) -> tuple[Guarantee, str]:
    """Return the guarantee of an entry and the relation that it holds under.

    Args:
      content: The entry, as YAML.

    Raises:
      CorruptMessageError: It is no YAML, is too large, repeats parts of itself by alias, or has no
        privacy loss.
      InvalidInputError: Its unit is no patient, it names no relation, or its parameters are no
        epsilon and delta.
    """
    import yaml

    if len(content) > _LARGEST:
        raise CorruptMessageError(f"an entry has at most {_LARGEST} bytes, and it {len(content)}.")
    try:
        # A name for what stands elsewhere in the file grows, names of names without a bound.
        if any(isinstance(token, yaml.AliasToken) for token in yaml.scan(content)):
            raise CorruptMessageError("it repeats parts of itself by alias (*); write them out.")
        loss = yaml.safe_load(content)["deployment"]["privacy_loss"]
        unit = loss["privacy_unit"]
        details = loss.get("privacy_unit_details", "")
        parameters = loss["privacy_parameters"]
    except (
        yaml.YAMLError,
        ValueError,
        LookupError,
        TypeError,
        AttributeError,
        RecursionError,
    ) as e:
        raise CorruptMessageError(
            "it is no entry of the deployments registry: expected deployment.privacy_loss with "
            f"privacy_unit and privacy_parameters ({type(e).__name__})."
        ) from e
    if not isinstance(unit, str) or not unit.lower().startswith("patient"):
        raise InvalidInputError(
            f"its unit is {quoted(unit)}, and a budget counts patients. Where each of its units is "
            "a patient, say so in a .toml with [[claim]]."
        )
    relations = [word for word in _RELATIONS if word in str(details).lower()]
    if len(relations) != 1:
        raise InvalidInputError(
            "its privacy_unit_details name no relation between tables; expected one of "
            f"{', '.join(_RELATIONS)}."
        )
    if not isinstance(parameters, Mapping) or not {"epsilon", "delta"} >= set(parameters):
        raise InvalidInputError(
            "its privacy_parameters are no epsilon and delta; state what they are worth in a .toml "
            "with [[claim]]."
        )
    claim: Mapping[str, Any] = {"delta": 0.0} | dict(parameters)
    return Guarantee.from_json(dict(claim)), _RELATIONS[relations[0]]
