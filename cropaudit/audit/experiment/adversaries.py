"""What the adversaries of one run know, as a subject's configuration has it.

They know the images alone: scores of several canaries of one run must not know each other's coins.
"""

from cropaudit.attacks.base import AttackedRun
from cropaudit.audit.experiment.subject import Subject
from cropaudit.audit.experiment.training_plan import training_spec

__all__ = ["attacked_run"]


def attacked_run(subject: Subject, windows: int | None = None) -> AttackedRun:
    """Returns the run that adversaries attack.

    Args:
        subject: What is audited.
        windows: Crops shown of each slot; the configured number unless given.
    """
    shown = subject.config.game.black_box_windows if windows is None else windows
    return AttackedRun(subject.empty, subject.slots, training_spec(subject), shown)
