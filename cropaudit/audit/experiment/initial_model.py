"""The model at its initial weights, as a configuration describes it."""

from pathlib import Path

from torch import nn

from cropaudit.audit.config.sections import TrainingConfig
from cropaudit.errors import require
from cropaudit.training.models.build import WeightsFile, build_model
from cropaudit.training.models.plugin import is_plugin, plugin_digest

__all__ = ["initial_model", "pinned", "weights_file"]


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


def pinned(training: TrainingConfig) -> TrainingConfig:
    """Returns the training with the digest of the file that its model comes from, if it does.

    Raises:
        InputError: If another digest is stated: the file has changed.
    """
    if not is_plugin(training.model):
        return training
    digest = plugin_digest(training.model)
    stated = training.model_sha256 or digest
    legal = f"the file of digest {stated[:12]} that is stated"
    require(stated.lower() == digest, f"training.model {training.model}", legal, digest[:12])
    return training.model_copy(update={"model_sha256": digest})
