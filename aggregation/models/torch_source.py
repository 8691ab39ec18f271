"""Files of model factories: which ones a site has approved, and how a factory is run.

A factory is code and can do whatever its user can. Approving a file is trusting it, as installing a
package is; the checks here find mistakes, not malice.
"""

import ast
import sys
import sysconfig
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from threading import local
from types import ModuleType
from typing import Any

import torch

from aggregation.models.inputs import Inputs
from aggregation.models.model_file import ModelFile
from privacy.errors import InpatientError, InvalidInputError

__all__ = ["SOURCES", "Source", "approve", "untouched"]


class Source(ModelFile):
    """A file of factories as this site approved it, ready to run."""

    def make(self, factory: str, inputs: Inputs, seed: int) -> torch.nn.Module:
        """Run a factory under a seed of torch's generator, and keep it from files and network.

        Raises:
          InvalidInputError: The file or the factory fails, reads what is not torch's to draw, or
            returns no module.
        """
        make = self._found(factory)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            try:
                with untouched(f"{self.path}:{factory}"):
                    made = make(inputs)
            except InpatientError:
                raise
            except Exception as error:  # whatever a stranger's file does wrong
                raise InvalidInputError(
                    f"{self.path}:{factory} fails: {type(error).__name__}: {error}. It is called "
                    "with one argument, whose features and groups tell the columns."
                ) from error
        if not isinstance(made, torch.nn.Module):
            raise InvalidInputError(
                f"{self.path}:{factory} returns {type(made).__name__}; expected a torch.nn.Module."
            )
        return made

    def _found(self, factory: str) -> Callable[[Inputs], Any]:
        made = getattr(self._module(), factory, None)
        if not callable(made):
            raise InvalidInputError(
                f"{self.path} has no function {factory!r}; name one of its own behind the colon."
            )
        return made  # type: ignore[no-any-return]  # a stranger's function

    def _module(self) -> ModuleType:
        name = f"inpatient_model_{self.digest[:16]}"
        if name in sys.modules:
            return sys.modules[name]
        self.check_imports()
        module = ModuleType(name)
        module.__file__ = str(self.path)
        sys.modules[name] = module  # dataclasses look their module up there
        try:
            with untouched(str(self.path)):
                # The bytes that were digested, whatever stands in the file by now.
                exec(compile(self.content, str(self.path), "exec"), module.__dict__)  # noqa: S102 - read and approved
        except Exception as error:  # whatever a stranger's file does wrong
            del sys.modules[name]
            if isinstance(error, InpatientError):
                raise
            raise InvalidInputError(
                f"{self.path} fails: {type(error).__name__}: {error}. Run it by itself with python "
                "to see where."
            ) from error
        return module

    def check_imports(self) -> None:
        """Refuse imports of one's own files: the digest in the plan would not cover them."""
        for name in self.imported:
            if not _installed(name.split(".")[0]):
                raise InvalidInputError(
                    f"{self.path} imports {name.split('.')[0] or 'a file beside it'!r}, which is "
                    "not an installed package: the plan names the model by the digest of this one "
                    "file. Write it into the file."
                )

    @property
    def imported(self) -> list[str]:
        """Dotted names that the file imports wherever it does; an empty one: a file beside it.

        Raises:
          InvalidInputError: It is no Python.
        """
        try:
            tree = ast.parse(self.content)
        except (SyntaxError, ValueError) as error:
            raise InvalidInputError(f"{self.path} is no Python: {error}.") from error
        names: list[str] = []
        for node in ast.walk(tree):
            if isinstance(node, ast.Import):
                names += [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                names.append("" if node.level else node.module or "")
        return names


SOURCES: dict[str, Source] = {}
"""What this process has approved, by digest; of the same bytes twice, where they stood last."""


def approve(path: Path) -> Source:
    """Take a file of factories as it stands: plans that name its digest may be run here.

    Raises:
      InvalidInputError: It can't be read, or is too large to be anybody's to read.
    """
    model_file = ModelFile.read(path)
    source = Source(model_file.path, model_file.content, model_file.beside)
    SOURCES[source.digest] = source
    return source


def _installed(name: str) -> bool:
    if name in sys.stdlib_module_names or name in {"aggregation", "privacy"}:
        return True
    try:
        spec = find_spec(name) if name else None
    except (ImportError, ValueError):
        return False
    places = [spec.origin] if spec is not None and spec.origin else []
    if spec is not None and spec.submodule_search_locations:
        places += list(spec.submodule_search_locations)
    roots = [Path(sysconfig.get_path(kind)).resolve() for kind in ("purelib", "platlib")]
    return any(Path(place).resolve().is_relative_to(root) for place in places for root in roots)


_state = local()


@contextmanager
def untouched(what: str) -> Iterator[None]:
    """Refuse files, sockets and processes while foreign code runs; imports are let through.

    Raises:
      InvalidInputError: The code asked for one, whether it caught the refusal or not.
    """
    _listen()
    before = getattr(_state, "found", None)
    touched: list[str] = []
    _state.found = touched
    try:
        yield
    except Exception:
        if not touched:
            raise
    finally:
        _state.found = before
    if touched:
        raise InvalidInputError(
            f"{what} asks for {touched[0]}. A model is made of its file and a seed alone, so that "
            "every hospital gets the same one. Parameters from elsewhere stand in FILE.first.npy "
            "beside it."
        )


class _TouchedError(Exception):
    """Ends the call that asked for a file or the network."""


@cache
def _listen() -> None:
    sys.addaudithook(_heard)  # can't be taken away again; it does nothing outside ``untouched``


def _heard(event: str, arguments: tuple[Any, ...]) -> None:
    touched = getattr(_state, "found", None)
    if touched is None:
        return
    if event == "open":
        if str(arguments[0]).endswith(".py"):  # a traceback's lines
            return
        target = f"the file {str(arguments[0])[:200]!r}"
    elif event.startswith("socket.") or event == "urllib.Request":
        target = f"the network ({event})"
    elif event in ("subprocess.Popen", "os.system", "os.posix_spawn", "os.fork", "os.exec"):
        target = f"a process ({event})"
    else:
        return
    if _importing():  # an installed package may read what it brings, torch's own parts among them
        return
    touched.append(target)
    raise _TouchedError(target)


def _importing() -> bool:
    frame = sys._getframe(2)
    while frame is not None:
        if frame.f_code.co_filename.startswith("<frozen importlib"):
            return True
        frame = frame.f_back  # type: ignore[assignment]  # None at the end
    return False
