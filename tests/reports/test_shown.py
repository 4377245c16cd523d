"""What the pictures show is what was found, drawn where it is."""

import math
import re
from typing import get_args

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle as Outline

from cropaudit.accounting.bounds.answers import Curve, PlaceMap
from cropaudit.accounting.bounds.sweeps import SweepSeries
from cropaudit.accounting.geometry.shapes import Size
from cropaudit.audit.results.result import AuditReport, Validity
from cropaudit.audit.results.result import Curve as RocCurve
from cropaudit.errors import InputError
from cropaudit.reports.pictures.bound_plots import curves_drawing, map_drawing, sweeps_drawing
from cropaudit.reports.pictures.canvas import largest_blocks, style
from cropaudit.reports.pictures.charts import COLOURS, FLOOR
from cropaudit.reports.pictures.estimate_plots import estimate_drawing, estimate_plot
from cropaudit.reports.pictures.plots import (
    audit_bars,
    audit_roc,
    bars_drawing,
    inclusion_drawing,
    profile_drawing,
    roc_drawing,
)
from tests.reports.bounds import BROKEN, CROPPED, WIDE, curve, panel, place_map
from tests.reports.estimates import CLASSES, attack, estimate


def changed_claim(report: AuditReport, **changes: object) -> AuditReport:
    return report.model_copy(update={"claim": report.claim.model_copy(update=changes)})


def legend_texts(figure: Figure) -> list[str]:
    drawn = [*figure.legends, *(legend for part in figure.subfigs for legend in part.legends)]
    return [text.get_text().replace("\n", " ") for legend in drawn for text in legend.get_texts()]


# The audit's own pictures.


@pytest.mark.parametrize("shape", [(1, 1), (1, 900), (900, 2)])
def test_an_inclusion_map_of_any_shape_is_drawn(shape: tuple[int, int]) -> None:
    picture = inclusion_drawing(np.ones(shape), (0, 0)).picture()
    assert f"{shape[0]} by {shape[1]} positions" in picture.alt
    assert "<image" in picture.svg


def test_map_blocks_keep_the_largest_value() -> None:
    rho = np.zeros((600, 1000))
    rho[599, 998] = 0.7
    blocks, step = largest_blocks(rho, 256)
    assert max(blocks.shape) <= 256
    assert (blocks[-1, -1], step) == (0.7, 4)
    assert "0.000167% of all positions are as bad" in inclusion_drawing(rho, (599, 998)).alt


@pytest.mark.parametrize("bad", [np.zeros(3), np.zeros((0, 3)), np.full((2, 2), 1.5)])
def test_what_is_no_map_is_refused(bad: np.ndarray) -> None:
    with pytest.raises(InputError, match="inclusion must be"):
        inclusion_drawing(bad, (0, 0))
    with pytest.raises(InputError, match="worst position must be on the map"):
        inclusion_drawing(np.zeros((4, 5)), (4, 0))


def test_roc_of_a_bare_claim_is_limited_by_epsilon_and_delta(report: AuditReport) -> None:
    data = audit_roc(changed_claim(report, tradeoff=None, epsilon=1.0, delta=0.01))
    at = np.interp([0.001, 0.9], data.limit_fpr, data.limit_tpr)
    assert at[0] == pytest.approx(0.01 + np.e * 0.001, rel=1e-3)
    assert at[1] == pytest.approx(1 - (1 - 0.01 - 0.9) / np.e, rel=1e-3)
    assert "(ε, δ)" in data.limit_title


def test_roc_of_a_mechanism_follows_its_tradeoff(report: AuditReport) -> None:
    data, limit = audit_roc(report), report.claim.tradeoff
    assert limit is not None
    np.testing.assert_allclose(data.limit_tpr, np.interp(data.limit_fpr, limit.fpr, limit.tpr))


