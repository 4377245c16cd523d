"""Training that left the finite numbers: seen where it happens, told with its step and its run.

A score of such a model would be NaN, or worse, a number that says nothing.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor

from cropaudit.errors import InputError

__all__ = ["Diverged", "all_finite", "named_run", "require_finite_rows"]


class Diverged(InputError):
    """Training diverged.

    Attributes:
        step: Where it was seen, from 0.
        steps: Of the run.
        what: What is not finite.
        rate: The learning rate of that step.
        clip: C.
        run: Which training it was, in words.
        kept: What is left of it, in words.
    """

    def __init__(
        self,
        what: str,
        step: int,
        steps: int,
        *,
        rate: float,
        clip: float,
        run: str = "training",
        kept: str = "nothing of it was kept",
    ) -> None:
        self.what, self.step, self.steps, self.rate, self.clip = what, step, steps, rate, clip
        self.run, self.kept = run, kept
        super().__init__(
            f"learning_rate times max_grad_norm must be small enough to train, got {rate:g} times "
            f"{clip:g}: {run} diverged at step {step + 1} of {steps}, where {what} not finite; "
            f"{kept}"
        )

    def of(self, game: str) -> "Diverged":
        """Returns the same, and says which training it was."""
        where = self.what, self.step, self.steps
        run = f"{self.run} ({game})"
        return Diverged(*where, rate=self.rate, clip=self.clip, run=run, kept=self.kept)


@contextmanager
def named_run(words: str) -> Iterator[None]:
    """Says of the training inside which one it is, should it diverge."""
    try:
        yield
    except Diverged as error:
        raise error.of(words) from None


def all_finite(values: Sequence[Tensor]) -> bool:
    """Returns whether every number of every tensor is finite; waits for a GPU once."""
    checks = [torch.isfinite(value).all() for value in values]
    return not checks or bool(torch.stack(checks).all())


def require_finite_rows(
    values: Tensor, what: str, step: int, steps: int, *, rate: float, clip: float, first: int = 0
) -> None:
    """Raises if a row of a stack of runs is not finite.

    Args:
        values: First axis: the runs.
        what: What they are, with its verb.
        step: From 0.
        steps: Of the runs.
        rate: The learning rate of that step.
        clip: C.
        first: The number of the first row among all runs, from 0.

    Raises:
        Diverged: It names the runs, from 1.
    """
    bad = torch.nonzero(~torch.isfinite(values).flatten(1).all(dim=1))[:, 0].tolist()
    if bad:
        names = ", ".join(str(first + row + 1) for row in bad[:3])
        more = f" and {len(bad) - 3} more" if len(bad) > 3 else ""
        words = f"training of run{'s' * (len(bad) > 1)} {names}{more}"
        raise Diverged(what, step, steps, rate=rate, clip=clip, run=words)
