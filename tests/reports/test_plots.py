"""The pictures' data is right, and what is drawn is sound, plain SVG."""

from xml.etree import ElementTree

import numpy as np
import pytest

from cropaudit.audit.result import AuditReport, Curve
from cropaudit.errors import InputError
from cropaudit.reports.plot_data import FLOOR, bar_chart, inclusion_map, profile, roc
from cropaudit.reports.plots import plot_bars, plot_inclusion, plot_report, plot_roc
from cropaudit.reports.svg import INK, Picture

SVG = "{http://www.w3.org/2000/svg}"


def changed_claim(report: AuditReport, **changes: object) -> AuditReport:
    return report.model_copy(update={"claim": report.claim.model_copy(update=changes)})


def changed_attack(report: AuditReport, **changes: object) -> AuditReport:
    return report.model_copy(
        update={"attacks": (report.attacks[0].model_copy(update=changes), *report.attacks[1:])}
    )


@pytest.fixture(scope="module")
def pictures_of(report: AuditReport, inclusion: np.ndarray) -> list[Picture]:
    plots = plot_report(report, inclusion)
    assert plots.profile is not None
    return [plots.inclusion, plots.roc, plots.bars, plots.profile]


def test_each_picture_is_xml_with_a_title_and_a_description(pictures_of: list[Picture]) -> None:
    for picture in pictures_of:
        root = ElementTree.fromstring(picture.svg)
        title, description = root.find(f"{SVG}title"), root.find(f"{SVG}desc")
        assert title is not None
        assert title.text == picture.title
        assert description is not None
        assert description.text == picture.alt
        assert len(picture.alt) > 60
        assert root.attrib["aria-labelledby"] == f"{title.attrib['id']} {description.attrib['id']}"


def test_ids_are_unique_over_the_page_and_every_reference_resolves(
    pictures_of: list[Picture],
) -> None:
    ids: list[str] = []
    references: set[str] = set()
    for picture in pictures_of:
        for element in ElementTree.fromstring(picture.svg).iter():
            ids += [element.attrib["id"]] if "id" in element.attrib else []
            for value in element.attrib.values():
                if value.startswith("#"):
                    references.add(value[1:])
                elif value.startswith("url(#"):
                    references.add(value[5:-1])
    assert len(ids) == len(set(ids))
    assert references
    assert references <= set(ids)


def test_ink_follows_the_page_and_no_background_is_painted(pictures_of: list[Picture]) -> None:
    for picture in pictures_of:
        assert "currentColor" in picture.svg
        assert INK not in picture.svg
        assert "#ffffff; stroke: none" not in picture.svg
        assert "DejaVu" not in picture.svg


def test_same_data_same_bytes(report: AuditReport, inclusion: np.ndarray) -> None:
    assert plot_report(report, inclusion) == plot_report(report, inclusion)


def test_users_matplotlib_settings_do_not_reach_the_report(report: AuditReport) -> None:
    import matplotlib

    plain = plot_bars(bar_chart(report))
    with matplotlib.rc_context({"lines.linewidth": 9.0, "axes.grid": True, "font.size": 30.0}):
        assert plot_bars(bar_chart(report)) == plain


def test_map_blocks_keep_the_largest_value() -> None:
    rho = np.zeros((600, 1000))
    rho[599, 998] = 0.7
    data = inclusion_map(rho, (599, 998))
    assert max(data.blocks.shape) <= 256
    assert data.blocks[-1, -1] == 0.7
    assert data.share_at_largest == pytest.approx(1 / 600_000)


@pytest.mark.parametrize("shape", [(1, 1), (1, 900), (900, 2)])
def test_map_of_any_shape_is_drawn(shape: tuple[int, int]) -> None:
    picture = plot_inclusion(inclusion_map(np.ones(shape), (0, 0)))
    assert f"{shape[0]} by {shape[1]} positions" in picture.alt
    assert ElementTree.fromstring(picture.svg).find(f".//{SVG}image") is not None


@pytest.mark.parametrize("bad", [np.zeros(3), np.zeros((0, 3)), np.full((2, 2), 1.5)])
def test_what_is_no_map_is_refused(bad: np.ndarray) -> None:
    with pytest.raises(InputError, match="inclusion must be"):
        inclusion_map(bad, (0, 0))


def test_worst_position_must_be_on_the_map() -> None:
    with pytest.raises(InputError, match="worst position must be on the map"):
        inclusion_map(np.zeros((4, 5)), (4, 0))


def test_roc_of_a_bare_claim_is_limited_by_epsilon_and_delta(report: AuditReport) -> None:
    data = roc(changed_claim(report, tradeoff=None, epsilon=1.0, delta=0.01))
    at = np.interp([0.001, 0.9], data.limit_fpr, data.limit_tpr)
    assert at[0] == pytest.approx(0.01 + np.e * 0.001, rel=1e-3)
    assert at[1] == pytest.approx(1 - (1 - 0.01 - 0.9) / np.e, rel=1e-3)
    assert "(ε, δ)" in data.limit_title


def test_roc_of_a_mechanism_follows_its_tradeoff(report: AuditReport) -> None:
    data, curve = roc(report), report.claim.tradeoff
    assert curve is not None
    np.testing.assert_allclose(data.limit_tpr, np.interp(data.limit_fpr, curve.fpr, curve.tpr))


