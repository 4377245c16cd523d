"""The picture of an estimate shows every bound where it is, and says so in words."""

import re
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from PIL import Image

from cropaudit.audit.estimate_result import AttackEstimate, Estimate, PositionEstimate, Summit
from cropaudit.audit.result import Bound, Curve
from cropaudit.errors import InputError
from cropaudit.reports.estimate_plots import (
    COLOURS,
    draw_estimate,
    estimate_figure,
    estimate_plot,
    estimate_words,
)
from cropaudit.reports.svg import style

GRID = tuple(np.concatenate([[0.0], np.geomspace(1e-6, 1, 50)]).tolist())
CLASSES = ("exact", "model-based", "credible", "asymptotic")


def attack(name: str, loudness: float, places: int = 0) -> AttackEstimate:
    return AttackEstimate(
        attack=name,
        members=1000,
        nonmembers=1000,
        auc=0.75,
        roc=Curve(fpr=GRID, tpr=tuple(x**0.5 for x in GRID)),
        bounds=tuple(
            Bound(
                estimator=f"way-{at}",
                epsilon=loudness + at / 10,
                delta=1e-5,
                confidence=0.95,
                validity=validity,
                assumes="nothing",
                cap=4.0 if at else 99.0,
            )
            for at, validity in enumerate(CLASSES)
        ),
        p_value=None,
        corrected_p_value=None,
        could_contradict=None,
        trials_needed=None,
        free_p_value=None,
        inversions=(),
        positions=tuple(
            PositionEstimate(
                position=f"place {at}",
                members=10,
                nonmembers=10,
                epsilon=at,
                simultaneous=at / 10,
                p_value=None,
            )
            for at in range(places)
        ),
        skipped=(),
    )


def estimate(*attacks: AttackEstimate, claim: float | None = 3.0) -> Estimate:
    return Estimate(
        delta=1e-5,
        confidence=0.95,
        trials="independent",
        seed=1,
        power_holds="if only the noise is less",
        not_probed=(),
        mechanism=None,
        claim=claim,
        claim_words="as stated",
        claimed_roc=None if claim is None else Curve(fpr=GRID, tpr=tuple(x**0.4 for x in GRID)),
        attacks=attacks,
        summit=Summit(
            epsilon=1.2345,
            attack=attacks[0].attack,
            estimator="way-0",
            validity="exact",
            correction="one attack",
            position=None,
        ),
        contradicted=False,
        ground="none",
    )


def figure(found: Estimate) -> Figure:
    with style("test"):
        return estimate_figure(estimate_plot(found))


def bars(drawn: Figure) -> list[Rectangle]:
    axes = drawn.axes[1]
    return [item for item in axes.patches if isinstance(item, Rectangle)]


def test_bars_have_the_length_and_the_colour_of_their_bounds() -> None:
    drawn = bars(figure(estimate(attack("", 1.3))))
    assert [bar.get_width() for bar in drawn] == pytest.approx([1.2345, 1.3, 1.4, 1.5, 1.6])
    wanted = ["exact", *CLASSES]
    for bar, validity in zip(drawn, wanted, strict=True):
        assert (
            "#{:02x}{:02x}{:02x}".format(*(round(255 * part) for part in bar.get_facecolor()[:3]))
            == (COLOURS[validity])
        )
    assert len({COLOURS[name] for name in CLASSES}) == 4


def test_claim_and_caps_are_on_the_axis_where_they_belong() -> None:
    axes = figure(estimate(attack("", 1.3))).axes[1]
    lines = [line.get_xdata()[0] for line in axes.lines]
    assert 3.0 in lines
    assert lines.count(4.0) == 3
    assert 99.0 not in lines, "it would squeeze all bars"
    assert axes.get_xlim()[1] > 4.0


def test_legend_names_every_class_the_claim_and_the_caps() -> None:
    texts = [
        text.get_text()
        for legend in figure(estimate(attack("probe", 1.3))).legends
        for text in legend.get_texts()
    ]
    assert [name for name in CLASSES if any(text.startswith(name) for text in texts)] == list(
        CLASSES
    )
    assert {"probe, AUC 0.750", "limit of the claim", "excluded by the claim"} <= set(texts)
    assert "largest bound that so many trials can give" in texts


