"""Check 0, the contract: the code returns what it is asked for, in time, and leaves its input be.

Null hypothesis: none is statistical; a call that raised, hung or returned a wrong type did so.
"""

from cropaudit.audit.conformance.claimed import Claimed
from cropaudit.audit.conformance.outcome import Outcome, Tested
from cropaudit.audit.conformance.seen import Seen

__all__ = ["check"]

_WORDS = {
    "raised": "raised",
    "hung": "hung:",
    "type": "broke its contract:",
    "mutated": "spoils what it is given:",
    "unreadable": "cannot be read:",
}


def check(seen: Seen, claimed: Claimed) -> Outcome:
    """Fails for every trouble but a print."""
    contract = seen.contract
    serious = [item for item in contract.troubles if item.kind != "printed"]
    prints = [item for item in contract.troubles if item.kind == "printed"]
    notes = [*contract.notes, *(f"it {_said(item.words, item.where)}" for item in prints)]
    seen_words = [
        f"the {item.subject or 'code'} {_said(f'{_WORDS[item.kind]} {item.words}', item.where)}"
        for item in serious
    ]
    null = "calls return an image with its mask (or what else is asked for), in time"
    return Outcome(
        check="contract",
        tests=(Tested(null, 0.0 if serious else 1.0, "; ".join(seen_words)),),
        evidence="; ".join([f"{contract.calls} calls came back", *notes]),
        power="any call that raises, hangs or returns a wrong type is found, and so is input that "
        "is changed in place in one of the first five calls",
        where=next((item.where for item in [*serious, *prints] if item.where), ""),
        figures={"calls": float(contract.calls)},
    )


def _said(words: str, where: str) -> str:
    return f"{words} ({where})" if where else words