def test_a_curve_begins_at_one_false_positive(report: AuditReport) -> None:
    """What lies below is no measurement: drawn, it would cross into the excluded region."""
    for line, attack in zip(roc(report).lines, report.attacks, strict=True):
        assert line.fpr.min() >= (1 - 1e-6) / attack.nonmembers
        assert (np.diff(line.fpr) >= 0).all()
        assert line.fpr[-1] == line.tpr[-1] == 1
        kept = np.asarray(attack.roc.fpr) >= (1 - 1e-6) / attack.nonmembers
        np.testing.assert_array_equal(line.tpr, np.asarray(attack.roc.tpr)[kept])


def test_few_trials_are_drawn_with_their_interval(report: AuditReport) -> None:
    """43 scores of either world that tell nothing lie above the limit; their band does not."""
    steps = np.arange(44) / 43
    curve = {"fpr": tuple(steps), "tpr": tuple(np.minimum(1.0, steps + 5 / 43))}
    few = report.attacks[0].model_copy(
        update={
            "members": 43,
            "nonmembers": 43,
            "roc": Curve.model_validate(curve),
            "threshold": None,
        }
    )
    many, small = report.attacks[0], few
    lines = roc(report.model_copy(update={"attacks": (many, small)})).lines
    assert lines[0].band is None
    assert lines[1].band is not None
    low, high = lines[1].band
    assert (low <= lines[1].tpr).all()
    assert (lines[1].tpr <= high).all()
    limits = roc(report)
    allowed = np.interp(lines[1].fpr, limits.limit_fpr, limits.limit_tpr)
    assert (low <= allowed).all()
    plot_roc(roc(report.model_copy(update={"attacks": (small,)})))


def test_no_accounting_leaves_the_claim_alone(report: AuditReport) -> None:
    bare = changed_claim(
        report, epsilon_amplified=None, epsilon_without_crop=None, epsilon_without_canaries=None
    )
    assert [line.title for line in bar_chart(bare).references] == ["claimed"]


def test_roc_point_stands_where_the_counts_say(report: AuditReport) -> None:
    first, second, third = roc(report).lines
    assert first.point is not None
    assert (first.point.fpr, first.point.tpr) == (3 / 10_000, 861 / 10_000)
    assert first.point.fpr_interval[0] < 3 / 10_000 < first.point.fpr_interval[1]
    assert second.point is None
    assert third.point is not None
    assert third.point.fpr == 0.0
    assert min(line.fpr.min() for line in (first, second, third)) == FLOOR


def test_titles_are_no_markup(report: AuditReport) -> None:
    odd = changed_attack(report, title="_$x^2$ <b>&")
    for picture in (plot_roc(roc(odd)), plot_bars(bar_chart(odd))):
        texts = "".join(ElementTree.fromstring(picture.svg).itertext())
        assert "$x^2$ <b>&" in texts


def test_bars_start_with_the_headline_and_hold_every_bound(report: AuditReport) -> None:
    data = bar_chart(report)
    assert [bar.epsilon for bar in data.bars] == [6.4789, 4.1278, 6.4789, 2.0349, 2.309, 0.0]
    assert data.bars[0].headline
    assert [line.epsilon for line in data.references] == [4.2001, 7.4501, 31.3201]
    assert not data.log


def test_bars_print_lower_bounds_down_and_references_up(report: AuditReport) -> None:
    texts = "".join(ElementTree.fromstring(plot_bars(bar_chart(report)).svg).itertext())
    for text in ("≥ 6.47", "≥ 4.12", "claimed: 4.21", "crops: 7.46", "crops: 31.4"):
        assert text in texts


def test_references_that_coincide_share_a_label(report: AuditReport) -> None:
    data = bar_chart(changed_claim(report, epsilon=7.4501))
    titles = [line.title for line in data.references]
    assert titles == ["claimed = accounted with crops", "accounted without crops"]


def test_wide_range_takes_a_log_axis(report: AuditReport) -> None:
    data = bar_chart(changed_claim(report, epsilon_without_crop=900.0))
    assert data.log
    assert "(log axis)" in plot_bars(data).svg


def test_labels_of_references_do_not_collide(report: AuditReport) -> None:
    close = changed_claim(report, epsilon=7.2, epsilon_amplified=7.3, epsilon_without_crop=7.4)
    root = ElementTree.fromstring(plot_bars(bar_chart(close)).svg)
    heights = [
        float(text.attrib["transform"].rsplit(" ", 1)[-1].rstrip(")"))
        for text in root.iter(f"{SVG}text")
        if "crops: " in (text.text or "") or "claimed: " in (text.text or "")
    ]
    assert len(heights) == 3
    assert min(np.abs(np.diff(sorted(heights)))) > 12


def test_profile_needs_two_points_above_zero(report: AuditReport) -> None:
    assert profile(report.claim) is not None
    assert profile(report.claim.model_copy(update={"profile": ()})) is None
    assert profile(report.claim.model_copy(update={"profile": ((0.0, 0.1), (9.0, 0.0))})) is None
