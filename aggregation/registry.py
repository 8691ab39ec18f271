"""Things of one kind by name, open to other files: what is added is met wherever the kind is used.

>>> dishes = Registry("dish", {"soup": 1})
>>> dishes.add("bread", 2)
>>> sorted(dishes), dishes["bread"]
(['bread', 'soup'], 2)
>>> dishes.find("cake")
Traceback (most recent call last):
privacy.errors.InvalidInputError: Unknown dish 'cake'; choose one of soup, bread.
"""

from collections.abc import Iterator, Mapping
from typing import TypeVar

from privacy.errors import InvalidInputError
from privacy.names import plain_name

__all__ = ["Registry"]

Thing = TypeVar("Thing")


class Registry(Mapping[str, Thing]):
    """A mapping that only grows.

    A name is never given to another thing: records, plans and tables name things by it. A class or
    function that is defined again from the same file (a guide's code run twice) is the same thing.
    """

    def __init__(self, kind: str, things: Mapping[str, Thing] | None = None) -> None:
        self.kind = kind
        self._things = dict(things or {})
        self._built_in = frozenset(self._things)

    def add(self, name: str, thing: Thing) -> None:
        """Register a thing.

        Raises:
          InvalidInputError: A name that can't be one, or that another thing has.
        """
        plain_name(**{self.kind: name})
        if name in self._things and _origin(self._things[name]) != _origin(thing):
            raise InvalidInputError(
                f"The {self.kind} {name!r} is there already, and records name it. Choose another "
                "name."
            )
        self._things[name] = thing

    def mark_built_in(self) -> None:
        """Say that what is there now is the project's own; only what comes later is ``added``."""
        self._built_in = frozenset(self._things)

    def find(self, name: str) -> Thing:
        """Return a thing.

        Raises:
          InvalidInputError: Nothing has this name; the error lists the names.
        """
        if name not in self._things:
            raise InvalidInputError(
                f"Unknown {self.kind} {name!r}; choose one of {', '.join(self._things)}."
            )
        return self._things[name]

    @property
    def added(self) -> tuple[str, ...]:
        """Names of what was registered later, by other files."""
        return tuple(name for name in self._things if name not in self._built_in)

    def __getitem__(self, name: str) -> Thing:
        return self._things[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._things)

    def __len__(self) -> int:
        return len(self._things)


def _origin(thing: object) -> object:
    """What tells two things apart: where a class or function is defined, else the thing itself."""
    name = getattr(thing, "__qualname__", None)
    return thing if name is None else (getattr(thing, "__module__", None), name)
