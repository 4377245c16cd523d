"""A user's own model: ``path/to/nets.py:make_model``, a function of the number of classes.

The file is run because the configuration names it, once a process, and known by its digest
afterwards. What it makes is held to what training needs: a module that maps images (B, 3, h, w) to
logits (B, K, h, w).
"""

import hashlib
import importlib.util
import sys
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import nn

from cropaudit.errors import InputError, require

__all__ = ["is_plugin", "make_plugin", "plugin_digest"]

_SIDE = 32  # of the image that a new model is tried on
_WORDS = 160


def is_plugin(name: str) -> bool:
    """Whether a model's name is that of a function in a file.

    >>> is_plugin("nets.py:make_model"), is_plugin("pspnet:resnet50")
    (True, False)
    """
    return ".py:" in name or name.endswith(".py")


def plugin_digest(name: str) -> str:
    """Returns the SHA-256 of the file that ``name`` names, in hexadecimal.

    Raises:
        InputError: If it names no file.
    """
    return hashlib.sha256(_source(name)).hexdigest()


def make_plugin(name: str, classes: int) -> nn.Module:
    """Runs the file, if that is still to be done, and returns the model that it makes.

    Args:
        name: ``path/to/file.py:function``.
        classes: Number of classes, K, with which the function is called.

    Raises:
        InputError: If there is no such file or function, it raises, or it returns no such model.
    """
    make = _factory(name, plugin_digest(name))
    try:
        model = make(classes)
    except Exception as error:  # whatever the user's code raises
        raise _failed(name, error) from error
    kind = type(model).__name__
    require(isinstance(model, nn.Module), "model", f"one that {name} returns as a Module", kind)
    found: nn.Module = model
    _require_logits(name, found, classes)
    return found


def _source(name: str) -> bytes:
    path, _, function = name.rpartition(":")
    named = bool(path.endswith(".py") and function.isidentifier())
    require(named, "model", "path/to/file.py:function", name)
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise InputError(f"model must be path/to/file.py:function, got {name}: {error}") from error


@lru_cache(maxsize=16)
def _factory(name: str, digest: str) -> Callable[[int], Any]:
    path, _, function = name.rpartition(":")
    make: Callable[[int], Any] | None = getattr(_module(Path(path), name, digest), function, None)
    if not callable(make):
        raise InputError(f"model must be a function of {path}, got {function}")
    return make


@lru_cache(maxsize=16)
def _module(path: Path, name: str, digest: str) -> ModuleType:
    described = importlib.util.spec_from_file_location(f"cropaudit_{path.stem}_{digest[:8]}", path)
    assert described is not None  # a name that ends in .py always has a loader
    assert described.loader is not None
    module = importlib.util.module_from_spec(described)
    sys.modules[described.name] = module  # for what looks itself up, such as dataclasses
    beside = str(path.resolve().parent)
    sys.path.insert(0, beside)
    try:
        described.loader.exec_module(module)
    except Exception as error:  # whatever the user's code raises
        raise _failed(name, error) from error
    finally:
        sys.path.remove(beside)
    return module


def _require_logits(name: str, model: nn.Module, classes: int) -> None:
    blank = torch.zeros(1, 3, _SIDE, _SIDE)
    trains = model.training
    try:
        with torch.no_grad():
            found = model.eval()(blank)
    except Exception as error:  # whatever the user's code raises
        raise _failed(name, error) from error
    model.train(trains)
    shape = tuple(found.shape) if isinstance(found, torch.Tensor) else type(found).__name__
    wanted = (1, classes, _SIDE, _SIDE)
    legal = f"one whose logits for images {tuple(blank.shape)} are of shape {wanted}"
    require(shape == wanted, f"model {name}", legal, shape)
    require(any(p.requires_grad for p in model.parameters()), "model", "trainable", name)


def _failed(name: str, error: Exception) -> InputError:
    words = " ".join(str(error).split())[:_WORDS]
    return InputError(f"model {name} must make a model, got {type(error).__name__}: {words}")
