"""Pretrained weights from a local file, matched to a network by name.

Nothing is downloaded and no code in a file is run: safetensors, or torch.load(weights_only=True).
The digest is of the very bytes that are then parsed, so a file cannot change in between. The
weights are taken as public: bounds say nothing about the data that they were trained on.
"""

import hashlib
import io
import pickle
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import Tensor, nn

from cropaudit.errors import InputError, require

__all__ = ["Matched", "WeightsFile", "load_matching", "read_weights"]

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
    """Returns the tensors by name, on the CPU, and the digest of the bytes read.

    Raises:
        InputError: If the file cannot be read, has another digest, or holds anything but tensors.
    """
    try:
        raw = Path(file.path).read_bytes()
    except OSError as error:
        raise InputError(f"weights must be a file that can be read, got {file.path}") from error
    digest = hashlib.sha256(raw).hexdigest()
    wanted = (file.sha256 or digest).lower()
    require(digest == wanted, "weights", f"a file of sha256 {wanted}", f"{digest}: {file.path}")
    return _tensors(raw, file.path), digest


def load_matching(network: nn.Module, tensors: Mapping[str, Tensor]) -> Matched:
    """Copies what fits into ``network``, by name under the one change of prefix that fits most.

    Raises:
        InputError: If less than half of the part of the network that the file is for fits, and
            less than half of the file.
    """
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
