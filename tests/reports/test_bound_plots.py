"""The pictures of ``cropaudit bound`` are whole, say what they show, and show it where it is."""

import math
import re
import time
from collections.abc import Callable
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle as Outline
from PIL import Image

from cropaudit.accounting.geometry import Crop, Rectangle, Size
from cropaudit.accounting.inclusion import inclusion_map
from cropaudit.errors import InputError
from cropaudit.reports import bound_plots, outputs
from cropaudit.reports.bound_curves import profile_figure, steps_figure
from cropaudit.reports.bound_data import BoundMap, ProfileCurve, Series, StepsPlot, SweepPlot
from cropaudit.reports.bound_map import map_figure
from cropaudit.reports.bound_plots import (
    draw_map,
    draw_profile,
    draw_steps,
    draw_sweep,
    draw_sweeps,
)
from cropaudit.reports.bound_sweeps import sweep_figure
from cropaudit.reports.bound_words import map_words, sweep_words
from cropaudit.reports.outputs import PICTURE_SUFFIXES, check_output, write_profile_csv
from cropaudit.reports.svg import INK

SVG = "{http://www.w3.org/2000/svg}"


def sweep(*series: Series, values: tuple[float, ...] = (100, 200, 400)) -> SweepPlot:
    return SweepPlot("Crop size", "crop side, pixels", values, series, 1e-5)


def bound_map(
    image: tuple[int, int] = (60, 90),
    patch: tuple[int, int] = (6, 9),
    crop: tuple[int, int] = (24, 30),
    example: bool = False,
) -> BoundMap:
    rho = inclusion_map(Size(*image), Crop(Size(*crop)), Rectangle(Size(*patch)))
    row, column = np.unravel_index(rho.argmax(), rho.shape)
    picture = np.random.default_rng(0).integers(0, 256, (*image, 3), dtype=np.uint8)
    return BoundMap(
        image,
        patch,
        crop,
        rho,
        7.5 * rho / rho.max(),
        (int(row), int(column)),
        1 / 2975,
        picture if example else None,
    )


def infinite_map() -> BoundMap:
    rho = np.full((25, 25), 0.3)
    return BoundMap((32, 32), (8, 8), None, rho, np.full((25, 25), np.inf), (3, 20), 1e-5)


def curve(name: str, reach: float, valid: bool = True) -> ProfileCurve:
    epsilon = np.linspace(0.01, reach, 100)
    return ProfileCurve(name, epsilon, np.exp(-20 * epsilon / reach), valid, valid)


CROPPED = Series("noise multiplier 1", (1.0, 2.0, 3.0), (6.0, 6.0, 6.0))
WIDE = Series("noise multiplier 0.5", (1.0, 20.0, 90.0))
BROKEN = Series("noise multiplier 0", (1.0, math.inf, 3.0), (math.inf, math.inf, 5.0))

DRAWINGS: dict[str, tuple[Callable[[Path], None], tuple[str, ...]]] = {
    "sweep": (
        lambda path: draw_sweep(sweep(CROPPED), path),
        ("Crop size", "crop side, pixels", "noise multiplier 1", "dashed: without crop", "10⁻⁵"),
    ),
    "sweeps": (
        lambda path: draw_sweeps((sweep(CROPPED), sweep(WIDE), sweep(CROPPED, BROKEN)), path),
        ("noise multiplier 1", "noise multiplier 0.5", "Not drawn: 3 infinite values"),
    ),
    "map": (
        lambda path: draw_map(bound_map(), path),
        ("crop 24×30", "worst: ε = 7.50", "best: ρ = ", "row 23, column 29", "ε(z) at δ"),
    ),
    "example": (
        lambda path: draw_map(bound_map(example=True), path),
        ("column of the patch's centre", "worst: ρ = "),
    ),
    "infinite map": (
        lambda path: draw_map(infinite_map(), path),
        ("worst: ε = ∞", "red: ε is infinite, no bound"),
    ),
    "profile": (
        lambda path: draw_profile((curve("Poisson", 9.0), curve("add-remove", 4.0, False)), path),
        ("Poisson", "add-remove (not a bound)", "δ(ε)"),
    ),
    "steps": (
        lambda path: draw_steps([1, 10, 100], [0.5, 1.0, math.inf], 1e-5, path),
        ("training steps", "ε = 1.00 after 10 steps", "Not drawn: 1 infinite value of ε."),
    ),
}


@pytest.fixture(params=DRAWINGS)
def drawing(request: pytest.FixtureRequest) -> tuple[Callable[[Path], None], tuple[str, ...]]:
    return DRAWINGS[request.param]


