"""Whose code is put to the test: names of the user's objects, never the objects themselves."""

from dataclasses import dataclass, replace
from pathlib import Path

from cropaudit.errors import InputError, require

__all__ = ["STYLES", "Subjects"]

_OTHER_SEED = 0x9E3779B97F4A7C15  # far from any seed that people choose

STYLES = ("v2", "v1", "pil", "numpy", "albumentations", "kornia")


@dataclass(frozen=True)
class Subjects:
    """What to probe, each as ``path/to/file.py:Name`` or ``package.module:Name``.

    Attributes:
        transform: Called on (image, mask).
        style: How it is called, one of `STYLES`; by trial if empty.
        loader: ``make_loader(dataset)``: returns batches of (images, masks).
        pipeline: ``train(model, dataset)``: runs a whole training.
        model: ``make_model()``: returns the module.
        loss: ``loss(outputs, masks)``; the pixels' cross-entropy if empty.
        channels_last: Whether the model is fed channels-last images.
        trainer: ``make_step(model)``: returns ``step(images, masks)``, one update.
        data: Folder of photographs that replays use as well, or none.
        epochs: Of the loader to iterate.
        seed: Of all draws of the probes.
        call_limit: Seconds that one call may take.
        quick: Whether to draw a fifth only, for trials.
    """

    transform: str = ""
    style: str = ""
    loader: str = ""
    pipeline: str = ""
    model: str = ""
    loss: str = ""
    channels_last: bool = False
    trainer: str = ""
    data: Path | None = None
    epochs: int = 4
    seed: int = 0
    call_limit: float = 20.0
    quick: bool = False

    def __post_init__(self) -> None:
        for name in ("transform", "loader", "pipeline", "model", "loss", "trainer"):
            value = getattr(self, name)
            legal = "path/to/file.py:Name or package.module:Name"
            source, _, found = value.rpartition(":")
            require(not value or bool(source and found), name, legal, value)
        require(self.style in ("", *STYLES), "style", f"one of {', '.join(STYLES)}", self.style)
        require(self.epochs >= 1, "epochs", "at least 1", self.epochs)
        require(0 <= self.seed < 2**63, "seed", "at least 0 and below 2^63", self.seed)
        require(self.call_limit > 0, "time limit", "above 0 seconds", self.call_limit)
        if not any((self.transform, self.loader, self.pipeline, self.model, self.trainer)):
            raise InputError(
                "subject must be given as --transform, --loader, --model, --trainer, --pipeline or "
                "--mutant, got none"
            )

    def reseeded(self) -> "Subjects":
        """Returns the same with another seed, for draws that are independent of the first."""
        return replace(self, seed=(self.seed + _OTHER_SEED) % 2**63)