def test_a_curve_begins_at_one_false_positive(report: AuditReport) -> None:
    """What lies below is no measurement: drawn, it would cross into the excluded region."""
    for line, item in zip(audit_roc(report).lines, report.attacks, strict=True):
        assert line.fpr.min() >= (1 - 1e-6) / item.nonmembers
        assert (np.diff(line.fpr) >= 0).all()
        assert line.fpr[-1] == line.tpr[-1] == 1
        kept = np.asarray(item.roc.fpr) >= (1 - 1e-6) / item.nonmembers
        np.testing.assert_array_equal(line.tpr, np.asarray(item.roc.tpr)[kept])


def test_few_trials_are_drawn_with_their_interval(report: AuditReport) -> None:
    """43 scores of either world that tell nothing lie above the limit; their band does not."""
    steps = np.arange(44) / 43
    points = {"fpr": tuple(steps), "tpr": tuple(np.minimum(1.0, steps + 5 / 43))}
    changes = {"members": 43, "nonmembers": 43, "roc": RocCurve.model_validate(points)}
    few = report.attacks[0].model_copy(update={**changes, "threshold": None})
    data = audit_roc(report.model_copy(update={"attacks": (report.attacks[0], few)}))
    many, small = data.lines
    assert many.band is None
    assert small.band is not None
    low, high = small.band
    assert (low <= small.tpr).all()
    assert (small.tpr <= high).all()
    assert (low <= np.interp(small.fpr, data.limit_fpr, data.limit_tpr)).all()
    with style("test"):
        assert len(roc_drawing(data).build().axes[0].collections) == 2


def test_roc_point_stands_where_the_counts_say(report: AuditReport) -> None:
    first, second, third = audit_roc(report).lines
    assert first.point is not None
    assert (first.point.fpr, first.point.tpr) == (3 / 10_000, 861 / 10_000)
    assert first.point.fpr_interval[0] < 3 / 10_000 < first.point.fpr_interval[1]
    assert second.point is None
    assert third.point is not None
    assert third.point.fpr == 0.0
    assert min(line.fpr.min() for line in (first, second, third)) == FLOOR


def test_bars_start_with_the_headline_and_hold_every_bound(report: AuditReport) -> None:
    data = audit_bars(report)
    assert [bar.epsilon for bar in data.all] == [6.4789, 4.1278, 6.4789, 2.0349, 2.309, 0.0]
    assert data.all[0].strong
    assert [line.epsilon for line in data.references] == [4.2001, 7.4501, 31.3201]
    assert not data.log


def test_no_accounting_leaves_the_claim_alone(report: AuditReport) -> None:
    bare = changed_claim(report, epsilon_amplified=None, epsilon_without_crop=None)
    assert [line.title for line in audit_bars(bare).references] == ["claimed"]


def test_references_that_coincide_share_a_label(report: AuditReport) -> None:
    titles = [line.title for line in audit_bars(changed_claim(report, epsilon=7.4501)).references]
    assert titles == ["claimed = accounted with crops", "accounted without crops"]


def test_wide_range_takes_a_log_axis(report: AuditReport) -> None:
    drawing = bars_drawing(audit_bars(changed_claim(report, epsilon_without_crop=900.0)))
    with style("test"):
        axes = drawing.build().axes[0]
    assert axes.get_xscale() == "log"
    assert "(log axis)" in axes.get_xlabel()


def test_profile_needs_two_points_above_zero(report: AuditReport) -> None:
    assert profile_drawing(report.claim) is not None
    for few in ((), ((0.0, 0.1), (9.0, 0.0))):
        assert profile_drawing(report.claim.model_copy(update={"profile": few})) is None


# What scores show.


def estimate_axes(*attacks: object, **changes: object) -> tuple[Figure, Axes, Axes]:
    with style("test"):
        figure = estimate_drawing(estimate(*attacks, **changes)).build()  # type: ignore[arg-type]
    roc, bars = figure.axes
    return figure, roc, bars