def test_svg_holds_its_labels_a_title_and_a_description(
    drawing: tuple[Callable[[Path], None], tuple[str, ...]], tmp_path: Path
) -> None:
    draw, labels = drawing
    draw(tmp_path / "picture.svg")
    root = ElementTree.fromstring((tmp_path / "picture.svg").read_text(encoding="utf-8"))
    title, description = root.find(f"{SVG}title"), root.find(f"{SVG}desc")
    assert title is not None
    assert title.text
    assert description is not None
    assert len(description.text or "") > 60
    texts = " ".join(text.text or "" for text in root.iter(f"{SVG}text"))
    for label in labels:
        assert label in texts


def test_svg_stands_alone_on_white_with_unique_ids(tmp_path: Path) -> None:
    draw_map(bound_map(example=True), tmp_path / "map.svg")
    text = (tmp_path / "map.svg").read_text(encoding="utf-8")
    root = ElementTree.fromstring(text)
    assert INK not in text
    assert "color: #101418" in root.attrib["style"]
    assert root[2].attrib == {"width": "100%", "height": "100%", "fill": "#ffffff"}
    ids = [element.attrib["id"] for element in root.iter() if "id" in element.attrib]
    assert len(ids) == len(set(ids))
    references = set(re.findall(r"url\(#([^)]*)\)|href=\"#([^\"]*)\"", text))
    assert {one or other for one, other in references} <= set(ids)


def test_png_and_pdf_open_and_say_what_they_show(
    drawing: tuple[Callable[[Path], None], tuple[str, ...]], tmp_path: Path
) -> None:
    draw, _ = drawing
    draw(tmp_path / "picture.PNG")
    with Image.open(tmp_path / "picture.PNG") as picture:
        picture.load()
        assert picture.format == "PNG"
        assert min(picture.size) > 400
        assert picture.convert("RGB").getpixel((1, 1)) == (255, 255, 255)
        assert len(picture.info["Description"]) > 60
    draw(tmp_path / "picture.pdf")
    assert (tmp_path / "picture.pdf").read_bytes().startswith(b"%PDF-")


@pytest.mark.parametrize("suffix", PICTURE_SUFFIXES)
def test_same_data_same_bytes(
    drawing: tuple[Callable[[Path], None], tuple[str, ...]], suffix: str, tmp_path: Path
) -> None:
    draw, _ = drawing
    first, second = tmp_path / f"first{suffix}", tmp_path / f"second{suffix}"
    draw(first)
    draw(second)
    assert first.read_bytes() == second.read_bytes()


@pytest.mark.parametrize("name", ["picture.jpg", "picture", "picture.svg.gz"])
def test_other_endings_are_refused_before_anything_is_drawn(name: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"ends in \.svg, \.png or \.pdf, got .*picture"):
        draw_sweep(sweep(CROPPED), tmp_path / name)
    assert not list(tmp_path.iterdir())


def test_failure_leaves_the_old_file_and_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "sweep.svg"
    path.write_text("old")

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.replace", full)
    with pytest.raises(InputError, match=r"cannot write .*sweep\.svg: No space left on device"):
        draw_sweep(sweep(CROPPED), path)
    monkeypatch.setattr(bound_plots, "sweep_figure", full)
    with pytest.raises(OSError, match="No space"):
        draw_sweep(sweep(CROPPED), path)
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
    with pytest.raises(InputError, match="2 deltas, got 1"):
        write_profile_csv(path, [1.0, 2.0], [0.5], force=True)


def test_outputs_need_no_matplotlib() -> None:
    assert "matplotlib" not in Path(outputs.__file__).read_text().split('"""')[2]


@pytest.mark.parametrize(("series", "scale"), [(CROPPED, "linear"), (WIDE, "log")])
def test_epsilon_has_a_log_axis_when_due(series: Series, scale: str) -> None:
    assert sweep_figure([sweep(series)]).axes[0].get_yscale() == scale


def test_panels_share_scale_and_colours() -> None:
    figure = sweep_figure([sweep(CROPPED), sweep(WIDE, CROPPED)])
    left, right = figure.axes
    assert left.get_yscale() == right.get_yscale() == "log"
    assert left.get_ylim() == right.get_ylim()
    same = [
        line for line in right.get_lines() if np.asarray(line.get_ydata())[0] == CROPPED.epsilon[0]
    ]
    assert left.get_lines()[0].get_color() in {line.get_color() for line in same}
    assert left.get_lines()[0].get_color() != right.get_lines()[0].get_color()


def test_wide_even_parameters_have_a_log_axis() -> None:
    even = sweep(CROPPED, values=(1.0, 10.0, 100.0))
    assert sweep_figure([even]).axes[0].get_xscale() == "log"
    assert sweep_figure([sweep(CROPPED)]).axes[0].get_xscale() == "linear"


