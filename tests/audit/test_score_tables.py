"""Scores of a user: every form of table, and every error with its line."""

import io
import pickle
from pathlib import Path

import numpy as np
import pytest

from cropaudit.audit.games import score_csv
from cropaudit.audit.score_tables import ScoreTable, read_arrays, read_table
from cropaudit.errors import InputError

LONG = "score,member\n1.5,1\n-2,0\n3e2,1\ninf,0\n"


def table(text: str) -> ScoreTable:
    (found,) = read_table(io.StringIO(text))
    return found


def refused(text: str) -> str:
    with pytest.raises(InputError) as caught:
        read_table(io.StringIO(text))
    assert len(str(caught.value).splitlines()) == 1
    return str(caught.value)


# What is read.


def test_a_long_table(tmp_path: Path) -> None:
    path = tmp_path / "scores.csv"
    path.write_text(LONG)
    for (found,) in (read_table(path), read_table(io.StringIO(LONG))):
        assert (found.attack, found.positions) == ("", ())
        assert found.values.tolist() == [1.5, -2.0, 300.0, np.inf]
        assert found.member.tolist() == [True, False, True, False]
        assert found.scores.member.tolist() == [1.5, 300.0]
        assert found.scores.nonmember.tolist() == [-2.0, np.inf]


@pytest.mark.parametrize(
    "text",
    [
        "\ufeff" + LONG,
        LONG.replace("\n", "\r\n"),
        " score , member \n 1.5 , 1 \n-2, 0\n3e2,1\ninf,0\n",
        "member,score\n1,1.5\n0,-2\n1,3e2\n0,inf\n",
        'id,score,member\na,1.5,1\n"b,c",-2,0\n,3e2,1\nd,inf,0\n',
        '"score","member"\n"1.5","1"\n\n"-2","0"\n"3e2","1"\n\n"inf","0"\n\n',
        "score,member\n1.5,true\n-2,False\n3e2,TRUE\ninf,0.0\n",
        "score,member\n1.5,1.0\n-2,0.0\n+300,1\nInfinity,0",
    ],
    ids=["mark", "returns", "spaces", "order", "more columns", "quotes", "words", "numbers"],
)
def test_the_same_table_written_otherwise(text: str, tmp_path: Path) -> None:
    """From a file and from standard input alike."""
    path = tmp_path / "scores.csv"
    path.write_bytes(text.encode())
    expected = table(LONG)
    for found in (table(text), *read_table(path)):
        assert np.array_equal(found.values, expected.values)
        assert np.array_equal(found.member, expected.member)


def test_attacks_of_a_long_table_are_parted_in_order() -> None:
    text = "attack,score,member\nb,1,1\na,2,0\n b ,3,0\na,4,1\n,5,1\n,6,0\nb,7,1\n"
    found = read_table(io.StringIO(text))
    assert [item.attack for item in found] == ["b", "a", ""]
    assert [item.values.tolist() for item in found] == [[1, 3, 7], [2, 4], [5, 6]]
    assert [item.member.tolist() for item in found] == [[1, 0, 1], [0, 1], [1, 0]]


def test_a_wide_table_is_several_attacks_on_the_same_trials() -> None:
    text = "score_loss,member,score_white box, score_x ,note\n1,1,4,7,score\n2,0,5,8,\n3,1,6,9,\n"
    found = read_table(io.StringIO(text))
    assert [item.attack for item in found] == ["loss", "white box", "x"]
    assert [item.values.tolist() for item in found] == [[1, 2, 3], [4, 5, 6], [7, 8, 9]]
    for item in found:
        assert item.member.tolist() == [True, False, True]


@pytest.mark.parametrize("wide", [True, False])
def test_positions(wide: bool) -> None:
    column = "score_a" if wide else "score"
    text = f"{column},member,position\n1,1,3 4\n2,0, 3 4\n3,0,0\n4,1,0 \n5,1,0\n"
    found = table(text)
    assert found.positions == ("3 4", "3 4", "0", "0", "0")
    places = found.places()
    assert list(places) == ["3 4", "0"]
    assert places["3 4"].member.tolist() == [1.0]
    assert places["0"].member.tolist() == [4.0, 5.0]
    assert places["0"].nonmember.tolist() == [3.0]


def test_empty_positions_are_none() -> None:
    assert table("score,member,position\n1,1,\n2,0, \n").positions == ()


def test_a_position_of_one_world_has_no_game() -> None:
    found = table("score,member,position\n1,1,a\n2,0,a\n3,1,b\n")
    with pytest.raises(InputError, match="position b must have scores of both worlds"):
        found.places()


def test_an_audits_own_scores_are_read_back_exactly() -> None:
    rng = np.random.default_rng(0)
    values, member = rng.normal(size=50) * 1e-7, rng.random(50) < 0.5
    found = table(score_csv(values, member).decode())
    assert np.array_equal(found.values, values)
    assert np.array_equal(found.member, member)


# What is refused.


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("score,member\n1,1\nx,0\n", 3),
        ("score,member\n1,1\n,0\n", 3),
        ("score,member\n1,1\n1,2\n", 3),
        ("score,member\n1,1\n1,\n", 3),
        ("score,member\n1,1\n1\n", 3),
        ("score,member\n1,yes\n", 2),
        ("score,member\n1,0.5\n", 2),
        ("score,member\n\n\n1,1\n\nx,0\n", 6),
        ('note,score,member\n"two\nlines",1,1\nc,x,1\n', 4),
        ("score,member\n1,1\n2,1,1\n", 3),
        ("score,member\n1,1\n2,5,1\n", 3),
        ("score,member\n1,1\nnan,0\n", 3),
        ("score,member\nNaN,1\n", 2),
        ("score_a,score_b,member\n1,1,1\n1,?,0\n", 3),
        ("attack,score,member\na,1,1\nb,1,1\na,x,0\n", 4),
        ("score,member,position\n1,1,a\n2,0,\n3,1,b\n", 3),
    ],
)
def test_errors_name_the_line(text: str, line: int) -> None:
    message = refused(text)
    assert message.startswith("scores from standard input")
    assert f"line {line}" in message


