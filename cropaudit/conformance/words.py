"""What checks say: templates by code, filled with the fields that were measured.

A check keeps its sentences in one text, an entry a code: ``code: sentence``,
further lines indented.
The null of a test, what holds in a sound pipeline, has the code of the test and a question mark.
"""

import re
from collections.abc import Iterable, Mapping
from typing import Any

from cropaudit.conformance.outcome import Tested

__all__ = ["Said", "Words", "joined", "named"]


class Said(str):
    """A sentence that remembers its code and its fields.

    Attributes:
        code: Of the template.
        fields: That fill it.
    """

    code: str
    fields: Mapping[str, Any]

    def __new__(cls, text: str, code: str = "", fields: Mapping[str, Any] | None = None) -> "Said":
        """Makes it of the text that is read."""
        said = super().__new__(cls, text)
        said.code, said.fields = code, dict(fields or {})
        return said


class Words:
    r"""The sentences of one check.

    >>> say = Words("same?: all is the same\nsame: {n} are not\n  the same")
    >>> say("same", n=3), say.test("same", 0.0, n=3).null
    ('3 are not the same', 'all is the same')
    """

    def __init__(self, text: str) -> None:
        entries = [entry.partition(": ") for entry in re.split(r"\n(?! )", text.strip())]
        self.templates = {code: " ".join(words.split()) for code, _, words in entries}

    def __call__(self, code: str, /, **fields: Any) -> Said:
        """Returns the sentence of this code."""
        return Said(self.templates[code].format(**fields), code, fields)

    def get(self, code: str) -> str:
        """Returns the sentence of this code, which needs no field; "" if there is none."""
        return self.templates.get(code, "")

    def test(
        self,
        code: str,
        p_value: float,
        cause: str = "",
        /,
        *,
        shows: str = "",
        void_if: tuple[str, ...] = (),
        **fields: Any,
    ) -> Tested:
        """Returns a tested null hypothesis: its fields need not be known where nothing is odd.

        Args:
            code: Of the test; ``code?`` is its null.
            p_value: Of what was seen.
            cause: Code of what to say of it, or what to say, if not that of the test.
            shows: See `Tested`; likewise the next.
            void_if: What makes the p-value mean nothing.
            **fields: What was measured.
        """
        said = cause if isinstance(cause, Said) else None
        code_said = str(cause) if cause and said is None else code
        words = said or Said("", code_said, fields)
        if p_value < 1 and said is None:
            words = self(code_said, **fields)
        return Tested(self(f"{code}?", **fields), p_value, words, shows, void_if)


def joined(parts: Iterable[str]) -> str:
    """Returns different sentences as one, those left out that say nothing.

    >>> joined(["a", "", "b", "a"])
    'a; b'
    """
    return "; ".join(dict.fromkeys(part for part in parts if part))


def named(names: Iterable[str], last: str = "and") -> str:
    """Returns names as a list in words.

    >>> named(["a", "b", "c"])
    'a, b and c'
    """
    *head, tail = list(names) or [""]
    return f"{', '.join(head)} {last} {tail}" if head else tail
