"""Every picture is whole, says what it shows, is the same each time, and hides nothing."""

import math
import re
from collections.abc import Callable
from itertools import combinations
from pathlib import Path
from xml.etree import ElementTree

import matplotlib
import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.text import Text
from matplotlib.transforms import Bbox
from PIL import Image

from cropaudit.audit.verdict.stream import StreamState
from cropaudit.errors import InputError
from cropaudit.reports import outputs
from cropaudit.reports.outputs import PICTURE_SUFFIXES, check_output, write_profile_csv
from cropaudit.reports.pictures.bound_plots import curves_drawing, map_drawing, sweeps_drawing
from cropaudit.reports.pictures.canvas import INK, Drawing, canvas, style
from cropaudit.reports.pictures.estimate_plots import estimate_drawing
from cropaudit.reports.pictures.plots import (
    audit_bars,
    audit_roc,
    bars_drawing,
    inclusion_drawing,
    profile_drawing,
    roc_drawing,
)
from cropaudit.reports.pictures.stream_plot import stream_drawing
from tests.reports.bounds import BROKEN, CROPPED, WIDE, curve, infinite_map, panel, place_map
from tests.reports.conftest import COLUMN, ROW, build_inclusion, build_report
from tests.reports.estimates import attack, estimate

SVG = "{http://www.w3.org/2000/svg}"
STREAM = [
    StreamState(1, 0, 0.0, 0.0, "undecided"),
    StreamState(64, 32, 1.0, 1.876, "close"),
    StreamState(256, 128, 3.0, 2.3, "violation"),
    StreamState(1024, 512, 3.5, 2.6, "violation"),
]


def profile() -> Drawing:
    found = profile_drawing(build_report().claim)
    assert found is not None
    return found


DRAWINGS: dict[str, tuple[Callable[[], Drawing], tuple[str, ...]]] = {
    "inclusion": (
        lambda: inclusion_drawing(build_inclusion(), (ROW, COLUMN)),
        ("inclusion probability ρ", "column of the patch's top left"),
    ),
    "roc": (
        lambda: roc_drawing(audit_roc(build_report())),
        ("Pipeline probe", "limit of the claimed", "excluded by the claim", "false positive rate"),
    ),
    "bars": (
        lambda: bars_drawing(audit_bars(build_report())),
        ("≥ 6.47", "≥ 4.12", "claimed: 4.21", "with crops: 7.46", "without crops: 31.4"),
    ),
    "profile": (profile, ("claimed: ε = 4.21", "δ(ε)")),
    "sweep": (
        lambda: sweeps_drawing([panel(CROPPED)]),
        (
            "Crop size",
            "side of the crop, pixels",
            "noise multiplier 1",
            "dashed: without crop",
            "10⁻⁵",
        ),
    ),
    "sweeps": (
        lambda: sweeps_drawing([panel(CROPPED), panel(WIDE), panel(CROPPED, BROKEN)]),
        ("noise multiplier 1", "noise multiplier 0.5", "Not drawn: 3 infinite values"),
    ),
    "map": (
        lambda: map_drawing(place_map(), 1 / 2975, (24, 30)),
        (
            "crop 24×30",
            "worst (outlined): ε = 7.50",
            "best: ρ = ",
            "row 23, column 29",
            "ε(z) at δ",
        ),
    ),
    "example": (
        lambda: map_drawing(place_map(), 1e-5, (24, 30), np.zeros((60, 90, 3), np.uint8)),
        ("column of the patch's centre", "worst (outlined): ρ = "),
    ),
    "infinite map": (
        lambda: map_drawing(infinite_map(), 1e-5, None),
        ("worst (outlined): ε = ∞", "red: ε is infinite, no bound"),
    ),
    "curves": (
        lambda: curves_drawing((curve("Poisson", 9.0), curve("add-remove", 4.0, False))),
        ("Poisson", "add-remove (not a bound)", "δ(ε)"),
    ),
    "estimate": (
        lambda: estimate_drawing(estimate(attack("one", 1.3, 3), attack("_two $x$ <b>&", 0.4))),
        ("two $x$ <b>&, AUC 0.750", "claimed: 3.00", "≥ 1.23", "thick bar, bold number: decides"),
    ),
    "stream": (
        lambda: stream_drawing(STREAM, 2.0011, 1e-5, 0.95),
        ("claimed: ε = 2.01", "claim contradicted, 256 games"),
    ),
}


@pytest.fixture(scope="module", params=DRAWINGS)
def drawn(request: pytest.FixtureRequest) -> tuple[Drawing, str, tuple[str, ...]]:
    build, labels = DRAWINGS[request.param]
    drawing = build()
    return drawing, drawing.picture().svg, labels


