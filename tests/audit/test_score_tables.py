"""Scores of a user: every form of table, and every error with its line."""

import gzip
import io
import json
import pickle
import zipfile
from pathlib import Path

import numpy as np
import pytest
from numpy.lib import format as npy

from cropaudit.audit.games import score_csv
from cropaudit.audit.number_files import LARGEST
from cropaudit.audit.score_tables import Named, ScoreTable, read_arrays, read_table
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
        LONG.replace(",", ";"),
        LONG.replace(",", "\t"),
        "Score,MEMBER\n1.5,1\n-2,-1\n300,1\ninf,-1\n",
        "Is-Member;Attack Score\nYES;1.5\nno;-2\ny;300\nN;inf\n",
        "signal_values,true_membership\n1.5,in\n-2,out\n300,In\ninf,OUT\n",
        "membership_score,keep\n1.5,True\n-2,False\n300,T\ninf,f\n",
        "note;score;member\na,b,c;1.5;1\n;-2;0\n;300;+1\n;inf;0\n",
    ],
    ids=[
        *("mark", "returns", "spaces", "order", "more columns", "quotes", "words", "numbers"),
        *("semicolons", "tabs", "minus one", "other names", "in and out", "LiRA", "commas inside"),
    ],
)
def test_the_same_table_written_otherwise(text: str, tmp_path: Path) -> None:
    """From a file and from standard input alike."""
    path = tmp_path / "scores.csv"
    path.write_bytes(text.encode())
    expected = table(LONG)
    for found in (table(text), *read_table(path)):
        assert np.array_equal(found.values, expected.values)
        assert np.array_equal(found.member, expected.member)


@pytest.mark.parametrize("packed", [False, True])
def test_files_are_read_plain_or_gzipped(packed: bool, tmp_path: Path) -> None:
    path = tmp_path / ("scores.csv.gz" if packed else "scores.tsv")
    data = LONG.replace(",", "\t").encode("utf-8-sig")
    path.write_bytes(gzip.compress(data) if packed else data)
    (found,) = read_table(path)
    assert np.array_equal(found.values, table(LONG).values)


def test_archives_and_objects_of_lists_are_read(tmp_path: Path) -> None:
    """As numpy saves them, as LeakPro keeps an attack, and as two arrays of scores."""
    values, bits = table(LONG).values, table(LONG).member
    np.savez(tmp_path / "a.npz", scores=values[:, None], keep=bits, epochs=np.array(3))
    np.savez_compressed(tmp_path / "b.npz", Score=values, is_member=np.where(bits, 1, -1))
    stored = {"id": "x", "signal_values": values.tolist(), "true_labels": bits.astype(int).tolist()}
    (tmp_path / "c.json").write_text(json.dumps({**stored, "tpr": None, "fixed_fpr": {"a": 1}}))
    for name in ("a.npz", "b.npz", "c.json"):
        (found,) = read_table(tmp_path / name)
        assert np.array_equal(found.values, values), name
        assert np.array_equal(found.member, bits), name
    np.savez(tmp_path / "d.npz", member=values[bits], nonmember=values[~bits])
    (found,) = read_table(tmp_path / "d.npz")
    assert found.scores.member.tolist() == [1.5, 300.0]


def test_columns_may_be_named() -> None:
    text = "Loss gain,Confidence,target\n1.5,0,1\n-2,0,0\n"
    (found,) = read_table(io.StringIO(text), Named("loss gain", "Target"))
    assert found.values.tolist() == [1.5, -2]
    with pytest.raises(
        InputError, match="column must be one of loss_gain, confidence, target, got"
    ):
        read_table(io.StringIO(text), Named("gain", "target"))
    two = "score_a,score_b,member,keep\n1,2,1,0\n2,3,0,1\n"
    with pytest.raises(
        InputError, match="must have one member, got member, keep; name it by --mem"
    ):
        read_table(io.StringIO(two))
    (found,) = read_table(io.StringIO(two), Named("score_b", "keep"))
    assert (found.values.tolist(), found.member.tolist()) == ([2, 3], [False, True])


def test_errors_show_the_columns_found() -> None:
    assert refused("Gain,Bit\n1,1\n").endswith("and rows; got gain, bit")
    assert refused("score,member\n").endswith("got score, member and no rows")
    many = ",".join(f"c{i}" for i in range(40))
    assert refused(f"{many}\n{many}\n").endswith("c10, c11 and 28 more")


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
        ("score,member\n1,perhaps\n", 2),
        ("score,member\n1,-1\n1,0\n", 3),
        ("score,member\n1,0\n1,-1.0\n", 3),
        ("score;member\n1,5;1\n2;0\n", 2),
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
    legal = "0 or 1 (or -1 and 1, true, yes, in and their opposites)"
    expected = f"scores {path} line 2 must be a number and {legal}, got 1 and maybe"
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
        "loss,member\n1,1\n",
        "prediction,answers\n1,1\n",
        "score,label\n1,1\n",
        "score member\n1 1\n",
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