def test_bars_have_the_length_and_the_colour_of_their_bounds() -> None:
    _, _, axes = estimate_axes(attack("", 1.3))
    drawn = [item for item in axes.patches if isinstance(item, Outline)]
    assert [bar.get_width() for bar in drawn] == pytest.approx([1.2345, 1.3, 1.4, 1.5, 1.6])
    for bar, validity in zip(drawn, ["exact", *CLASSES], strict=True):
        parts = (round(255 * part) for part in bar.get_facecolor()[:3])
        assert "#{:02x}{:02x}{:02x}".format(*parts) == COLOURS[validity]
    assert set(COLOURS) == set(get_args(Validity))
    assert len(set(COLOURS.values())) == 4


def test_claim_and_caps_are_on_the_axis_where_they_belong() -> None:
    _, _, axes = estimate_axes(attack("", 1.3))
    lines = [line.get_xdata()[0] for line in axes.lines]
    assert 3.0 in lines
    assert lines.count(4.0) == 3
    assert 99.0 not in lines, "it would squeeze all bars"
    assert axes.get_xlim()[1] > 4.0


def test_legend_names_every_class_the_claim_and_the_caps() -> None:
    texts = legend_texts(estimate_axes(attack("probe", 1.3))[0])
    assert all(any(text.startswith(name) for text in texts) for name in CLASSES)
    assert {"probe, AUC 0.750", "limit of the claim", "excluded by the claim"} <= set(texts)
    assert "largest bound that so many trials can give" in texts


def test_without_a_claim_nothing_is_excluded() -> None:
    bare = {"claim": None, "claimed_roc": None}
    figure, roc, _ = estimate_axes(attack("probe", 1.3), **bare)
    assert not [text for text in legend_texts(figure) if "claim" in text]
    assert not roc.collections
    alt = estimate_drawing(estimate(attack("probe", 1.3), **bare)).alt
    assert "nothing was claimed" in alt
    assert "excluded" not in alt


def test_the_region_above_the_claimed_curve_is_excluded() -> None:
    data = estimate_plot(estimate(attack("", 1.3))).roc
    assert data.limit_tpr == pytest.approx(data.limit_fpr**0.4, rel=0.02)
    assert len(estimate_axes(attack("", 1.3))[1].collections) == 1


def test_three_attacks_have_all_their_bars_more_only_the_deciding_one() -> None:
    three = estimate_plot(estimate(*(attack(f"a{at}", at) for at in range(3)))).bars.groups
    sizes = [(group.title, len(group.bars)) for group in three]
    assert sizes == [("", 1), ("a0", 4), ("a1", 4), ("a2", 4)]
    many = estimate(*(attack(f"a{at}", at) for at in range(14)))
    shown = estimate_plot(many)
    groups = shown.bars.groups
    assert [group.title for group in groups] == ["", "way-0 by attack (12 of 14)"]
    assert [bar.title for bar in groups[1].bars][:2] == ["a13", "a12"]
    assert len(shown.roc.lines) == 6
    assert "8 quieter attacks have no curve here" in estimate_drawing(many).alt


def test_positions_have_bars_of_their_own_loudest_first() -> None:
    (_, _, places) = estimate_plot(estimate(attack("", 1.3, places=20))).bars.groups
    assert places.title == "positions, jointly (12 of 20)"
    assert [bar.epsilon for bar in places.bars[:2]] == [1.9, 1.8]


def test_words_of_an_estimate_hold_every_number_rounded_down() -> None:
    words = estimate_drawing(estimate(attack("probe", 1.3))).alt
    for part in (
        "ε ≥ 1.23 at δ = 10⁻⁵, 95% confidence; the claim of ε ≤ 3.00 is not contradicted",
        "headline, exact 1.23",
        "way-0, exact 1.30; way-1, model-based 1.40",
        "Vertical lines: claimed: 3.00",
        "probe, AUC 0.750",
    ):
        assert part in words


# The pictures of `cropaudit bound`.