def test_an_element_of_a_page_is_whole(drawn: tuple[Drawing, str, tuple[str, ...]]) -> None:
    """XML with labels, title and description; inks of the page; ids its own, references whole."""
    drawing, svg, labels = drawn
    root = ElementTree.fromstring(svg)
    title, description = root.find(f"{SVG}title"), root.find(f"{SVG}desc")
    assert title is not None
    assert title.text == drawing.title
    assert description is not None
    assert description.text == drawing.alt
    assert len(drawing.alt) > 60
    assert root.attrib["aria-labelledby"] == f"{title.attrib['id']} {description.attrib['id']}"
    texts = " ".join(text.text or "" for text in root.iter(f"{SVG}text"))
    for label in labels:
        assert label in texts, label
    assert "currentColor" in svg
    assert INK not in svg
    assert "#ffffff; stroke: none" not in svg.partition("<defs>")[0]
    assert "DejaVu" not in svg
    ids = [element.attrib["id"] for element in root.iter() if "id" in element.attrib]
    assert len(ids) == len(set(ids))
    assert all(name.startswith(f"{drawing.name}-") for name in ids)
    references = set(re.findall(r"url\(#([^)]*)\)|href=\"#([^\"]*)\"", svg))
    assert {one or other for one, other in references} <= set(ids)


def test_files_are_whole_and_the_same_each_time(
    drawn: tuple[Drawing, str, tuple[str, ...]], tmp_path: Path
) -> None:
    drawing, svg, _ = drawn
    alone = drawing.data(".svg").decode()
    root = ElementTree.fromstring(alone)
    assert "color: #101418" in root.attrib["style"]
    assert root[2].attrib == {"width": "100%", "height": "100%", "fill": "#ffffff"}
    assert svg.partition("</desc>")[2] in alone
    drawing.save(tmp_path / "picture.PNG")
    with Image.open(tmp_path / "picture.PNG") as picture:
        picture.load()
        assert min(picture.size) > 400
        assert picture.convert("RGB").getpixel((1, 1)) == (255, 255, 255)
        assert picture.info["Description"] == drawing.alt
    assert drawing.data(".pdf").startswith(b"%PDF-")


@pytest.mark.parametrize("suffix", [".png", ".pdf"])
def test_files_of_pixels_and_for_print_are_the_same_each_time(suffix: str) -> None:
    drawing = DRAWINGS["stream"][0]()
    assert drawing.data(suffix) == drawing.data(suffix)


def off_axis(figure: Figure) -> set[Text]:
    """Returns the labels of ticks beyond the ends of their axes, which are not drawn."""
    found = set()
    for axes in figure.axes:
        for axis in (axes.xaxis, axes.yaxis):
            low, high = sorted(axis.get_view_interval())
            for tick in (*axis.get_major_ticks(), *axis.get_minor_ticks()):
                if not low <= tick.get_loc() <= high:
                    found |= {tick.label1, tick.label2}
    return found


def test_no_texts_overlap(drawn: tuple[Drawing, str, tuple[str, ...]]) -> None:
    """Nor leave the picture: labels, numbers, ticks, legends, however the layout came out."""
    drawing, _, _ = drawn
    with style("overlap"):
        figure = drawing.build()
        figure.draw_without_rendering()
        found = [text for text in figure.findobj(Text) if isinstance(text, Text)]
        beyond = off_axis(figure)
        boxes = [
            (text.get_text(), box)
            for text in found
            if text.get_visible() and text.get_text().strip() and text not in beyond
            if text.get_bbox_patch() is None  # a label on a map has a ground of its own
            if (box := text.get_window_extent()).width * box.height > 0
        ]
    assert len(boxes) > 8
    for (first, box), (second, other) in combinations(boxes, 2):
        both = Bbox.intersection(box, other)
        area = 0.0 if both is None else both.width * both.height
        assert area < 0.1 * min(box.width * box.height, other.width * other.height), (first, second)


def test_users_matplotlib_settings_do_not_reach_a_report() -> None:
    drawing = DRAWINGS["stream"][0]()
    plain = drawing.picture()
    with matplotlib.rc_context({"lines.linewidth": 9.0, "axes.grid": True, "font.size": 30.0}):
        assert drawing.picture() == plain


@pytest.mark.parametrize("name", ["picture.jpg", "picture", "picture.svg.gz"])
def test_other_endings_are_refused_before_anything_is_drawn(name: str, tmp_path: Path) -> None:
    drawing = Drawing("x", "x", "x", lambda: pytest.fail("drawn"))
    with pytest.raises(InputError, match=r"ends in \.svg, \.png or \.pdf, got .*picture"):
        drawing.save(tmp_path / name)
    assert not list(tmp_path.iterdir())


