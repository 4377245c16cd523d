"""Starts a network from a weights file, its BatchNorms replaced, and says what came from where."""

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from torch import nn

from cropaudit.errors import require
from cropaudit.training.networks.normalisation import (
    STATISTICS,
    Norm,
    batch_norms,
    replace_batch_norms,
)
from cropaudit.training.networks.weights import Matched, WeightsFile, load_matching, read_weights

__all__ = ["WeightsReport", "start_from"]


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
    """Loads what fits into ``raw`` and replaces its BatchNorms; ``raw`` is not to be used after.

    Raises:
        InputError: If the file cannot be used, or has no statistics for ``frozen-batch``.
    """
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
