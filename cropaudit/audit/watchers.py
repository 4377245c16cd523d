"""The adversaries that watch one run, as a subject's configuration has them.

They know the images alone: scores of several canaries of one run must not know each other's coins.
"""

from cropaudit.attacks.projected_white_box import ProjectedWhiteBox
from cropaudit.attacks.white_box import WhiteBox
from cropaudit.audit.subject import Subject

__all__ = ["Watcher", "projected_watcher", "white_box_watcher"]

Watcher = WhiteBox | ProjectedWhiteBox


def white_box_watcher(subject: Subject, seed: int) -> WhiteBox:
    """Returns the adversary that holds all canaries' gradients; ``seed`` is of its windows."""
    training = subject.config.training
    return WhiteBox(
        subject.empty,
        subject.slots,
        subject.crop,
        sample_rate=subject.mechanism.sample_rate,
        noise_multiplier=training.noise_multiplier,
        max_grad_norm=training.max_grad_norm,
        seed=seed,
    )


def projected_watcher(subject: Subject, seed: int) -> ProjectedWhiteBox:
    """Returns the adversary for models whose gradients are too many to hold."""
    training = subject.config.training
    return ProjectedWhiteBox(
        subject.empty,
        subject.slots,
        subject.crop,
        sampling=subject.sampling,
        noise_multiplier=training.noise_multiplier,
        max_grad_norm=training.max_grad_norm,
        seed=seed,
    )
