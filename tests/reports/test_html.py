"""The HTML report: whole, honest, escaped, self-contained and equal for equal inputs."""

import re
from collections.abc import Callable
from html.parser import HTMLParser
from itertools import pairwise
from typing import get_args

import numpy as np
import pytest

from cropaudit.accounting.names import SamplerName
from cropaudit.audit.result import AuditReport, Check, Claim, Validity, Verdict
from cropaudit.errors import InputError
from cropaudit.reports.html import render_html
from cropaudit.reports.store import canonical_json, sha256

VOID = {"meta", "br", "img", "link", "hr", "input"}
EVIL = '<script>alert("x")</script>'
Render = Callable[..., str]


class Outline(HTMLParser):
    """Checks the balance of tags while collecting what the tests ask for."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open, f"</{tag}> closes nothing"
        assert self.open.pop() == tag
        if tag in {"td", "th", "dt", "dd", "p", "li", "span"}:
            self.words.append(" ")

    def handle_data(self, data: str) -> None:
        if "style" not in self.open:
            self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join("".join(self.words).split())

    def attributes(self, tag: str) -> list[dict[str, str | None]]:
        return [attrs for name, attrs in self.tags if name == tag]


@pytest.fixture(scope="module")
def render(inclusion: np.ndarray, pictures: dict[str, bytes]) -> Render:
    def call(report: AuditReport, **changes: object) -> str:
        arguments = {"inclusion": inclusion, "pictures": pictures, **changes}
        return render_html(report, **arguments)

    return call


@pytest.fixture(scope="module")
def html(report: AuditReport, render: Render) -> str:
    return render(report)


@pytest.fixture(scope="module")
def outline(html: str) -> Outline:
    return Outline(html)


def section(report: AuditReport, part: str, **changes: object) -> AuditReport:
    return report.model_copy(update={part: getattr(report, part).model_copy(update=changes)})


def test_tags_are_balanced_and_ids_unique(outline: Outline) -> None:
    assert outline.open == []
    ids = [attrs["id"] for _, attrs in outline.tags if "id" in attrs]
    assert len(ids) == len(set(ids))
    anchors = {attrs["href"] for attrs in outline.attributes("a")}
    assert anchors <= {f"#{name}" for name in ids}


def test_sections_come_verdict_first(html: str) -> None:
    headings = re.findall(r"<h2[^>]*>([^<]*)</h2>", html)
    assert headings == [
        "Violation",
        "Identity",
        "The claim",
        "Unit of privacy",
        "Accounting",
        "Empirical results",
        "Controls",
        "Conformance",
        "Utility",
        "Reproduction",
    ]


def test_headings_skip_no_level(outline: Outline) -> None:
    levels = [int(tag[1]) for tag, _ in outline.tags if re.fullmatch(r"h[1-6]", tag)]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after <= before + 1 for before, after in pairwise(levels))


def test_banner_is_rounded_on_the_honest_side(outline: Outline) -> None:
    for text in ("ε ≥ 6.47 ", "ε ≤ 4.21 ", "4.92 a true ε", "95% confidence", "90% power"):
        assert text in outline.text
    assert "6.48" not in outline.text
    assert "assumption-free" in outline.text


@pytest.mark.parametrize(
    ("status", "sentence"),
    [
        ("violation", "The measured leakage exceeds the claim."),
        ("consistent", "Nothing that was measured contradicts the claim."),
        ("inconclusive", "This audit can neither refute nor support the claim."),
    ],
)
def test_every_verdict_says_that_nothing_is_certified(
    report: AuditReport, render: Render, status: str, sentence: str
) -> None:
    html = render(section(report, "verdict", status=status, ground="none"))
    assert f'class="verdict {status}"' in html
    assert sentence in Outline(html).text
    assert "A lower bound never certifies ε." in Outline(html).text


def test_nothing_detectable_is_said_in_words(report: AuditReport, render: Render) -> None:
    text = Outline(render(section(report, "verdict", detectable_epsilon=None))).text
    assert "no true ε would have been found with 90% power" in text


def test_numbers_of_attacks_stand_with_interval_and_n(outline: Outline) -> None:
    for text in (
        "861 of 10,000 true positives (8.61%, 95% interval 8.0 to 9.2%)",
        "3 of 10,000 false positives (0.03%, 0.0061 to 0.088%)",
        "0 of 200 false positives (0%, 0 to 1.9%)",
        "none: the estimators work on ranks",
        "too few games to see this rate",
        "95% interval 0.73 to 0.87",
        "≥ 4.12",
        "≥ 2.03",
        "7.90",
    ):
        assert text in outline.text


def test_accounting_is_rounded_up_and_short_cuts_are_refused(outline: Outline) -> None:
    for text in ("7.46", "31.4", "7.27", "Replacing a patch moves", "obtained by a short cut"):
        assert text in outline.text


def test_utility_stands_beside_the_model_without_noise(outline: Outline) -> None:
    assert "Mean over classes 0.431 0.513 −0.082" in outline.text
    assert "train absent absent –" in outline.text
    assert "n = 500 images" in outline.text


def test_reproduction_holds_command_config_and_hashes(
    outline: Outline, report: AuditReport
) -> None:
    run = report.provenance
    for text in (run.command, "noise_multiplier: 1.0", str(run.seed), *run.files.values()):
        assert text in outline.text
    assert sha256(canonical_json(report)) in outline.text


def test_nothing_is_loaded_from_anywhere(html: str, outline: Outline) -> None:
    for tag, attrs in outline.tags:
        assert tag not in {"script", "link", "iframe", "object", "embed", "base", "form"}
        for key in ("src", "href", "srcset", "xlink:href", "data", "action", "poster"):
            value = attrs.get(key)
            assert value is None or value.startswith(("#", "data:image/png;base64,"))
        assert not any(key.startswith("on") for key in attrs)
    assert "@import" not in html
    assert re.findall(r"url\((?!#)", html) == []
    addresses = set(re.findall(r"(?i)(?:https?:)?//[a-z][^\s\"'<)]*", strip_data(html)))
    assert addresses <= {"http://www.w3.org/2000/svg"}
    assert "default-src 'none'" in html


def strip_data(html: str) -> str:
    return re.sub(r"base64,[A-Za-z0-9+/=]*", "", html)


def test_pictures_are_embedded_with_alternative_texts(
    outline: Outline, pictures: dict[str, bytes]
) -> None:
    images = outline.attributes("img")
    assert len(images) == len(pictures) == 6
    assert all(len(attrs["alt"] or "") > 20 for attrs in images)
    graphics = outline.attributes("svg")
    assert len(graphics) == 4
    assert all(attrs["role"] == "img" and attrs["aria-labelledby"] for attrs in graphics)


def test_patch_is_outlined_where_it_is(html: str) -> None:
    boxes = re.findall(r"left:([\d.]+)%;top:([\d.]+)%;width:([\d.]+)%;height:([\d.]+)%", html)
    expected = (100 * 120 / 256, 100 * 59 / 128, 100 * 10 / 256, 100 * 10 / 128)
    assert len(boxes) == 4
    for box in boxes:
        assert [float(share) for share in box] == pytest.approx(expected, abs=1e-3)


def test_tables_have_captions_and_scopes(outline: Outline) -> None:
    assert len(outline.attributes("table")) == len(outline.attributes("caption"))
    assert all(attrs.get("scope") in {"row", "col"} for attrs in outline.attributes("th"))


def evil(value: object) -> object:
    """Returns a document in which every free text and every key is hostile."""
    if isinstance(value, dict):
        return {key: evil(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [evil(part) for part in value]
    return f"{value}{EVIL}&\"'{{{{ 7*7 }}}}" if isinstance(value, str) else value


def test_every_text_is_escaped(report: AuditReport, render: Render) -> None:
    html = render(AuditReport.model_validate(evil_report(report)))
    assert "<script" not in html
    assert Outline(html).open == []
    assert html.count("{{ 7*7 }}") > 40
    # Class, image, file, attack, check and configuration, each at least once.
    assert html.count("&lt;script&gt;") > 40


def evil_report(report: AuditReport) -> dict[str, object]:
    """Returns the report with all texts hostile but those that are choices."""
    plain = report.model_dump()
    bad = evil(plain)
    assert isinstance(bad, dict)
    bad["schema_version"] = "2"
    bad["claim"] |= {key: plain["claim"][key] for key in ("kind", "sampler")}
    bad["headline"]["validity"] = plain["headline"]["validity"]
    bad["verdict"]["status"] = plain["verdict"]["status"]
    for attack, good in zip(bad["attacks"], plain["attacks"], strict=True):
        for bound, sound in zip(attack["bounds"], good["bounds"], strict=True):
            bound["validity"] = sound["validity"]
    for spoilt, whole in ((bad, plain), (bad["conformance"], plain["conformance"])):
        kind = "controls" if spoilt is bad else "checks"
        for check, sound in zip(spoilt[kind], whole[kind], strict=True):
            check["status"] = sound["status"]
    for canary, sound in zip(bad["canaries"], plain["canaries"], strict=True):
        canary["world"] = sound["world"]
    for key in ("per_class", "per_class_without_noise"):
        bad["utility"][key] = {name + EVIL: v for name, v in plain["utility"][key].items()}
    for key in ("config", "versions", "files"):
        bad["provenance"][key] = {name + EVIL: v for name, v in bad["provenance"][key].items()}
    return bad


def test_two_renders_are_equal_and_so_is_one_read_back(
    report: AuditReport, render: Render, html: str
) -> None:
    assert render(report) == html
    assert render(AuditReport.model_validate_json(canonical_json(report))) == html


def test_bare_claim_without_curves_renders(report: AuditReport, render: Render) -> None:
    html = render(section(report, "claim", kind="bare", tradeoff=None, profile=()))
    text = Outline(html).text
    assert "stated as (ε, δ), without a mechanism" in text
    assert "Privacy profile" not in text
    assert "limit of the claimed" in text


def test_changed_noise_is_flagged(report: AuditReport, render: Render, html: str) -> None:
    words = "The audited training ran with noise multiplier 0.5, but the claim is made for 1."
    assert words not in html
    assert words in render(section(report, "claim", configured_noise_multiplier=0.5))


def test_report_without_canaries_attacks_or_checks_renders(
    report: AuditReport, render: Render
) -> None:
    bare = {"canaries": (), "attacks": (), "controls": (), "not_covered": ()}
    outline = Outline(render(report.model_copy(update=bare)))
    assert outline.open == []
    assert outline.attributes("img") == []
    for words in ("No pictures of canaries", "No attack was run", "None were run", "no exclusions"):
        assert words in outline.text


def test_attack_without_threshold_rates_or_bounds_renders(
    report: AuditReport, render: Render
) -> None:
    attack = report.attacks[1].model_copy(update={"bounds": (), "tpr_at_fpr": {}})
    text = Outline(render(report.model_copy(update={"attacks": (attack,)}))).text
    assert "No bound was computed from this attack." in text
    assert "true positives (" not in text


def test_missing_picture_is_shown_as_missing(report: AuditReport, render: Render) -> None:
    outline = Outline(render(report, pictures={}))
    assert outline.text.count("picture not stored") == 6
    assert outline.attributes("img") == []


def test_picture_that_is_no_png_is_refused(report: AuditReport, render: Render) -> None:
    name = report.canaries[0].world_a
    with pytest.raises(InputError, match="must be a PNG"):
        render(report, pictures={name: b"<svg onload='alert(1)'/>" * 4})


def test_crops_may_be_absent(report: AuditReport, render: Render) -> None:
    canary = report.canaries[0].model_copy(update={"crop_hit": None, "crop_miss": None})
    outline = Outline(render(report.model_copy(update={"canaries": (canary,)})))
    assert len(outline.attributes("img")) == 4
    assert "picture not stored" not in outline.text


def contrast(first: str, second: str) -> float:
    """Returns the contrast ratio of WCAG 2.1 of two colours."""

    def luminance(colour: str) -> float:
        parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    light, dark = sorted((luminance(first), luminance(second)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def test_texts_and_strokes_have_contrast_in_both_modes(html: str) -> None:
    blocks = re.findall(r":root \{([^}]*)\}", html)
    assert len(blocks) == 2
    for block in blocks:
        colours = dict(re.findall(r"--([a-z-]+): (#[0-9a-f]{6})", block))
        for ink in ("ink", "soft", "accent", "bad", "good", "open"):
            assert contrast(colours[ink], colours["paper"]) >= 4.5
            assert contrast(colours[ink], colours["tint"]) >= 4.5
        for state in ("bad", "good", "open"):
            for ink in (state, "ink", "soft"):
                assert contrast(colours[ink], colours[f"{state}-tint"]) >= 4.5
        strokes = set(re.findall(r"stroke: (#[0-9a-f]{6}); stroke-width: 1.[3-9]", html))
        # White on near-black is the ring around the worst position, seen over the map only.
        strokes -= {"#ffffff", "#101418"}
        assert len(strokes) >= 3
        assert min(contrast(stroke, colours["paper"]) for stroke in strokes) >= 3


CHOICES = [
    *(("claim", "kind", value) for value in get_args(Claim.model_fields["kind"].annotation)),
    *(("claim", "sampler", value) for value in get_args(SamplerName)),
    *(
        ("verdict", "status", value)
        for value in get_args(Verdict.model_fields["status"].annotation)
    ),
    *(("verdict", "ground", value) for value in ("assumption-free", "given the family", "none")),
    *(("headline", "validity", value) for value in get_args(Validity)),
    *(("controls", "status", value) for value in get_args(Check.model_fields["status"].annotation)),
]


@pytest.mark.parametrize(("part", "field", "value"), CHOICES)
def test_every_choice_of_the_document_is_rendered(
    report: AuditReport, render: Render, part: str, field: str, value: str
) -> None:
    """A word that the page does not know would lose the page once everything was played."""
    plain = report.model_dump()
    for row in plain[part] if isinstance(plain[part], list | tuple) else [plain[part]]:
        row[field] = value
    html = render(AuditReport.model_validate(plain))
    assert Outline(html).open == []
    assert "Ground of the verdict:</strong> none" not in html


def test_the_verdict_says_what_was_attacked_and_what_the_claim_is_worth(
    report: AuditReport, render: Render
) -> None:
    utility = report.utility.model_copy(update={"miou": 0.02})
    box = render(report.model_copy(update={"utility": utility})).split("</section>")[0]
    for words in (
        "What was attacked:",
        "Black box, final model</strong>: the real model: ε ≥ 0, could have shown 3.99 at",
        "What the claim is worth:",
        "this model learned nothing: mIoU 0.020 is no better than 0.021",
        "Not probed",
        "Crops that react to &lt;content&gt;.",
        "if only the noise is less",
        "for 2,175 images + 800 canaries",
        "ε ≤ 11.7 for the 2,175 images without the canaries",
    ):
        assert words in box, words