def sweeps(*panels: object) -> Figure:
    with style("test"):
        return sweeps_drawing(panels).build()  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("series", "values", "scales"),
    [
        (CROPPED, (100, 200, 400), ("linear", "linear")),
        (WIDE, (100, 200, 400), ("linear", "log")),
        (CROPPED, (1, 10, 100), ("log", "linear")),
    ],
)
def test_axes_are_logarithmic_when_due(
    series: SweepSeries, values: tuple[float, ...], scales: tuple[str, str]
) -> None:
    axes = sweeps(panel(series, values=values)).axes[0]
    assert (axes.get_xscale(), axes.get_yscale()) == scales


def test_panels_share_scale_and_colours() -> None:
    left, right = sweeps(panel(CROPPED), panel(WIDE, CROPPED)).axes
    assert left.get_yscale() == right.get_yscale() == "log"
    assert left.get_ylim() == right.get_ylim()
    by_end = {tuple(np.asarray(line.get_ydata())): line.get_color() for line in right.get_lines()}
    assert left.get_lines()[0].get_color() == by_end[CROPPED.epsilon]
    assert by_end[CROPPED.epsilon] != by_end[WIDE.epsilon]


def test_a_sweep_is_drawn_in_order_with_gaps_for_infinities() -> None:
    figure = sweeps(panel(BROKEN, values=(400, 200, 100)))
    full, thin = figure.axes[0].get_lines()
    np.testing.assert_array_equal(full.get_xdata(), [100, 200, 400])
    np.testing.assert_array_equal(full.get_ydata(), [3.0, np.nan, 1.0])
    np.testing.assert_array_equal(thin.get_ydata(), [5.0, np.nan, np.nan])
    assert thin.get_color() == full.get_color()
    assert thin.get_linewidth() < full.get_linewidth()
    assert "Not drawn: 3 infinite values of ε." in legend_texts(figure)
    words = sweeps_drawing([panel(BROKEN)]).alt
    assert "epsilon 1.00 to 3.00, without crop ∞ to 5.00" in words


def test_zeros_are_left_out_of_a_log_axis_only() -> None:
    zero = SweepSeries("a", (0.0, 1.0, 2.0), (3.0, 3.0, 3.0))
    assert not [text for text in legend_texts(sweeps(panel(zero))) if "Not drawn" in text]
    assert "Not drawn: 1 zero value of ε." in legend_texts(sweeps(panel(zero, WIDE)))


def test_nothing_but_infinities_is_still_a_picture() -> None:
    endless = SweepSeries("a", (math.inf,) * 3, (math.inf,) * 3)
    assert len(sweeps_drawing([panel(endless)]).data(".png")) > 1000


def maps(data: PlaceMap, *options: object) -> list[Axes]:
    with style("test"):
        return map_drawing(data, 1 / 2975, *(options or ((24, 30),))).build().axes[:2]  # type: ignore[arg-type]


def test_worst_place_and_window_are_drawn_where_they_are() -> None:
    data = place_map()
    row, column = data.worst
    assert data.rho[data.worst] == data.rho.max()
    for axes in maps(data):
        outlines = [
            (patch.get_xy(), patch.get_width(), patch.get_height())
            for patch in axes.patches
            if isinstance(patch, Outline) and not patch.get_fill()
        ]
        assert ((column, row), 9, 6) in outlines
        # The worst place is above and left of the middle, so the window is in the other corner.
        assert ((90 - 30, 60 - 24), 30, 24) in outlines
        assert (axes.get_xlim(), axes.get_ylim()) == ((0, 90), (60, 0))


def test_heat_lies_where_centres_can_lie() -> None:
    (heat,) = maps(place_map())[0].images
    # Centres of a 6 by 9 patch: rows 3 to 57, columns 4.5 to 85.5, half a cell beyond each.
    assert tuple(heat.get_extent()) == (4.0, 86.0, 57.5, 2.5)


