"""The model at its initial weights, as a configuration describes it."""

from pathlib import Path

from torch import nn

from cropaudit.audit.config_sections import TrainingConfig
from cropaudit.training.models import WeightsFile, build_model

__all__ = ["initial_model", "weights_file"]


def initial_model(training: TrainingConfig, classes: int, seed: int) -> nn.Module:
    """Builds the configured model; ``seed`` is of the weights that no file gives.

    Raises:
        InputError: If the model, the encoder or the weights file cannot be used.
    """
    file = weights_file(training)
    return build_model(training.model, classes, seed, norm=training.norm, weights=file)


def weights_file(training: TrainingConfig) -> WeightsFile | None:
    """Returns the file of initial weights that a configuration names, if it names one."""
    if training.weights is None:
        return None
    return WeightsFile(Path(training.weights), training.weights_sha256)
