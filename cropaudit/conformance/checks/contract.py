"""The code returns what it is asked for, in time, and leaves its input be.

No null hypothesis is statistical; a call that raised, hung or returned a wrong type did so.
"""

from cropaudit.conformance.check import Check, Observations, Outcome, PipelineClaim, Words
from cropaudit.conformance.observations.contract import Contract
from cropaudit.conformance.words import joined

__all__ = ["check"]

say = Words("""
asks: the code returns what it is asked for, in time, and leaves its input alone
catches: exceptions, hangs, wrong types, input changed in place, output that is printed
kept?: calls return an image with its mask (or what else is asked for), in time
kept: {troubles}
raised: the {subject} raised {words}
hung: the {subject} hung: {words}
type: the {subject} broke its contract: {words}
mutated: the {subject} spoils what it is given: {words}
unreadable: the {subject} cannot be read: {words}
printed: it {words}
seen: {calls} calls came back
power: any call that raises, hangs or returns a wrong type is found, and so is input that is changed
  in place in one of the first five calls
""")


def _read(contract: Contract, claimed: PipelineClaim, seen: Observations) -> Outcome:
    """Fails for every trouble but a print."""
    serious = [item for item in contract.troubles if item.kind != "printed"]
    prints = [item for item in contract.troubles if item.kind == "printed"]
    told = {
        item: say(item.kind, subject=item.subject or "code", words=item.words)
        + (f" ({item.where})" if item.where else "")
        for item in contract.troubles
    }
    troubles = "; ".join(told[item] for item in serious)
    return Outcome(
        tests=(say.test("kept", 0.0 if serious else 1.0, troubles=troubles),),
        evidence=joined(
            [say("seen", calls=contract.calls), *contract.notes, *(told[item] for item in prints)]
        ),
        power=say("power"),
        where=next((item.where for item in [*serious, *prints] if item.where), ""),
        figures={"calls": float(contract.calls)},
    )


check = Check("contract", say, {"contract": _read})
