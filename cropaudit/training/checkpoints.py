"""The weights of a run on its way: before the first update, every so many steps, and at the end.

They are weights alone. What a run that ended early leaves is no run to attack: its tape, its
canaries and its claim are written at the end. But its model can be built again (`load_model`), for
what they are for is written beside the first of them.
"""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from torch import Tensor, nn

from cropaudit.errors import InputError, require
from cropaudit.training.atomic import write_atomic
from cropaudit.training.models import Norm, build_model

__all__ = ["Architecture", "Checkpoints", "copied_state", "load_checkpoint", "load_model"]
__all__ += ["save_architecture", "save_checkpoint"]

_ABOUT = "model.json"


@dataclass(frozen=True)
class Architecture:
    """What the weights of a run are for.

    Attributes:
        model: As `build_model` knows it.
        classes: Number of classes.
        norm: What takes the place of BatchNorm.
        steps: Of the whole run.
    """

    model: str
    classes: int
    norm: Norm
    steps: int


@dataclass(frozen=True)
class Checkpoints:
    """Where and how often weights are saved; the first and the last ones always are.

    Attributes:
        folder: Holds one ``step-000000.safetensors`` for each; made if it is not there.
        every: Steps from one to the next.
    """

    folder: Path
    every: int

    def __post_init__(self) -> None:
        require(self.every >= 1, "every", "at least 1", self.every)

    def path(self, step: int) -> Path:
        """Returns the file of the weights after so many steps."""
        return self.folder / f"step-{step:06d}.safetensors"


def copied_state(model: nn.Module) -> dict[str, Tensor]:
    """Returns a copy of the model's state on the CPU."""
    return {name: value.detach().cpu().clone() for name, value in model.state_dict().items()}


def save_checkpoint(plan: Checkpoints, done: int, steps: int, model: nn.Module) -> Path | None:
    """Saves the weights after ``done`` of ``steps`` steps, if it is their turn; returns where."""
    if done % plan.every and done != steps:
        return None
    plan.folder.mkdir(parents=True, exist_ok=True)
    state = {name: value.contiguous() for name, value in copied_state(model).items()}
    write_atomic(plan.path(done), save_tensors(state))
    return plan.path(done)


def save_architecture(plan: Checkpoints, architecture: Architecture) -> None:
    """Says beside the checkpoints what they are weights of."""
    plan.folder.mkdir(parents=True, exist_ok=True)
    text = json.dumps(asdict(architecture), indent=2) + "\n"
    write_atomic(plan.folder / _ABOUT, text.encode())


def load_model(path: Path) -> nn.Module:
    """Returns the model of a checkpoint, in evaluation mode.

    Args:
        path: A file of `save_checkpoint`, in the folder that it was written to.

    Raises:
        InputError: If it, or the file beside it that names the model, is not what training wrote;
            or if BatchNorms were frozen, whose places the weights file of the run decided.
    """
    state, about = load_checkpoint(path), _about(path.parent / _ABOUT)
    require(about.norm == "group", "norm", "group for a model built from its name", about.norm)
    model = build_model(about.model, about.classes, 0)
    own = {name: value.shape for name, value in model.state_dict().items()}
    same = own == {name: value.shape for name, value in state.items()}
    require(same, "checkpoint", f"weights of {about.model} for {about.classes} classes", path)
    model.load_state_dict(state)
    return model.eval()


def _about(path: Path) -> Architecture:
    legal = "the file that training wrote beside its checkpoints"
    try:
        found: Any = json.loads(path.read_bytes())
        about = Architecture(**found)
    except (OSError, ValueError, TypeError, RecursionError) as error:
        raise InputError(f"{_ABOUT} must be {legal}, got {path}") from error
    kinds = type(about.model) is str and type(about.classes) is int
    require(kinds, _ABOUT, legal, path)
    return about


def load_checkpoint(path: Path) -> dict[str, Tensor]:
    """Reads a file of `save_checkpoint`.

    Raises:
        InputError: If it is no such file.
    """
    try:
        state: dict[str, Tensor] = load_tensors(path.read_bytes())
    except (OSError, SafetensorError) as error:
        raise InputError(f"checkpoint must be a safetensors file, got {path}: {error}") from error
    return state
