"""Sentences of the checks: every code has its template, every template its fields and its use."""

import ast
import string
from functools import cache
from pathlib import Path

import pytest

from cropaudit import conformance
from cropaudit.conformance import checks
from cropaudit.conformance.check import Check, Observations, Outcome, PipelineClaim, Words
from cropaudit.conformance.outcome import decide
from cropaudit.conformance.words import Said

FILES = sorted(Path(checks.__path__[0]).rglob("*.py"))
ABOUT = {"asks", "catches", "blind"}


def _templates(tree: ast.Module) -> dict[str, str]:
    for node in tree.body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "say":
            assert isinstance(node.value, ast.Call)
            return Words(ast.literal_eval(node.value.args[0])).templates
    return {}


def _fields(template: str) -> set[str]:
    return {name for _, name, _, _ in string.Formatter().parse(template) if name}


@cache
def _spoken() -> set[str]:
    """Returns the texts in the code of all of conformance: some codes are names of observations."""
    trees = [ast.parse(file.read_text()) for file in Path(conformance.__path__[0]).rglob("*.py")]
    found = [n.value for tree in trees for n in ast.walk(tree) if isinstance(n, ast.Constant)]
    return {value for value in found if isinstance(value, str)}


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_every_sentence_gets_its_fields(file: Path) -> None:
    """A field that is missing would raise in the midst of a report, and maybe only on a failure."""
    tree = ast.parse(file.read_text())
    templates = _templates(tree)
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
    for call in calls:
        name = ast.unparse(call.func)
        if name not in ("say", "say.test") or not isinstance(call.args[0], ast.Constant):
            continue
        given = {item.arg for item in call.keywords}
        code = str(call.args[0].value)
        wanted = [code] if name == "say" else [f"{code}?"]
        if name == "say.test":
            cause = call.args[2] if len(call.args) > 2 else None
            wanted += [code] if cause is None else []
            wanted += [str(cause.value)] if isinstance(cause, ast.Constant) else []
        passes = name == "say.test" and ast.unparse(call.args[1]) == "1.0"
        for item in wanted[:1] if passes else wanted:
            assert item in templates, item
            assert None in given or _fields(templates[item]) <= given, item
    for code in templates.keys() - ABOUT:
        known = {code, code.removesuffix("?"), code.rpartition(".")[0] + "."}
        assert known & _spoken(), f"{code} is said nowhere"


def test_a_check_of_ones_own_is_one_object() -> None:
    """A registry holds it by one line; what it finds is judged with all others."""
    say = Words("asks: it is even\nodd?: the number of calls is even\nodd: {calls} calls are odd")

    def read(contract, claimed: PipelineClaim, seen: Observations) -> Outcome:
        calls = contract.calls
        return Outcome(tests=(say.test("odd", float(calls % 2 == 0), calls=calls),))

    check = Check("even calls", say, {"contract": read})
    outcome = check(Observations(), PipelineClaim())
    assert decide([outcome], 0.05)[0].status == "pass"
    (test,) = check(
        Observations(contract=type(Observations().contract)(calls=3)), PipelineClaim()
    ).tests
    assert (test.words, test.code, dict(test.fields)) == ("3 calls are odd", "odd", {"calls": 3})
    assert isinstance(test.words, Said)
    assert check.needs == ("transform", "loader", "model", "trainer", "pipeline")