def test_without_a_claim_nothing_is_excluded() -> None:
    found = estimate(attack("probe", 1.3), claim=None)
    drawn = figure(found)
    texts = [text.get_text() for legend in drawn.legends for text in legend.get_texts()]
    assert not [text for text in texts if "claim" in text]
    assert not drawn.axes[0].collections
    assert "nothing was claimed" in estimate_plot(found).title
    assert "excluded" not in estimate_words(estimate_plot(found))


def test_the_region_above_the_claimed_curve_is_excluded() -> None:
    roc = estimate_plot(estimate(attack("", 1.3))).roc
    assert roc.limit_tpr == pytest.approx(roc.limit_fpr**0.4, rel=0.02)
    assert len(figure(estimate(attack("", 1.3))).axes[0].collections) == 1


def test_three_attacks_have_all_their_bars_more_only_the_deciding_one() -> None:
    three = estimate_plot(estimate(*(attack(f"a{at}", at) for at in range(3))))
    assert [(group.title, len(group.bars)) for group in three.groups] == [
        ("", 1),
        ("a0", 4),
        ("a1", 4),
        ("a2", 4),
    ]
    many = estimate_plot(estimate(*(attack(f"a{at}", at) for at in range(14))))
    assert [group.title for group in many.groups] == ["", "way-0 by attack (12 of 14)"]
    assert [bar.title for bar in many.groups[1].bars][:2] == ["a13", "a12"]
    assert len(many.roc.lines) == 6
    assert many.left_out == "8 quieter attacks have no curve here"
    assert "8 quieter attacks" in estimate_words(many)


def test_positions_have_bars_of_their_own_loudest_first() -> None:
    (_, _, places) = estimate_plot(estimate(attack("", 1.3, places=20))).groups
    assert places.title == "positions, jointly (12 of 20)"
    assert [bar.epsilon for bar in places.bars[:2]] == [1.9, 1.8]


def test_words_hold_every_number_rounded_down() -> None:
    words = estimate_words(estimate_plot(estimate(attack("probe", 1.3))))
    for part in (
        "ε ≥ 1.23 at δ = 10⁻⁵, 95% confidence; the claim of ε ≤ 3.00 is not contradicted",
        "headline, exact 1.23",
        "way-0, exact 1.30; way-1, model-based 1.40",
        "vertical line stands at the claimed epsilon of 3.00",
        "probe, AUC 0.750",
    ):
        assert part in words


def test_files_are_whole_and_the_same_each_time(tmp_path: Path) -> None:
    found = estimate(attack("one", 1.3, places=3), attack("_two $x$", 0.4))
    for suffix in (".svg", ".png", ".pdf"):
        path = tmp_path / f"plot{suffix}"
        draw_estimate(found, path)
        first = path.read_bytes()
        draw_estimate(found, path)
        assert path.read_bytes() == first
    svg = ElementTree.fromstring((tmp_path / "plot.svg").read_text())
    assert svg.attrib["role"] == "img"
    texts = "".join(svg.itertext())
    assert "two $x$, AUC 0.750" in texts
    ids = re.findall(r' id="([^"]+)"', (tmp_path / "plot.svg").read_text())
    assert len(ids) == len(set(ids))
    with Image.open(tmp_path / "plot.png") as picture:
        assert "bars of lower bounds" in picture.info["Description"]


def test_nothing_is_drawn_off_the_picture() -> None:
    """Every label of the bars is within the figure, however long its name."""
    long = "a name that goes on " * 8
    drawn = figure(estimate(attack(long, 1.3, places=3), attack("b", 0.2)))
    drawn.draw_without_rendering()
    box = drawn.bbox
    for text in [*drawn.axes[1].get_yticklabels(), *drawn.axes[1].texts]:
        extent = text.get_window_extent()
        assert box.x0 <= extent.x0
        assert extent.x1 <= box.x1
    for legend in drawn.legends:
        extent = legend.get_window_extent()
        assert box.y0 <= extent.y0
        assert extent.x1 <= box.x1


def test_another_ending_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"must be a file that ends in \.svg, \.png or \.pdf"):
        draw_estimate(estimate(attack("", 1.0)), tmp_path / "plot.gif")