def test_errors_name_the_values(tmp_path: Path) -> None:
    path = tmp_path / "my.csv"
    path.write_text("score,member\n1,maybe\n")
    with pytest.raises(InputError) as caught:
        read_table(path)
    expected = f"scores {path} line 2 must be a number and 0 or 1, got 1 and maybe"
    assert str(caught.value) == expected


@pytest.mark.parametrize(
    "text",
    [
        "",
        "\n",
        "score,member\n",
        "score\n1\n",
        "member\n1\n",
        "value,member\n1,1\n",
        "score_,member\n1,1\n",
        "1,1\n2,0\n",
        "score,score_a,member\n1,1,1\n",
        "Score,Member\n1,1\n",
        "score;member\n1;1\n",
    ],
)
def test_tables_without_the_columns(text: str) -> None:
    assert "must have the columns score and member" in refused(text)


@pytest.mark.parametrize("text", ["score,member,score\n1,1,2\n", "score_a,score_a,member\n1,2,1\n"])
def test_columns_must_not_come_twice(text: str) -> None:
    assert "must have each column once, got score" in refused(text)


@pytest.mark.parametrize("text", ["score,member\n1,1\n2,1\n", "score,member\n1,0\n"])
def test_worlds_without_scores(text: str) -> None:
    with pytest.raises(InputError, match="member scores must be a non-empty list of numbers"):
        _ = table(text).scores


def test_files_that_are_none(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="must be an existing CSV file"):
        read_table(tmp_path / "none.csv")
    with pytest.raises(InputError, match="must be a readable CSV file"):
        read_table(tmp_path)
    path = tmp_path / "latin.csv"
    path.write_bytes(b"score,member\n\xff,1\n")
    with pytest.raises(InputError, match="must be a readable CSV file"):
        read_table(path)
    path.write_bytes(b'score,member\n"' + b"1" * 200_000 + b'",1\n')
    with pytest.raises(InputError, match="must be a readable CSV file"):
        read_table(path)


# Arrays.


def test_two_arrays(tmp_path: Path) -> None:
    np.save(tmp_path / "m.npy", np.array([3, 1, 2]))
    np.save(tmp_path / "n.npy", np.array([0.5, -np.inf], dtype=np.float32))
    (found,) = read_arrays(tmp_path / "m.npy", tmp_path / "n.npy")
    assert (found.attack, found.positions) == ("", ())
    assert found.scores.member.tolist() == [3, 1, 2]
    assert found.scores.nonmember.tolist() == [0.5, -np.inf]
    assert found.member.tolist() == [True] * 3 + [False] * 2


@pytest.mark.parametrize(
    "values",
    [
        np.zeros((3, 2)),
        np.array(1.0),
        np.array([1.0, np.nan]),
        np.array([]),
        np.array(["a"]),
        np.array([1j]),
        np.array([(1, 2)], dtype=[("a", int), ("b", int)]),
        np.array(["2020-01-01"], dtype="datetime64[D]"),
    ],
    ids=["matrix", "scalar", "nan", "empty", "text", "complex", "record", "date"],
)
@pytest.mark.parametrize("second", [False, True])
def test_arrays_that_are_no_scores(values: np.ndarray, second: bool, tmp_path: Path) -> None:
    np.save(tmp_path / "bad.npy", values)
    np.save(tmp_path / "fine.npy", np.zeros(5))
    paths = [tmp_path / "bad.npy", tmp_path / "fine.npy"]
    with pytest.raises(InputError) as caught:
        read_arrays(*(reversed(paths) if second else paths))
    assert len(str(caught.value).splitlines()) == 1


class _Bomb:
    def __reduce__(self) -> tuple[object, ...]:
        return (pytest.fail, ("unpickled",))


def test_nothing_is_unpickled(tmp_path: Path) -> None:
    fine = tmp_path / "fine.npy"
    np.save(fine, np.zeros(5))
    bare, array, archive = (tmp_path / name for name in ("a.npy", "b.npy", "c.npy"))
    bare.write_bytes(pickle.dumps(_Bomb()))
    np.save(array, np.array([_Bomb()], dtype=object), allow_pickle=True)
    with archive.open("wb") as file:
        np.savez(file, a=np.zeros(3))
    for path in (bare, array, archive):
        with pytest.raises(InputError, match=r"must be a \.npy file of numbers"):
            read_arrays(path, fine)


def test_array_files_that_are_none(tmp_path: Path) -> None:
    fine, empty, cut = (tmp_path / name for name in ("fine.npy", "empty.npy", "cut.npy"))
    np.save(fine, np.zeros(5))
    empty.write_bytes(b"")
    cut.write_bytes(fine.read_bytes()[:-8])
    with pytest.raises(InputError, match=r"must be an existing \.npy file"):
        read_arrays(tmp_path / "none.npy", fine)
    for path in (empty, cut, tmp_path):
        with pytest.raises(InputError, match=r"must be a \.npy file of numbers"):
            read_arrays(fine, path)