def test_failure_leaves_the_old_file_and_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "sweep.svg"
    path.write_text("old")

    def full(*_: object) -> Figure:
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space"):
        Drawing("x", "x", "x", full).save(path)
    monkeypatch.setattr("os.replace", full)
    with pytest.raises(InputError, match=r"cannot write .*sweep\.svg: No space left on device"):
        Drawing("x", "x", "x", lambda: canvas(1, 1)).save(path)
    assert [file.read_text() for file in tmp_path.iterdir()] == ["old"]


def test_outputs_are_checked_beforehand(tmp_path: Path) -> None:
    path = tmp_path / "map.png"
    check_output(path, PICTURE_SUFFIXES, False)
    path.write_bytes(b"old")
    check_output(path, PICTURE_SUFFIXES, True)
    with pytest.raises(InputError, match=r"^map must be a new file, or give --force, got .*png$"):
        check_output(path, PICTURE_SUFFIXES, False, name="map")
    with pytest.raises(InputError, match="must be in an existing folder"):
        check_output(tmp_path / "none" / "map.png", PICTURE_SUFFIXES, True)
    (tmp_path / "folder.png").mkdir()
    with pytest.raises(InputError, match="must be a file, not a folder"):
        check_output(tmp_path / "folder.png", PICTURE_SUFFIXES, True)
    (tmp_path / "link.png").symlink_to(tmp_path / "nowhere")
    with pytest.raises(InputError, match="must be a new file"):
        check_output(tmp_path / "link.png", PICTURE_SUFFIXES, False)


def test_profile_csv_keeps_every_digit_and_is_not_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "profile.csv"
    epsilon, delta = np.array([0.1, 1 / 3, math.inf]), np.array([1 / 7, 1e-17, 0.0])
    write_profile_csv(path, epsilon, delta, force=False)
    head, *rows = path.read_text().splitlines()
    assert head == "epsilon,delta"
    read = np.array([[float(x) for x in row.split(",")] for row in rows])
    np.testing.assert_array_equal(read, np.stack([epsilon, delta], axis=1))
    with pytest.raises(InputError, match=r"^profile must be a new file, or give --force, got "):
        write_profile_csv(path, [1.0], [0.5], force=False)
    assert path.read_text().count("\n") == 4
    write_profile_csv(path, [1.0], [0.5], force=True)
    assert path.read_text() == "epsilon,delta\n1.0,0.5\n"


def test_outputs_need_no_matplotlib() -> None:
    assert "matplotlib" not in Path(outputs.__file__).read_text().split('"""')[2]


@pytest.mark.parametrize(
    ("count", "label", "spoken"),
    [
        (1, None, "No decision was reached."),
        (2, "bound close to the claim, 64 games", "After 64 games"),
        (4, "claim contradicted, 256 games", "After 256 games"),
    ],
)
def test_a_stream_names_its_decision_where_it_was_first_reached(
    count: int, label: str | None, spoken: str
) -> None:
    drawing = stream_drawing(STREAM[:count], 2.0011, 1e-5, 0.95)
    assert spoken in drawing.alt
    texts = "".join(ElementTree.fromstring(drawing.picture().svg).itertext())
    assert ("games the decision" in texts) == (label is not None)
    assert label is None or label in texts
    assert "claimed epsilon of 2.01" in drawing.alt
    assert "95% confidence" in drawing.alt


@pytest.mark.parametrize(
    "state",
    [
        StreamState(1, 0, 0.0, 0.0, "undecided"),
        StreamState(9, 4, 9.0, math.inf, "violation"),
        StreamState(9, 4, 0.0, 0.0, "withheld"),
    ],
)
def test_a_single_state_of_any_kind_is_drawn(state: StreamState) -> None:
    drawing = stream_drawing([state], 2.0, 0.0, 0.9)
    assert ("infinity" in drawing.alt) == math.isinf(state.epsilon)
    assert ("withheld" in drawing.alt) == (state.decision == "withheld")
    assert "nan" not in drawing.picture().svg.lower()


def test_a_stream_that_cannot_be_shown_is_refused() -> None:
    with pytest.raises(InputError, match="history must be at least one state"):
        stream_drawing([], 2.0, 1e-5, 0.95)
    with pytest.raises(InputError, match="claimed epsilon must be positive"):
        stream_drawing(STREAM, math.inf, 1e-5, 0.95)
    with pytest.raises(InputError, match="confidence must be in"):
        stream_drawing(STREAM, 2.0, 1e-5, 1.0)
