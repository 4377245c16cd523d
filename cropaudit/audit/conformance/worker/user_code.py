"""Finds ``path/to/file.py:Name`` or ``package.module:Name``: an instance, a class or a factory."""

import importlib
import importlib.util
import inspect
import sys
from pathlib import Path
from typing import Any

from cropaudit.audit.conformance.worker.guard import Guard

__all__ = ["find", "made", "where_of"]


def find(spec: str, guard: Guard) -> Any:
    """Returns the object that ``spec`` names, as it stands in its module.

    Raises:
        UserError: If there is no such file or name, or importing it raises.
    """
    source, _, name = spec.rpartition(":")
    if not source or not name:
        raise guard.fail("unreadable", f"must be path/to/file.py:Name or module:Name, got {spec}")
    module = guard.call(_module, source, guard)
    found = module
    for part in name.split("."):
        if not hasattr(found, part):
            names = ", ".join(n for n in vars(module) if not n.startswith("_"))[:200]
            raise guard.fail("unreadable", f"{source} has no {name}; it has {names}", source)
        found = getattr(found, part)
    return found


def made(found: Any, guard: Guard) -> Any:
    """Returns an instance: of a class, or what a function without arguments returns."""
    if inspect.isclass(found) or (inspect.isroutine(found) and _takes_nothing(found)):
        return guard.call(found)
    return found


def where_of(found: Any) -> str:
    """Returns ``file:line`` of the code that a call of ``found`` runs, or an empty string."""
    kind = type(found)
    for item in (found, vars(kind).get("forward"), vars(kind).get("__call__"), kind):
        try:
            file = inspect.getsourcefile(inspect.unwrap(item))
            line = inspect.getsourcelines(item)[1]
        except (TypeError, OSError, ValueError):
            continue
        if file and "site-packages" not in file:
            return f"{file}:{line}"
    return ""


def _module(source: str, guard: Guard) -> Any:
    if not source.endswith(".py"):
        sys.path.insert(0, str(Path.cwd()))
        return importlib.import_module(source)
    path = Path(source)
    if not path.is_file():
        raise guard.fail("unreadable", f"no such file: {source}")
    sys.path.insert(0, str(path.resolve().parent))
    # Under its own name, so that workers of a loader and pickles find it again.
    described = importlib.util.spec_from_file_location(path.stem, path)
    if described is None or described.loader is None:
        raise guard.fail("unreadable", f"no Python file: {source}")
    module = importlib.util.module_from_spec(described)
    sys.modules[path.stem] = module
    described.loader.exec_module(module)
    return module


def _takes_nothing(function: Any) -> bool:
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        return False
    # Also one of any arguments, or of named ones alone, is there to be given an image.
    return all(p.default is not p.empty for p in parameters)
