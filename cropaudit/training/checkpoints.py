"""The weights of a run on its way: before the first update, every so many steps, and at the end."""

from dataclasses import dataclass
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from torch import Tensor, nn

from cropaudit.errors import InputError, require
from cropaudit.training.atomic import write_atomic

__all__ = ["Checkpoints", "copied_state", "load_checkpoint", "save_checkpoint"]


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
