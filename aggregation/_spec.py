"""Objects that say what they are in plain JSON, and are rebuilt from it, by strangers too."""

import json
from collections.abc import Mapping
from dataclasses import fields
from typing import Any, TypeVar

from privacy.errors import InvalidInputError

__all__ = ["rebuilt"]

_Kind = TypeVar("_Kind")


def rebuilt(registered: Mapping[str, type[_Kind]], spec: Any, *, what: str) -> _Kind:
    """Return the object whose kind and fields a specification tells.

    Args:
      registered: Dataclasses by kind.
      spec: ``kind`` and fields, plain JSON values.
      what: What is rebuilt, for errors.

    Raises:
      InvalidInputError: Another kind, an unknown field, or a value of another type.
    """
    kind = spec.get("kind") if isinstance(spec, Mapping) else None
    if not isinstance(kind, str) or kind not in registered:
        named = f"{what} {kind[:50]!r}" if isinstance(kind, str) else f"{what} without a kind"
        raise InvalidInputError(f"Unknown {named}; choose one of {', '.join(registered)}.")
    from pydantic import TypeAdapter, ValidationError

    kind_class, given = registered[kind], {k: v for k, v in spec.items() if k != "kind"}
    unknown = given.keys() - {each.name for each in fields(kind_class)}  # type: ignore[arg-type]  # all are dataclasses
    if unknown:
        raise InvalidInputError(f"The {what} {kind!r} has no {len(unknown)} of these constants.")
    try:
        return TypeAdapter(kind_class).validate_json(json.dumps(given), strict=True)
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        place = ".".join(map(str, first["loc"][:1]))
        raise InvalidInputError(f"The {what} {kind!r}: {place}: {first['msg']}.") from error
