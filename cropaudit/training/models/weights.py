"""Pretrained weights from a local file, matched to a network by name.

Nothing is downloaded and no code in a file is run: safetensors, or torch.load(weights_only=True).
The digest is of the very bytes that are then parsed, so a file cannot change in between. The
weights are taken as public: bounds say nothing about the data that they were trained on.
"""

import hashlib
import io
import pickle
import warnings
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import Tensor, nn

from cropaudit.errors import InputError, require
from cropaudit.training.models.normalisation import (
    STATISTICS,
    Norm,
    batch_norms,
    replace_batch_norms,
)

__all__ = ["WeightsFile", "WeightsReport", "read_weights", "start_from"]

# What training scripts wrap a state dict in, and what they or we put before its names.
_WRAPPERS = ("state_dict", "model_state_dict", "model")
_THEIRS = (
    *("", "network.", "model.", "encoder.", "backbone.", "features."),
    *("module.", "module.network.", "_orig_mod.", "_orig_mod.network."),
)
_OURS = tuple(f"network.{part}" for part in ("", "encoder.", "encoder.model.", "backbone."))
_SUFFIXES = (".safetensors", ".pt", ".pth")


@dataclass(frozen=True)
class WeightsFile:
    """A local file of weights.

    Attributes:
        path: Ends in .safetensors, .pt or .pth.
        sha256: The digest that it must have, 64 hexadecimal digits; any if None.
    """

    path: Path
    sha256: str | None = None

    def __post_init__(self) -> None:
        suffix = Path(self.path).suffix.lower()
        require(suffix in _SUFFIXES, "weights", f"a file in {', '.join(_SUFFIXES)}", self.path)
        digits = self.sha256 is None or _is_digest(self.sha256)
        require(digits, "sha256", "64 hexadecimal digits", self.sha256)


@dataclass(frozen=True)
class Matched:
    """Which name of a network each fitting tensor of a file has.

    Attributes:
        names: The network's name, by the file's.
        mismatched: The file's names whose shape is another.
        part: What the names of the network that the file is for begin with.
    """

    names: Mapping[str, str]
    mismatched: tuple[str, ...]
    part: str


def read_weights(file: WeightsFile) -> tuple[dict[str, Tensor], str]:
    """Returns the tensors by name, on the CPU, and the digest of the bytes read."""
    try:
        raw = Path(file.path).read_bytes()
    except OSError as error:
        raise InputError(f"weights must be a file that can be read, got {file.path}") from error
    digest = hashlib.sha256(raw).hexdigest()
    wanted = (file.sha256 or digest).lower()
    require(digest == wanted, "weights", f"a file of sha256 {wanted}", f"{digest}: {file.path}")
    return _tensors(raw, file.path), digest


def load_matching(network: nn.Module, tensors: Mapping[str, Tensor]) -> Matched:
    """Copies what fits into ``network``, by name under the one change of prefix that fits most."""
    places = network.state_dict()
    tries = [_match(tensors, places, old, new) for old in _THEIRS for new in _OURS]
    best = max(tries, key=lambda matched: _size(tensors, matched.names))
    fitted = _size(tensors, best.names)
    # An encoder's file is to fill the encoder; its own classifier may well be larger than that.
    part = _size(places, {name: None for name in places if name.startswith(best.part)})
    needed = min(_size(tensors, tensors), part) / 2
    share = f"{fitted:,} of {part:,} parameters"
    legal = "a file whose tensors fit at least half of the model or its encoder"
    require(fitted > 0 and fitted >= needed, "weights", legal, share)
    bad = [name for name in best.names if not bool(torch.isfinite(tensors[name]).all())]
    require(not bad, "weights", "finite", ", ".join(bad[:3]))
    with torch.no_grad():
        for theirs, ours in best.names.items():
            places[ours].copy_(tensors[theirs])
    return best


def _match(
    tensors: Mapping[str, Tensor], places: Mapping[str, Tensor], old: str, new: str
) -> Matched:
    pairs = {name: new + name.removeprefix(old) for name in tensors if name.startswith(old)}
    placed = {theirs: _place(ours, places) for theirs, ours in pairs.items()}
    known = {theirs: ours for theirs, ours in placed.items() if ours in places}
    fits = {t: o for t, o in known.items() if tensors[t].shape == places[o].shape}
    return Matched(fits, tuple(sorted(known.keys() - fits.keys())), new)


