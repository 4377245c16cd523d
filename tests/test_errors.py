"""What an error echoes is of bounded length and printable; YAML is refused before it expands."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cropaudit.errors import InputError, require, shown
from cropaudit.yaml_text import parse_yaml

LAUGHS = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]\n" for n in range(1, 12)
)


@given(st.text() | st.integers() | st.lists(st.text(max_size=400)) | st.floats())
def test_what_is_shown_is_short_and_printable(value: object) -> None:
    text = shown(value)
    assert len(text) <= 240
    assert text.isprintable() or text.replace(" ", "").isprintable()
    text.encode()  # no lone surrogate is left


def test_ordinary_values_are_shown_whole() -> None:
    assert [shown(value) for value in (None, True, 10**20, 0.1, "a b", [1, "b"])] == [
        *("None", "True", "100000000000000000000", "0.1", "a b", "[1, 'b']")
    ]


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ("n" * 100_000, "nnn...nnn"),
        ("lone \ud800 surrogate", r"lone \ud800 surrogate"),
        (10**5000, "a whole number of 16610 bits"),
        ([["x" * 10_000] * 10_000] * 10_000, "..."),
        ({"\x1b[31m": 1}, r"\x1b"),
    ],
    ids=("long", "surrogate", "digits", "nested", "control"),
)
def test_hostile_values(value: object, words: str) -> None:
    with pytest.raises(InputError) as caught:
        require(False, "name", "ordinary", value)
    message = str(caught.value)
    assert words in message
    assert len(message) < 400
    message.encode()


def test_a_whole_message_is_cut_and_on_one_line() -> None:
    message = str(InputError("key must be x,\n got \udfff" + "y" * 10**6))
    assert len(message) == 1500
    assert message.startswith(r"key must be x, got \udfffyyy")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (LAUGHS, "at most 20000 values, aliases written out"),
        (f"<<: [{', '.join(['{a: b}'] * 9)}]\n{LAUGHS}", "at most 20000 values"),
        ("a: &a [*a]", "a value that does not hold itself"),
        ("[" * 100_000, "at most 50 deep"),
        ("{a: " * 60 + "1" + "}" * 60, "at most 50 deep"),
        ("a: " + "x" * 200_001, "at most 200000 characters"),
        ("!!python/object/apply:os.getcwd []", "could not determine a constructor"),
    ],
    ids=("laughs", "merges", "itself", "brackets", "braces", "long", "python"),
)
def test_yaml_that_is_no_configuration(text: str, words: str) -> None:
    with pytest.raises(InputError) as caught:
        parse_yaml(text, "config")
    assert words in str(caught.value)
    assert len(str(caught.value)) < 600


def test_aliases_in_reason_are_read() -> None:
    assert parse_yaml("a: &x [1, 2]\nb: *x\nc: {<<: {d: *x}}", "config") == {
        "a": [1, 2],
        "b": [1, 2],
        "c": {"d": [1, 2]},
    }


@pytest.mark.parametrize(
    "text",
    ["a: 1\na: 2\n", "a: {b: 1, c: 2, b: 3}\n", '- {a: 1}\n- {a: 1, "a": 1}\n'],
)
def test_keys_that_are_given_twice_are_refused(text: str) -> None:
    with pytest.raises(InputError, match=r"config must be YAML: the key [ab] is given twice"):
        parse_yaml(text, "config")


def test_merged_keys_may_be_overridden() -> None:
    text = "base: &base {a: 1, b: 2}\nother: {<<: *base, b: 3}\nagain: {a: 1}\n"
    assert parse_yaml(text, "config")["other"] == {"a": 1, "b": 3}