def test_what_is_too_much_is_refused_before_it_is_judged(tmp_path: Path) -> None:
    wide = ",".join(f"score_{i}" for i in range(1100))
    assert "must be of at most 1000 columns, got 1101" in refused(f"{wide},member\n")
    wide = ",".join(f"score_{i}" for i in range(300))
    rows = "".join(f"{','.join(['1'] * 300)},{bit}\n" for bit in (0, 1))
    assert "must be of at most 200 attacks, got 300" in refused(f"{wide},member\n{rows}")
    rows = "".join(f"{i},1,{i}\n" for i in range(300))
    assert "must be of at most 200 attacks, got 300" in refused(f"score,member,attack\n{rows}")
    rows = "".join(f"{i},1,{i}\n" for i in range(2500))
    assert "at most 2000 positions over all attacks, got 2500" in refused(
        f"score,member,position\n{rows}"
    )
    rows = "".join(f"{i},{i},1,{i}\n" for i in range(1500))
    assert "got 3000" in refused(f"score_a,score_b,member,position\n{rows}")
    for label in ("a" * 5000, "\ud800", "\x1b[2J", "two\u2028lines"):
        for column in ("attack", "position"):
            message = refused(f"score,member,{column}\n1,1,{label}\n2,0,{label}\n")
            assert "printable characters" in message
            assert len(message) < 300
            message.encode("utf-8")
    bomb = tmp_path / "bomb.csv.gz"
    bomb.write_bytes(gzip.compress(b"score,member\n" + bytes(LARGEST), compresslevel=1))
    assert bomb.stat().st_size < 3e6
    with pytest.raises(InputError, match=r"must be at most 268435456 bytes unpacked, got more"):
        read_table(bomb)


# Arrays.


def test_two_arrays(tmp_path: Path) -> None:
    np.save(tmp_path / "m.npy", np.array([[3], [1], [2]]))
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


def promising(shape: tuple[int, ...]) -> bytes:
    """Returns an array file with ten numbers whose header promises others."""
    file = io.BytesIO()
    npy.write_array_header_1_0(file, {"descr": "<f8", "fortran_order": False, "shape": shape})
    return file.getvalue() + bytes(80)


@pytest.mark.parametrize("shape", [(10**13,), (2**62, 4), (0, -1), (11,), (10**30,)])
def test_headers_that_promise_more_than_there_is(shape: tuple[int, ...], tmp_path: Path) -> None:
    fine, big, packed = (tmp_path / name for name in ("fine.npy", "big.npy", "big.npz"))
    np.save(fine, np.zeros(5))
    big.write_bytes(promising(shape))
    with pytest.raises(InputError, match=r"must be a \.npy file of numbers"):
        read_arrays(big, fine)
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("score.npy", promising(shape))
    with pytest.raises(InputError, match=r"must be a \.npz file of numbers"):
        read_table(packed)


def test_archives_and_objects_that_are_no_scores(tmp_path: Path) -> None:
    path = tmp_path / "x.npz"
    np.savez(path, score=np.zeros((4, 3)), keep=np.zeros(4, bool))
    with pytest.raises(InputError, match="must be"):
        read_table(path)
    np.savez(path, a=np.zeros(4))
    with pytest.raises(InputError, match=r"must hold the arrays score and member, .*; got a"):
        read_table(path)
    np.savez(path, score=np.array([_Bomb()], dtype=object), member=np.ones(1))
    with pytest.raises(InputError, match=r"must be a \.npz file of numbers: its kind is object"):
        read_table(path)
    for data in (b"", b"PK\x03\x04nothing", path.read_bytes()[:300]):
        path.write_bytes(data)
        with pytest.raises(InputError, match=r"must be a \.npz file of numbers"):
            read_table(path)
    with pytest.raises(InputError, match=r"must be an existing \.npz file"):
        read_table(tmp_path / "none.npz")
    for text in ("", "[1]", "{", "[" * 100_000, '{"signal_values": [1, 1' + "0" * 400 + "]}"):
        (tmp_path / "x.json").write_text(text)
        with pytest.raises(InputError, match=r"must be a JSON object with lists"):
            read_table(tmp_path / "x.json")
    (tmp_path / "x.json").write_text('{"signal_values": null, "true_labels": [1, 0]}')
    with pytest.raises(InputError, match=r"must hold the arrays"):
        read_table(tmp_path / "x.json")
    with pytest.raises(InputError, match=r"two \.npy files are given as --member and --nonmember"):
        read_table(tmp_path / "one.npy")


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
