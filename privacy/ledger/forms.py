"""Records with one rule for each field, the same for who writes and for who reads.

A ``Form`` is a frozen dataclass whose fields are declared with ``ruled``. The rule runs when the
record is made, and ``from_json`` makes records alone: so what a writer may not write, a reader does
not believe, and no field is free: every number has a range, every text a length.

>>> from dataclasses import dataclass
>>> @dataclass(frozen=True)
... class Pair(Form):
...     name: str = ruled(text(8))
...     count: int = ruled(whole(1, 9))
>>> Pair.from_json({"name": "north", "count": 2}).to_json()
{'name': 'north', 'count': 2}
>>> Pair.from_json({"name": "north", "count": -10})
Traceback (most recent call last):
    ...
privacy.errors.InvalidInputError: Expected count=-10 to be a whole number from 1 to 9.
"""

import enum
import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import MISSING, dataclass, field, fields
from typing import Any, NamedTuple, NoReturn, TypeVar

import numpy as np

from privacy._foreign import quoted
from privacy.errors import InvalidInputError
from privacy.names import plain_name

__all__ = [
    "FieldRule",
    "Form",
    "constant",
    "event",
    "facts",
    "flag",
    "form",
    "hexadecimal",
    "listed",
    "mapping",
    "matching",
    "name",
    "number",
    "one_of",
    "optional",
    "refuse",
    "ruled",
    "text",
    "whole",
]

NAME = 64  # characters of a name: a hospital, a run, a kind
SENTENCE = 500  # characters of a reason

_Form = TypeVar("_Form", bound="Form")


def _same(value: Any) -> Any:
    return value


class FieldRule(NamedTuple):
    """What a field may hold.

    Attributes:
      check: From the field's name and a value to the value that is kept; raises what it forbids.
      read: From plain JSON to what ``check`` takes.
      write: Back to plain JSON.
    """

    check: Callable[[str, Any], Any]
    read: Callable[[str, Any], Any] = lambda _, value: value
    write: Callable[[Any], Any] = _same


def ruled(rule: FieldRule, default: Any = MISSING) -> Any:
    """A dataclass field with its rule; ``dict`` as the default stands for no entries."""
    if default is MISSING:
        return field(metadata={"rule": rule})
    if default is dict:
        return field(default_factory=dict, metadata={"rule": rule})
    return field(default=default, metadata={"rule": rule})


def refuse(name: str, value: object, rule: str) -> NoReturn:
    """Say that a field's value breaks its rule."""
    raise InvalidInputError(f"Expected {name}={quoted(value)} to be {rule}.")