def _place(name: str, places: Mapping[str, Tensor]) -> str:
    """Undoes the ``.0`` of a norm that was replaced beside the activation that it had inside."""
    path, _, leaf = name.rpartition(".")
    return name if name in places else f"{path.removesuffix('.0')}.{leaf}"


def _size(tensors: Mapping[str, Tensor], names: Mapping[str, object]) -> int:
    return sum(tensors[name].numel() for name in names)


def _tensors(raw: bytes, path: Path) -> dict[str, Tensor]:
    legal = "a state dict of tensors, with no code in it"
    try:
        content = _parsed(raw, path)
    except (
        *(EOFError, KeyError, RuntimeError, ValueError),
        *(pickle.UnpicklingError, safetensors.SafetensorError),
    ) as error:
        raise InputError(f"weights must be {legal}, got {path}") from error
    for wrapper in _WRAPPERS:
        if isinstance(content, dict) and isinstance(content.get(wrapper), dict):
            content = content[wrapper]
    require(isinstance(content, dict), "weights", legal, path)
    tensors = {k: v for k, v in content.items() if isinstance(k, str) and isinstance(v, Tensor)}
    require(bool(tensors), "weights", legal, path)
    return tensors


def _parsed(raw: bytes, path: Path) -> Any:
    if Path(path).suffix.lower() == ".safetensors":
        return safetensors.torch.load(raw)
    with warnings.catch_warnings():
        # Of pickles in a protocol that torch does not write; what it cannot read is an error.
        warnings.simplefilter("ignore", UserWarning)
        return torch.load(io.BytesIO(raw), map_location="cpu", weights_only=True)


def _is_digest(text: str) -> bool:
    return len(text) == 64 and all(digit in "0123456789abcdefABCDEF" for digit in text)


@dataclass(frozen=True)
class WeightsReport:
    """What became of a file's tensors in the model that was built.

    Attributes:
        file: The file's name, without its folder.
        sha256: Of the bytes that were read.
        loaded: Names in the model whose values came from the file.
        missing: Names in the model that kept their random start.
        unexpected: Names in the file that the model has no place for.
        mismatched: Names in the file whose shape differs from the model's, as heads for another
            number of classes do.
        frozen: Paths of the BatchNorms that are frozen at the file's statistics.
    """

    file: str
    sha256: str
    loaded: tuple[str, ...]
    missing: tuple[str, ...]
    unexpected: tuple[str, ...]
    mismatched: tuple[str, ...]
    frozen: tuple[str, ...] = ()


def start_from(raw: nn.Module, norm: Norm, file: WeightsFile) -> tuple[nn.Module, WeightsReport]:
    """Loads what fits into ``raw`` and replaces its BatchNorms; ``raw`` is not to be used after."""
    tensors, digest = read_weights(file)
    matched = load_matching(raw, tensors)
    frozen = _covered(raw, matched) if norm == "frozen-batch" else ()
    legal = "a file with statistics of the model's BatchNorms, for norm frozen-batch"
    require(bool(frozen) or norm == "group", "weights", legal, file.path)
    model = replace_batch_norms(raw, frozen)
    return model, _report(model, file, digest, tensors.keys(), matched, frozen)


def _covered(raw: nn.Module, matched: Matched) -> tuple[str, ...]:
    """Returns the BatchNorms all of whose tensors come from the file."""
    given = set(matched.names.values())
    return tuple(
        path for path in batch_norms(raw) if all(f"{path}.{name}" in given for name in STATISTICS)
    )


def _report(
    model: nn.Module,
    file: WeightsFile,
    digest: str,
    offered: Collection[str],
    matched: Matched,
    frozen: tuple[str, ...],
) -> WeightsReport:
    names = set(model.state_dict())
    now = {theirs: _renamed(ours, names) for theirs, ours in matched.names.items()}
    loaded = names & set(now.values())
    used = {theirs for theirs, ours in now.items() if ours in names}
    return WeightsReport(
        file=Path(file.path).name,
        sha256=digest,
        loaded=tuple(sorted(loaded)),
        missing=tuple(sorted(names - loaded)),
        unexpected=tuple(sorted(set(offered) - used - set(matched.mismatched))),
        mismatched=matched.mismatched,
        frozen=frozen,
    )


def _renamed(name: str, names: Collection[str]) -> str:
    """Follows a norm that was put beside the activation that it had inside."""
    path, _, leaf = name.rpartition(".")
    return name if name in names else f"{path}.0.{leaf}"