def test_sweep_is_drawn_in_order_with_gaps_for_infinities() -> None:
    figure = sweep_figure([sweep(BROKEN, values=(400, 200, 100))])
    full, thin = figure.axes[0].get_lines()
    np.testing.assert_array_equal(full.get_xdata(), [100, 200, 400])
    np.testing.assert_array_equal(full.get_ydata(), [3.0, np.nan, 1.0])
    np.testing.assert_array_equal(thin.get_ydata(), [5.0, np.nan, np.nan])
    assert thin.get_color() == full.get_color()
    assert thin.get_linewidth() < full.get_linewidth()
    assert [text.get_text() for text in figure.texts] == ["Not drawn: 3 infinite values of ε."]


def test_zeros_are_left_out_of_a_log_axis_only() -> None:
    zero = Series("a", (0.0, 1.0, 2.0))
    assert not sweep_figure([sweep(zero)]).texts
    note = sweep_figure([sweep(zero, WIDE)]).texts[0].get_text()
    assert note == "Not drawn: 1 zero value of ε."


def test_nothing_but_infinities_is_still_a_picture(tmp_path: Path) -> None:
    draw_sweep(sweep(Series("a", (math.inf,) * 3)), tmp_path / "sweep.png")
    draw_steps([5], [math.inf], 1e-5, tmp_path / "steps.png")
    assert len(list(tmp_path.iterdir())) == 2


def outlines(axes: Axes) -> list[tuple[tuple[float, float], float, float]]:
    found = [patch for patch in axes.patches if isinstance(patch, Outline) and not patch.get_fill()]
    return [(patch.get_xy(), patch.get_width(), patch.get_height()) for patch in found]


def test_worst_place_and_window_are_drawn_where_they_are() -> None:
    data = bound_map()
    row, column = data.worst
    assert data.rho[data.worst] == data.rho.max()
    for axes in map_figure(data).axes[:4:2]:
        assert ((column, row), 9, 6) in outlines(axes)
        # The worst place is above and left of the middle, so the window is in the other corner.
        assert ((90 - 30, 60 - 24), 30, 24) in outlines(axes)
        assert axes.get_xlim() == (0, 90)
        assert axes.get_ylim() == (60, 0)
        label = next(text for text in axes.texts if text.get_text().startswith("worst"))
        assert label.xy == (column + 4.5, row + 3)  # type: ignore[attr-defined]


def test_heat_lies_where_centres_can_lie() -> None:
    axes = map_figure(bound_map()).axes[0]
    (heat,) = axes.images
    # Centres of a 6 by 9 patch: rows 3 to 57, columns 4.5 to 85.5, half a cell beyond each.
    assert tuple(heat.get_extent()) == (4.0, 86.0, 57.5, 2.5)


def test_reduced_heat_keeps_the_largest_value_and_its_place() -> None:
    rho = np.zeros((1001, 2001))
    rho[1000, 2000] = 0.7
    data = BoundMap((1010, 2010), (10, 10), None, rho, 10 * rho, (1000, 2000), 1e-5)
    axes = map_figure(data).axes[0]
    cells = np.asarray(axes.images[0].get_array())
    assert max(cells.shape) <= 600
    assert cells[-1, -1] == 0.7
    clip = axes.images[0].get_clip_box()
    assert clip is not None
    corner = axes.transData.inverted().transform((clip.x1, clip.y0))
    np.testing.assert_allclose(corner, [2005.5, 1005.5])


def test_example_lies_under_a_translucent_map() -> None:
    axes = map_figure(bound_map(example=True)).axes[0]
    below, heat = axes.images
    assert tuple(below.get_extent()) == (0, 90, 60, 0)
    assert np.asarray(below.get_array()).min() >= 130
    assert heat.get_alpha() == 0.6
    assert map_figure(bound_map()).axes[0].images[0].get_alpha() == 1.0


@pytest.mark.parametrize("image", [(6, 9), (6, 400), (400, 9), (7, 10)])
def test_map_of_any_shape_is_drawn(image: tuple[int, int], tmp_path: Path) -> None:
    draw_map(bound_map(image=image, crop=(6, 9)), tmp_path / "map.png")
    assert (tmp_path / "map.png").stat().st_size > 1000


def test_large_map_is_drawn_quickly(tmp_path: Path) -> None:
    data = bound_map((1024, 2048), (10, 10), (505, 505), example=True)
    draw_map(data, tmp_path / "first.png")
    began = time.process_time()
    draw_map(data, tmp_path / "map.png")
    assert time.process_time() - began < 2


