"""Files and packages that add an attack, a rule, a scheme, a model or a cohort.

``inpatient COMMAND --plugin FILE`` runs a Python file before the command; an installed package
names a module in the entry-point group ``inpatient.plugins``. What either registers
(``attacks.suite.register``, ``COHORTS.add``, ``SCHEMES.add``, a subclass of ``Rule`` or ``Model``)
is met wherever its kind is used, in every worker process too. Records of a run with plugins are
named by the plugins' digests as well, so that a changed file never meets old numbers.

A plugin is code and can do whatever its user can: name only files that you would run.
"""

import hashlib
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import entry_points
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

from aggregation.registry import Registry
from privacy.errors import InpatientError, InvalidInputError

__all__ = ["GROUP", "PLUGINS", "Plugin", "load", "load_again", "load_installed"]

GROUP = "inpatient.plugins"


@dataclass(frozen=True)
class Plugin:
    """A file of somebody else's that was run.

    Attributes:
      path: Where it stands.
      digest: SHA-256 of its bytes, hex.
    """

    path: Path
    digest: str


PLUGINS: Registry[Plugin] = Registry("plugin")
"""What this process has run, by digest."""


def load(files: Sequence[Path]) -> None:
    """Run files that register something, each once a process.

    Raises:
      InvalidInputError: A file can't be read, fails while it runs, or registers a name that is
        taken.
    """
    for path in files:
        plugin = _read(path)
        if plugin.digest not in PLUGINS:
            _run(plugin)
            PLUGINS.add(plugin.digest, plugin)


def load_again(plugins: Sequence[Plugin]) -> None:
    """Run in a worker what its sweep began with.

    Raises:
      InvalidInputError: A file has changed since.
    """
    for plugin in plugins:
        if plugin.digest not in PLUGINS and _read(plugin.path).digest != plugin.digest:
            raise InvalidInputError(
                f"{plugin.path} has changed since this run began. Run the command again: what a "
                "changed plugin measures gets records of its own."
            )
    load([plugin.path for plugin in plugins if plugin.digest not in PLUGINS])


def load_installed() -> None:
    """Run what installed packages name in the group ``inpatient.plugins``.

    Raises:
      InvalidInputError: As ``load``.
    """
    for entry in entry_points(group=GROUP):
        plugin = _read(Path(str(entry.load().__file__)))
        if plugin.digest not in PLUGINS:
            PLUGINS.add(plugin.digest, plugin)


def _read(path: Path) -> Plugin:
    path = path.absolute()
    try:
        return Plugin(path, hashlib.sha256(path.read_bytes()).hexdigest())
    except OSError as error:
        raise InvalidInputError(
            f"Can't read the plugin {path}: {error.strerror}. --plugin takes a Python file."
        ) from error


def _run(plugin: Plugin) -> None:
    name = f"inpatient_plugin_{plugin.digest[:16]}"
    spec = spec_from_file_location(name, plugin.path)
    if spec is None or spec.loader is None:
        raise InvalidInputError(
            f"The plugin {plugin.path} is no Python file: expected a name that ends in .py."
        )
    module = module_from_spec(spec)
    sys.modules[name] = module  # dataclasses look their module up there
    try:
        spec.loader.exec_module(module)
    except InpatientError:
        del sys.modules[name]
        raise
    except Exception as error:  # whatever a stranger's file does wrong
        del sys.modules[name]
        raise InvalidInputError(
            f"The plugin {plugin.path} fails: {type(error).__name__}: {error}. Run it by itself "
            "with python to see where."
        ) from error