def test_reduced_heat_keeps_the_largest_value_and_its_place() -> None:
    rho = np.zeros((1001, 2001))
    rho[1000, 2000] = 0.7
    data = PlaceMap(Size(1010, 2010), Size(10, 10), rho, 10 * rho, (1000, 2000))
    axes = maps(data, None)[0]
    cells = np.asarray(axes.images[0].get_array())
    assert max(cells.shape) <= 600
    assert cells[-1, -1] == 0.7
    clip = axes.images[0].get_clip_box()
    assert clip is not None
    corner = axes.transData.inverted().transform((clip.x1, clip.y0))
    np.testing.assert_allclose(corner, [2005.5, 1005.5])


def test_an_example_lies_under_a_translucent_map() -> None:
    picture = np.random.default_rng(0).integers(0, 256, (60, 90, 3), dtype=np.uint8)
    below, heat = maps(place_map(), None, picture)[0].images
    assert tuple(below.get_extent()) == (0, 90, 60, 0)
    assert np.asarray(below.get_array()).min() >= 130
    assert heat.get_alpha() == 0.6
    assert maps(place_map())[0].images[0].get_alpha() == 1.0


@pytest.mark.parametrize("image", [(6, 9), (6, 400), (400, 9), (7, 10)])
def test_a_map_of_any_shape_is_drawn(image: tuple[int, int]) -> None:
    drawing = map_drawing(place_map(image=image, crop=(6, 9)), 1e-5, (6, 9))
    assert f"an image of {image[0]} by {image[1]} pixels" in drawing.alt
    assert len(drawing.data(".png")) > 1000


def test_words_of_a_map_say_its_ends() -> None:
    words = map_drawing(place_map(), 1e-5, None).alt
    assert "7.50 at the worst, row 23, column 29" in words


def curves(*found: Curve) -> Figure:
    with style("test"):
        return curves_drawing(found).build()


def test_what_is_no_bound_says_so() -> None:
    named = [curve(name, 9.0 + at, at == 0) for at, name in enumerate(("a", "b", "c, not a bound"))]
    figure = curves(*named)
    first, *bad = figure.axes[0].get_lines()
    assert first.get_linewidth() > bad[0].get_linewidth()
    assert legend_texts(figure) == ["a", "b (not a bound)", "c, not a bound"]


@pytest.mark.parametrize("valid", [True, False])
def test_dots_mean_no_bound_and_nothing_else_does(valid: bool) -> None:
    svg = curves_drawing([curve(str(at), 5.0 + at, valid) for at in range(6)]).picture().svg
    dashes = re.findall(r"stroke-dasharray: ([\d.]+),", svg)
    assert {float(dash) < 3 for dash in dashes} == {not valid}


def test_profiles_far_apart_have_a_log_axis() -> None:
    near = curves(curve("a", 3.0), curve("b", 30.0)).axes[0]
    far = curves(curve("a", 3.0), curve("b", 300.0)).axes[0]
    assert (near.get_xscale(), far.get_xscale()) == ("linear", "log")
    assert near.get_yscale() == far.get_yscale() == "log"


def test_a_profile_leaves_out_what_has_no_place() -> None:
    epsilon, delta = np.array([0.0, 1.0, 2.0, np.inf]), np.array([0.5, 1e-3, 0.0, 1e-5])
    (line,) = curves(Curve("a", epsilon, delta, True)).axes[0].get_lines()
    np.testing.assert_array_equal(line.get_xdata(), [0.0, 1.0])


def test_profiles_from_zero_or_without_points_are_drawn() -> None:
    zero = Curve("a", np.linspace(0, 300, 99), np.exp(-np.linspace(0, 30, 99)), True)
    empty = Curve("b", np.full(2, np.inf), np.zeros(2), True)
    for some in ((zero, curve("c", 3.0), empty), (empty,)):
        assert len(curves_drawing(some).data(".png")) > 1000