def test_bad_maps_are_refused() -> None:
    rho = np.zeros((3, 3))
    with pytest.raises(InputError, match=r"rho must be of shape \(4, 3\), got \(3, 3\)"):
        BoundMap((5, 4), (2, 2), None, rho, rho, (0, 0), 1e-5)
    with pytest.raises(InputError, match="worst must be on the map"):
        BoundMap((4, 4), (2, 2), None, rho, rho, (3, 0), 1e-5)
    with pytest.raises(InputError, match="epsilon of the map must be at least 0"):
        BoundMap((4, 4), (2, 2), None, rho, rho * np.nan, (0, 0), 1e-5)
    with pytest.raises(InputError, match="example must be of"):
        BoundMap((4, 4), (2, 2), None, rho, rho, (0, 0), 1e-5, np.zeros((4, 5, 3), np.uint8))


def test_bad_sweeps_are_refused() -> None:
    with pytest.raises(InputError, match="one epsilon for each of the 3 values, got 2"):
        sweep(Series("a", (1.0, 2.0)))
    with pytest.raises(InputError, match="epsilon of a must be at least 0, got nan"):
        sweep(Series("a", (1.0, 2.0, math.nan)))
    with pytest.raises(InputError, match="series must be at least one"):
        sweep()
    with pytest.raises(InputError, match="sweeps must be at least one"):
        draw_sweeps((), Path("sweep.svg"))


def test_what_is_no_bound_is_dotted_and_says_so() -> None:
    curves = [curve("good", 9.0), curve("bad", 5.0, False), curve("odd, not a bound", 6.0, False)]
    figure = profile_figure(curves)
    good, *bad = figure.axes[0].get_lines()
    assert good.get_linewidth() > bad[0].get_linewidth()
    names = [text.get_text() for text in figure.legends[0].get_texts()]
    assert names == ["good", "bad (not a bound)", "odd, not a bound"]
    assert good.get_linestyle() == "-"


def test_only_what_is_no_bound_is_dotted(tmp_path: Path) -> None:
    path = tmp_path / "profile.svg"
    dots = []
    for valid in (True, False):
        draw_profile([curve(str(number), 5.0 + number, valid) for number in range(6)], path)
        dashes = re.findall(r"stroke-dasharray: ([\d.]+),", path.read_text(encoding="utf-8"))
        dots.append({float(dash) < 2 for dash in dashes})
    assert dots == [{False}, {True}]


def test_profiles_far_apart_have_a_log_axis() -> None:
    near = profile_figure([curve("a", 3.0), curve("b", 30.0)]).axes[0]
    far = profile_figure([curve("a", 3.0), curve("b", 300.0)]).axes[0]
    assert (near.get_xscale(), far.get_xscale()) == ("linear", "log")
    assert near.get_yscale() == far.get_yscale() == "log"


def test_profile_leaves_out_what_has_no_place() -> None:
    odd = ProfileCurve("a", np.array([0.0, 1.0, 2.0, np.inf]), np.array([0.5, 1e-3, 0.0, 1e-5]))
    (line,) = profile_figure([odd]).axes[0].get_lines()
    np.testing.assert_array_equal(line.get_xdata(), [0.0, 1.0])
    with pytest.raises(InputError, match="delta of a must be between 0 and 1"):
        ProfileCurve("a", np.zeros(1), np.full(1, 2.0))


def test_profiles_from_zero_or_without_points_are_drawn(tmp_path: Path) -> None:
    zero = ProfileCurve("a", np.linspace(0, 300, 99), np.exp(-np.linspace(0, 30, 99)))
    empty = ProfileCurve("b", np.full(2, np.inf), np.zeros(2))
    draw_profile([zero, curve("c", 3.0), empty], tmp_path / "log.png")
    draw_profile([empty], tmp_path / "empty.png")
    assert len(list(tmp_path.iterdir())) == 2


def test_steps_end_with_their_number() -> None:
    data = StepsPlot(np.array([100.0, 1.0]), np.array([7.4501, 0.5]), 1e-5)
    axes = steps_figure(data).axes[0]
    np.testing.assert_array_equal(axes.get_lines()[0].get_xdata(), [1, 100])
    assert axes.texts[0].get_text() == "ε = 7.46 after 100 steps"


def test_alternative_texts_say_the_numbers() -> None:
    text = map_words(bound_map())
    assert "an image of 60 by 90 pixels" in text
    assert "7.50 at the worst, row 23, column 29" in text
    text = sweep_words([sweep(BROKEN)])
    assert "epsilon 1.00 to 3.00, without crop ∞ to 5.00" in text