@dataclass(frozen=True)
class Form:
    """Base of all records; see the module."""

    def __post_init__(self) -> None:
        for part in fields(self):
            rule: FieldRule = part.metadata["rule"]
            object.__setattr__(self, part.name, rule.check(part.name, getattr(self, part.name)))

    @classmethod
    def from_json(cls: type[_Form], content: Any) -> _Form:
        """Read what ``to_json`` wrote.

        Raises:
          InvalidInputError: A field is missing, unknown, or breaks its rule.
        """
        rules: dict[str, FieldRule] = {part.name: part.metadata["rule"] for part in fields(cls)}
        if not isinstance(content, Mapping):
            refuse(cls.__name__, content, "an object")
        if set(content) != set(rules):
            missing, unknown = set(rules) - set(content), set(content) - set(rules)
            raise InvalidInputError(
                f"A record of the form {cls.__name__} lacks the fields {sorted(missing)} and has "
                f"the unknown fields {quoted(sorted(map(str, unknown)))}. Its fields are "
                f"{', '.join(sorted(rules))}."
            )
        return cls(**{n: rule.check(n, rule.read(n, content[n])) for n, rule in rules.items()})

    @classmethod
    def completed(cls, given: Any) -> Any:
        """Return plain JSON as a person wrote it, with the defaults of what was left out."""
        if not isinstance(given, Mapping):
            return given
        defaults = [part for part in fields(cls) if part.default is not MISSING]
        return {p.name: p.metadata["rule"].write(p.default) for p in defaults} | dict(given)

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON."""
        return {
            part.name: part.metadata["rule"].write(getattr(self, part.name))
            for part in fields(self)
        }


# -- rules ---------------------------------------------------------------------------------------


def text(most: int = NAME, *, least: int = 1) -> FieldRule:
    """One line of ``least`` to ``most`` characters, each with a shape of its own."""
    rule = f"text of {least} to {most} characters, without line ends or control characters"

    def check(name: str, value: Any) -> str:
        if not isinstance(value, str) or not least <= len(value) <= most:
            refuse(name, value, rule)
        if not value.isprintable():
            refuse(name, value, rule)
        return str(value)

    return FieldRule(check)


def name() -> FieldRule:
    """A plain name of a hospital or a party (``privacy.names``)."""
    return FieldRule(lambda label, value: plain_name(**{label: value}))


def matching(pattern: str, rule: str) -> FieldRule:
    """Text that is a pattern's from end to end; ``rule`` says what that is."""
    form_ = re.compile(pattern)

    def check(name: str, value: Any) -> str:
        if not isinstance(value, str) or not form_.fullmatch(value):
            refuse(name, value, rule)
        return value

    return FieldRule(check)


def hexadecimal(digits: int) -> FieldRule:
    """So many lower-case hexadecimal digits."""
    return matching(rf"[0-9a-f]{{{digits}}}", f"{digits} hexadecimal digits")


def flag() -> FieldRule:
    """True or false."""

    def check(name: str, value: Any) -> bool:
        if not isinstance(value, bool):
            refuse(name, value, "true or false")
        return value

    return FieldRule(check)


def whole(least: int, most: int) -> FieldRule:
    """A whole number in a range, both ends included."""

    def check(name: str, value: Any) -> int:
        sound = isinstance(value, int | np.integer) and not isinstance(value, bool)
        if not sound or not least <= value <= most:
            refuse(name, value, f"a whole number from {least} to {most}")
        return int(value)

    return FieldRule(check)


def number(
    least: float = 0.0, most: float = math.inf, *, above: bool = False, infinite: bool = False
) -> FieldRule:
    """A number in a range.

    Args:
      least: Smallest.
      most: Largest.
      above: Whether ``least`` itself is excluded.
      infinite: Whether infinity is a value; plain JSON spells it ``"inf"``.
    """
    rule = f"a number {'above' if above else 'from'} {least:g} to {most:g}"
    rule += "" if infinite or most < math.inf else ", and finite"

    def check(name: str, value: Any) -> float:
        sound = isinstance(value, int | float | np.integer | np.floating)
        if not sound or isinstance(value, bool):
            refuse(name, value, rule)
        try:
            real = float(value)
        except OverflowError:
            refuse(name, value, rule)
        inside = real > least if above else real >= least
        if not inside or not real <= most or not (infinite or math.isfinite(real)):
            refuse(name, value, rule)
        return real

    def read(name: str, value: Any) -> Any:
        if value == "inf" and infinite:
            return math.inf
        return value

    def write(value: float) -> float | str:
        return "inf" if value == math.inf else value

    return FieldRule(check, read, write)


def constant(value_: Any) -> FieldRule:
    """One value and no other."""

    def check(name: str, value: Any) -> Any:
        if type(value) is not type(value_) or value != value_:
            refuse(name, value, repr(value_))
        return value

    return FieldRule(check)


def one_of(*values: str) -> FieldRule:
    """One of several words; a member of an enumeration stands for its name."""

    def check(name: str, value: Any) -> str:
        word = value.name if isinstance(value, enum.Enum) else value
        if not isinstance(word, str) or word not in values:
            refuse(name, value, f"one of {', '.join(values)}")
        return word

    return FieldRule(check)


