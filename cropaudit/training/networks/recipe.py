"""How one kind of model is built: the entry of the registry of models."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from torch import nn

from cropaudit.errors import require

__all__ = ["GradSampleMode", "ModelRecipe"]

GradSampleMode = Literal["hooks", "ew", "functorch", "ghost"]


@dataclass(frozen=True)
class ModelRecipe:
    """How to build a model, and how Opacus is to take its per-sample gradients.

    Attributes:
        build: Makes the raw network from the number of classes and an encoder's name.
        mode: Opacus' grad-sample mode where none is measured: exact for the default encoder.
        multiple: Height and width are padded to a multiple of this many pixels inside the model.
        summary: One line for users.
        encoder: The default encoder; empty if the model has no choice of encoders.
        encoders: The legal encoders; empty if ``build`` itself knows which are.
    """

    build: Callable[[int, str], nn.Module]
    mode: GradSampleMode
    multiple: int
    summary: str
    encoder: str = ""
    encoders: tuple[str, ...] = ()

    def chosen_encoder(self, name: str) -> str:
        """Returns the encoder of ``base`` or ``base:encoder``; raises InputError if illegal."""
        base, colon, encoder = name.partition(":")
        require(bool(self.encoder) or not colon, "model", f"{base}: it has no other encoders", name)
        require(bool(encoder) or not colon, "model", f"{base} or {base}:encoder", name)
        if encoder and self.encoders:
            legal = f"one of {', '.join(self.encoders)} for {base}"
            require(encoder in self.encoders, "encoder", legal, encoder)
        return encoder or self.encoder
