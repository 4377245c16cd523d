"""The picture of a stream shows the bound, the claim and the decision, and says so in words."""

import math
from xml.etree import ElementTree

import pytest

from cropaudit.audit.stream import Decision, StreamState
from cropaudit.errors import InputError
from cropaudit.reports.stream_plot import plot_stream, stream_data
from cropaudit.reports.svg import INK

SVG = "{http://www.w3.org/2000/svg}"


def states(bounds: list[float], decisions: list[Decision]) -> list[StreamState]:
    return [
        StreamState(4**place, 4**place // 2, bound, bound, decision)
        for place, (bound, decision) in enumerate(zip(bounds, decisions, strict=True))
    ]


RISING = states(
    [0.0, 0.2, 1.0, 1.876, 2.3, 2.6],
    ["undecided", "undecided", "undecided", "close", "violation", "violation"],
)


def texts(svg: str) -> str:
    return "".join(ElementTree.fromstring(svg).itertext())


def test_the_decision_stands_where_it_was_first_reached() -> None:
    data = stream_data(RISING, 2.0, 1e-5, 0.95)
    assert data.decision == "violation"
    assert data.decided == (256, 2.3)
    assert data.games.tolist() == [1, 4, 16, 64, 256, 1024]
    assert stream_data(RISING[:4], 2.0, 1e-5, 0.95).decided == (64, 1.876)
    assert stream_data(RISING[:3], 2.0, 1e-5, 0.95).decided is None


def test_the_picture_is_plain_svg_with_title_and_description() -> None:
    picture = plot_stream(stream_data(RISING, 2.0, 1e-5, 0.95))
    root = ElementTree.fromstring(picture.svg)
    title, description = root.find(f"{SVG}title"), root.find(f"{SVG}desc")
    assert title is not None
    assert title.text == picture.title == "Lower bound by games"
    assert description is not None
    assert description.text == picture.alt
    assert "currentColor" in picture.svg
    assert INK not in picture.svg
    ids = [element.attrib["id"] for element in root.iter() if "id" in element.attrib]
    assert len(ids) == len(set(ids))


def test_numbers_are_rounded_to_the_honest_side() -> None:
    picture = plot_stream(stream_data(RISING[:4], 2.0011, 1e-5, 0.95))
    assert "claimed: ε = 2.01" in texts(picture.svg)
    for words in ("from 0 to 1.87 after 64 games", "claimed epsilon of 2.01", "95% confidence"):
        assert words in picture.alt


@pytest.mark.parametrize(
    ("count", "words", "spoken"),
    [
        (3, None, "No decision was reached."),
        (4, "bound close to the claim, 64 games", "After 64 games"),
        (6, "claim contradicted, 256 games", "After 256 games"),
    ],
)
def test_the_decision_is_named(count: int, words: str | None, spoken: str) -> None:
    picture = plot_stream(stream_data(RISING[:count], 2.0, 1e-5, 0.95))
    assert spoken in picture.alt
    if words is None:
        assert "contradicted" not in texts(picture.svg)
    else:
        assert words in texts(picture.svg)


def test_same_data_same_bytes() -> None:
    data = stream_data(RISING, 2.0, 1e-5, 0.95)
    assert plot_stream(data) == plot_stream(data)


@pytest.mark.parametrize("bound", [0.0, 5.0, math.inf])
def test_a_single_state_is_drawn(bound: float) -> None:
    data = stream_data(states([bound], ["violation" if bound > 2 else "undecided"]), 2, 0, 0.9)
    picture = plot_stream(data)
    assert ("infinity" in picture.alt) == math.isinf(bound)
    assert "nan" not in picture.svg.lower()


def test_what_cannot_be_shown_is_refused() -> None:
    with pytest.raises(InputError, match="history must be at least one state"):
        stream_data([], 2.0, 1e-5, 0.95)
    with pytest.raises(InputError, match="claimed epsilon must be positive"):
        stream_data(RISING, math.inf, 1e-5, 0.95)
    with pytest.raises(InputError, match="confidence must be in"):
        stream_data(RISING, 2.0, 1e-5, 1.0)