def member_of(kind: type[enum.StrEnum]) -> FieldRule:
    """A member of an enumeration, or its value: the member is held, its value is written."""

    def check(name: str, value: Any) -> enum.StrEnum:
        try:
            return kind(value)
        except ValueError:
            refuse(name, value, f"one of {', '.join(kind)}")

    return FieldRule(check, write=lambda member: member.value)


def optional(rule: FieldRule) -> FieldRule:
    """That, or nothing."""

    def check(name: str, value: Any) -> Any:
        return None if value is None else rule.check(name, value)

    def read(name: str, value: Any) -> Any:
        return None if value is None else rule.read(name, value)

    def write(value: Any) -> Any:
        return None if value is None else rule.write(value)

    return FieldRule(check, read, write)


def form(*kinds: type[Form]) -> FieldRule:
    """A record of one of these forms; plain JSON is read as the first."""

    def check(name: str, value: Any) -> Form:
        if not isinstance(value, kinds):
            refuse(name, value, " or ".join(kind.__name__ for kind in kinds))
        return value

    return FieldRule(
        check, lambda _, value: kinds[0].from_json(value), lambda value: value.to_json()
    )


def listed(rule: FieldRule, *, least: int, most: int) -> FieldRule:
    """So many of these, in order."""

    def check(name: str, value: Any) -> tuple[Any, ...]:
        sound = isinstance(value, Sequence) and not isinstance(value, str | bytes)
        if not sound or not least <= len(value) <= most:
            refuse(name, value, f"a list of {least} to {most}")
        return tuple(rule.check(f"{name}[{i}]", item) for i, item in enumerate(value))

    def read(name: str, value: Any) -> Any:
        if not isinstance(value, list) or not least <= len(value) <= most:
            refuse(name, value, f"a list of {least} to {most}")
        return tuple(rule.read(f"{name}[{i}]", item) for i, item in enumerate(value))

    return FieldRule(check, read, lambda value: [rule.write(item) for item in value])


def mapping(key: FieldRule, rule: FieldRule, *, most: int, least: int = 0) -> FieldRule:
    """Up to so many names, each with one of these."""

    def check(name: str, value: Any) -> Mapping[str, Any]:
        if not isinstance(value, Mapping) or not least <= len(value) <= most:
            refuse(name, value, f"an object of {least} to {most} fields")
        return {
            key.check(f"a key of {name}", k): rule.check(f"{name}.{k}", v) for k, v in value.items()
        }

    def read(name: str, value: Any) -> Any:
        if not isinstance(value, Mapping) or not least <= len(value) <= most:
            refuse(name, value, f"an object of {least} to {most} fields")
        return {k: rule.read(name, v) for k, v in value.items()}

    return FieldRule(check, read, lambda value: {k: rule.write(v) for k, v in value.items()})


def _fact(name: str, value: Any) -> Any:
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        return text(SENTENCE, least=0).check(name, value)
    return number(-(2.0**53), 2.0**53).check(name, value) if not _is_int(value) else int(value)


def _is_int(value: Any) -> bool:
    return isinstance(value, int | np.integer) and abs(int(value)) < 2**53


def facts(most: int = 64) -> FieldRule:
    """Plain facts for the auditor: short text, numbers, yes or no, under short names."""
    return mapping(text(), FieldRule(_fact), most=most)


def event() -> FieldRule:
    """A DP event that can be accounted for; typed or as plain JSON."""

    def write(value: Any) -> dict[str, Any]:
        from privacy.ledger.accountant import event_json

        try:
            return event_json(value)
        except RecursionError as error:
            raise InvalidInputError("An event is nested too deep to be accounted for.") from error
        except OverflowError as error:
            raise InvalidInputError("A number of an event is beyond every float.") from error

    def check(_: str, value: Any) -> Any:
        write(value)
        return value

    return FieldRule(check, write=write)
