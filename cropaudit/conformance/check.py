"""A check: what it asks, of which observations, and how each of these answers.

The checks on a part (a crop, a loader, a model, a trainer's step) and on a whole training are one:
a check has a reading of each kind of observation, and joins what they say. What it is written with
is at hand here.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from cropaudit.conformance.observed import SUBJECTS, Observations
from cropaudit.conformance.outcome import Outcome, Tested, merged
from cropaudit.conformance.pipeline_claim import PipelineClaim
from cropaudit.conformance.words import Words, named

__all__ = ["Check", "Observations", "Outcome", "PipelineClaim", "Tested", "Words"]

Reading = Callable[[Any, PipelineClaim, Observations], Outcome]


@dataclass(frozen=True, eq=False)
class Check:
    """One check.

    Attributes:
        name: As findings call it.
        say: Its sentences; of these ``asks`` (what must hold), ``catches`` (faults that it is there
            for) and ``blind`` (why a loader alone does not show it, if one might think so) are
            about the check itself.
        readings: By the name of the observation in `Observations`: what that says.
    """

    name: str
    say: Words
    readings: Mapping[str, Reading]

    @property
    def asks(self) -> str:
        """What must hold."""
        return self.say.get("asks")

    @property
    def catches(self) -> str:
        """Faults that it is there for."""
        return self.say.get("catches")

    @property
    def needs(self) -> tuple[str, ...]:
        """Subjects, any one of which makes it run."""
        return tuple(dict.fromkeys(s for name in self.readings for s in SUBJECTS[name]))

    def __call__(self, seen: Observations, claimed: PipelineClaim) -> Outcome:
        """Returns what it brought; what was given and broke is not called missing."""
        found = []
        for name, reading in self.readings.items():
            part = getattr(seen, name)
            if part is not None:
                outcome = reading(part, claimed, seen)
                where = outcome.where or getattr(part, "where", "")
                found.append(replace(outcome, check=self.name, where=where))
        found = found or [Outcome(self.name, skipped=f"no {named(self.needs, 'or')} was given")]
        outcome = merged(found)
        if not outcome.skipped:
            return outcome
        if self.say.get("blind") and seen.batches is not None and seen.batches.ours:
            return replace(outcome, skipped="", unmeasured=self.say.get("blind"))
        serious = {t.subject for t in seen.contract.troubles if t.kind != "printed"}
        broken = [subject for subject in self.needs if subject in serious]
        if broken:
            words = f"the {' and the '.join(broken)} could not be probed: see contract"
            return replace(outcome, skipped=words)
        return outcome
