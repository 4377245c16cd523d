"""What a game counted: the whole input of every estimator, once scores are sorted and cut.

`Counts` is one test of "score above a threshold" on independent trials of two worlds. `Guesses` is
one round of guesses about canaries that share a training run, each with its own fair coin.
"""

from dataclasses import dataclass

from scipy.special import betaincinv

from cropaudit.errors import require

__all__ = ["Counts", "Found", "Guesses", "upper_limit"]


def upper_limit(count: float, trials: int, level: float) -> float:
    """Returns the one-sided Clopper-Pearson upper limit of a rate.

    Clopper and Pearson (1934), through the inverse of the regularised incomplete beta function.

    Args:
        count: Events seen; a fraction gives the limit at an expected count.
        trials: Independent trials.
        level: Probability that the true rate exceeds the limit.

    >>> round(upper_limit(0, 100, 0.05), 6)
    0.029513
    """
    return 1.0 if count >= trials else float(betaincinv(count + 1, trials - count, 1 - level))


@dataclass(frozen=True)
class Counts:
    """What one test counted in independent trials of two worlds.

    Attributes:
        members: Trials of world A.
        nonmembers: Trials of world B.
        hits: Trials of world A above the threshold: true positives.
        alarms: Trials of world B above it: false positives.
        ranked: Whether the threshold is itself a score of world B, the one of rank ``alarms + 1``
            from the top, the rank (not the value) being fixed beforehand. Its false positive rate
            then follows Beta(alarms + 1, nonmembers - alarms) and ``alarms`` is no observation.

    Raises:
        InputError: If a count is not within its trials, or a ranked test has no score to stand on.
    """

    members: int
    nonmembers: int
    hits: int
    alarms: int
    ranked: bool = False

    def __post_init__(self) -> None:
        require(self.members >= 1, "members", "at least 1", self.members)
        require(self.nonmembers >= 1, "nonmembers", "at least 1", self.nonmembers)
        require(0 <= self.hits <= self.members, "hits", f"0 to {self.members}", self.hits)
        most = self.nonmembers - 1 if self.ranked else self.nonmembers
        require(0 <= self.alarms <= most, "alarms", f"0 to {most}", self.alarms)

    def fpr_upper(self, level: float) -> float:
        """Returns the exact upper limit of the false positive rate, the same for both kinds."""
        return upper_limit(self.alarms, self.nonmembers, level)

    def fnr_upper(self, level: float) -> float:
        """Returns the exact upper limit of the false negative rate."""
        return upper_limit(self.members - self.hits, self.members, level)

    def swapped(self) -> "Counts":
        """Returns the same test told from the other world: its hits are what was not alarmed.

        Raises:
            InputError: If the test is ranked: a rank among one world is none among the other.
        """
        require(not self.ranked, "counts", "of a fixed threshold to be swapped", "a ranked test")
        misses, rest = self.members - self.hits, self.nonmembers - self.alarms
        return Counts(self.nonmembers, self.members, rest, misses)


@dataclass(frozen=True)
class Guesses:
    """What one round of guesses about the canaries of one run brought.

    Attributes:
        canaries: All canaries in the run, each in world A or B by its own fair coin.
        guesses: Canaries that were guessed, a number fixed beforehand.
        right: Right guesses.

    Raises:
        InputError: If the numbers contradict each other.
    """

    canaries: int
    guesses: int
    right: int

    def __post_init__(self) -> None:
        require(self.canaries >= 1, "canaries", "at least 1", self.canaries)
        require(
            1 <= self.guesses <= self.canaries, "guesses", f"1 to {self.canaries}", self.guesses
        )
        require(
            0 <= self.right <= self.guesses, "right guesses", f"0 to {self.guesses}", self.right
        )


@dataclass(frozen=True)
class Found:
    """A lower bound before it is rounded down.

    Attributes:
        epsilon: At least 0; infinite where no finite epsilon explains what was seen.
        note: What else is known, in a few words.
    """

    epsilon: float
    note: str = ""
