"""Results that are remembered as long as they fit: what was asked for least lately is dropped."""

from collections import OrderedDict
from collections.abc import Callable
from functools import wraps
from threading import Lock
from typing import ParamSpec, TypeVar

__all__ = ["remembered"]

_Asked = ParamSpec("_Asked")
_Found = TypeVar("_Found")


def remembered(
    size: Callable[[_Found], int], *, most: int
) -> Callable[[Callable[_Asked, _Found]], Callable[_Asked, _Found]]:
    """Remember a function's results, of ``most`` bytes together at the most.

    ``functools.lru_cache`` counts results, and a composition may hold a thousand times what another
    holds: a ledger that an adversary wrote would fill an auditor's memory.

    Args:
      size: Bytes that a result holds.
      most: Bytes that all of them may hold; a larger result is not kept.
    """

    def decorate(function: Callable[_Asked, _Found]) -> Callable[_Asked, _Found]:
        results: OrderedDict[object, _Found] = OrderedDict()
        held, lock = 0, Lock()

        @wraps(function)
        def asked(*args: _Asked.args, **named: _Asked.kwargs) -> _Found:
            nonlocal held
            key = (args, tuple(sorted(named.items())))
            with lock:
                if key in results:
                    results.move_to_end(key)
                    return results[key]
            returned = function(*args, **named)
            with lock:
                if key not in results:  # another thread may have been quicker
                    results[key] = returned
                    held += size(returned)
                while held > most:
                    _, dropped = results.popitem(last=False)
                    held -= size(dropped)
            return returned

        return asked

    return decorate
