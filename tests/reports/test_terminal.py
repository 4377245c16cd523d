"""What the terminal shows: complete, honest, and plain where it is no terminal."""

import io
import subprocess
import sys

import pytest
from rich.console import Console

from cropaudit.audit.results.estimate_result import AttackEstimate, Estimate, ParameterLimit
from cropaudit.audit.results.result import AuditReport, Headline
from cropaudit.estimators.registry import Skipped
from cropaudit.reports.summaries import audit as summary
from cropaudit.reports.summaries import estimate as estimate_summary
from cropaudit.reports.summaries.estimate import print_estimate
from cropaudit.reports.text.bounds import bound_note
from tests.reports import estimates
from tests.reports.estimates import bound, place

MECHANISM = "PoissonPatch(noise_multiplier=1.0, sample_rate=0.1, inclusion=0.3, steps=100, crops=1)"
GAME = "of the stated mechanism by the accountant; its game can show 2.862"


def attack(name: str = "probe", **changes: object) -> AttackEstimate:
    values = {
        "auc": 0.6634,
        "bounds": (
            bound("mechanism-f-dp", 2.3899, "model-based", cap=7.12345, detectable=0.2345),
            bound("joint-test", 1.45, "exact"),
        ),
        "p_value": 0.51349,
        "corrected_p_value": 1.0,
        "could_contradict": True,
        "limits": (
            ParameterLimit(
                axis="inclusion probability",
                claimed=0.33,
                limit=0.41129,
                side="at least",
                outside=False,
                contradicts=True,
            ),
        ),
        "skipped": (Skipped(estimator="rank-sum-f-dp", needs="--order forward"),),
        **changes,
    }
    return estimates.attack(name, 1.0, **values)


def estimate(*attacks: AttackEstimate, **changes: object) -> Estimate:
    values = {
        "mechanism": MECHANISM,
        "claim": 2.94846,
        "claim_stated": False,
        "game_epsilon": 2.862,
        "headline": headline(2.3199),
    }
    return estimates.estimate(*(attacks or (attack(),)), **{**values, **changes})


def headline(epsilon: float, **changes: object) -> Headline:
    values = {
        "epsilon_lower": epsilon,
        "delta": 1e-5,
        "confidence": 0.95,
        "attack": "probe",
        "estimator": "mechanism-f-dp",
        "validity": "model-based",
        "correction": "corrected for 2 attacks",
    }
    return Headline.model_validate({**values, **changes})


def printed(found: Estimate | AuditReport, **options: object) -> str:
    stream = io.StringIO()
    console = Console(file=stream, **{"width": 100, **options})  # type: ignore[arg-type]
    if isinstance(found, AuditReport):
        summary.print_summary(found, console)
    else:
        print_estimate(found, console)
    return stream.getvalue()


def said(found: Estimate | AuditReport) -> str:
    return " ".join(printed(found).split())


def result(found: Estimate) -> str:
    return dict(estimate_summary.summary_lines(found))["Result"]


COLOURED = {"force_terminal": True, "color_system": "standard", "no_color": False}


@pytest.mark.parametrize("width", [80, 100])
def test_plain_output_has_no_colour_codes_and_keeps_the_width(
    report: AuditReport, width: int
) -> None:
    for found in (report, estimate()):
        text = printed(found, width=width)
        assert "\x1b" not in text
        assert max(len(line) for line in text.splitlines()) <= width


def test_summary_holds_claim_attacks_headline_verdict_and_utility(report: AuditReport) -> None:
    text = said(report)
    for words in (
        "Claim: epsilon <= 4.21 at delta 0.0003361; 7.46 accounted with crops, 31.4 without",
        "Headline: epsilon >= 6.47 with 95% confidence",
        "Records: 2,175 images + 800 canaries; epsilon <= 11.7 for the 2,175 images without the",
        "Attacked: Pipeline probe: the pipeline (real sampler, crop, clipping and noise) with",
        "Detectable: a true epsilon from 4.92 on, with 90% power, if only the noise is less",
        "Not probed: Leaks in rare runs only.",
        "Verdict: VIOLATION: The pipeline probe",
        "Utility: mIoU 0.431, without noise 0.513, 0.021 of the commonest class everywhere (500",
        "a lower bound never certifies epsilon",
        "10,000 + 10,000",
        "2.03",
    ):
        assert words in text


@pytest.mark.parametrize(
    ("status", "code"), [("violation", "31"), ("consistent", "32"), ("inconclusive", "33")]
)
def test_verdict_is_coloured_on_a_terminal(report: AuditReport, status: str, code: str) -> None:
    verdict = report.verdict.model_copy(update={"status": status})
    text = printed(
        report.model_copy(update={"verdict": verdict}),
        **COLOURED,
    )
    assert f"\x1b[1;{code}m{status.upper()}" in text


def test_brackets_are_no_markup(report: AuditReport) -> None:
    attack = report.attacks[0].model_copy(update={"title": "[red]x[/red]", "bounds": ()})
    text = printed(report.model_copy(update={"attacks": (attack,)}))
    assert "[red]x[/red]" in text
    assert "no bound" in text


def test_nothing_detectable_is_said(report: AuditReport) -> None:
    verdict = report.verdict.model_copy(update={"detectable_epsilon": None})
    lines = dict(summary.summary_lines(report.model_copy(update={"verdict": verdict})))
    assert lines["Detectable"] == "no true epsilon with 90% power"


def test_rich_is_imported_only_to_print() -> None:
    code = "import sys, cropaudit.reports.summaries.audit; sys.exit('rich' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_everything_is_said_and_rounded_to_the_honest_side() -> None:
    text = said(estimate(attack(), attack("other")))
    for words in (
        "probe: 3,000 members + 2,900 nonmembers, AUC 0.663",
        "mechanism-f-dp * 2.38 95% 7.13 0.24 model-based",
        "joint-test 1.45 95% none - exact",
        "* decides: chosen before the scores were seen",
        "the inclusion probability is at least 0.4112; the claim says 0.33: contradicted",
        "p-value of the claim: 0.52 for this attack alone, 1 corrected for 2 attacks (Holm)",
        "Skipped: rank-sum-f-dp: --order forward",
        "Headline: epsilon >= 2.31 at delta 1e-5 with 95% confidence (probe, mechanism-f-dp, "
        "model-based; corrected for 2 attacks)",
        f"Claim: epsilon <= 2.95, {GAME}",
        f"Mechanism: {MECHANISM}",
        "mechanism-f-dp assumes: independent trials",
        "found with 90% power if only the noise is less; not probed: a leak in few runs",
        "Note: a lower bound never certifies epsilon",
    ):
        assert words in text


def test_only_the_classes_that_occur_are_explained() -> None:
    names = [name for name, _ in estimate_summary.summary_lines(estimate())]
    assert names.count("exact") == names.count("model-based") == 1
    assert not {"credible", "asymptotic"} & set(names)


def test_results_in_words() -> None:
    assert result(estimate()).startswith("claim not contradicted; the scores show 2.31 of it")
    weak = result(estimate(headline=headline(0.0)))
    assert (
        "which may be the attack's weakness or too few trials; so many trials could have shown 7.13"
        in weak
    )
    assert "nothing was claimed" in result(estimate(claim=None))
    nothing = result(estimate(claim=None, headline=headline(0.0)))
    assert nothing.endswith("they show nothing; so many trials could have shown 7.13 at most")
    endless = attack(bounds=(bound("mechanism-f-dp", 0.0, "model-based", cap=None),))
    assert result(estimate(endless, claim=None, headline=headline(0.0))).endswith(
        "they show nothing"
    )
    deaf = attack(could_contradict=False, trials_needed=12_000)
    told = result(estimate(deaf, headline=headline(0.0)))
    assert told.endswith("contradict 2.95 by this test even without an error; 12,000 would")
    never = attack(could_contradict=False)
    assert result(estimate(never)).endswith("even without an error; no number up to 131,072 would")
    assert "could not have been" not in result(estimate(deaf, attack()))
    assert "may not hold" in result(estimate(headline=headline(3.0)))


def test_a_contradiction_says_what_it_assumes() -> None:
    found = estimate(contradicted=True, ground="assumption-free", headline=headline(4.0))
    assert result(found).startswith("CLAIM CONTRADICTED: were it true, scores that tell so much")
    assert result(found).endswith("at most 0.05 of the time; this assumes nothing about what ran")
    game = found.model_copy(update={"ground": "given the game"})
    assert result(game).endswith("pair of worlds was played, in one order throughout")
    stated = game.model_copy(update={"claim_stated": True})
    assert result(stated).endswith("that the stated mechanism ran, at whatever noise")
    quiet = found.model_copy(update={"headline": headline(1.0)})
    assert "the claim's whole curve" in result(quiet)


def test_the_result_is_coloured_on_a_terminal() -> None:
    for contradicted, code in ((True, "31"), (False, "32")):
        text = printed(
            estimate(contradicted=contradicted),
            **COLOURED,
        )
        assert f"\x1b[1;{code}m" in text


def test_positions_are_shown_loudest_first_and_not_without_end() -> None:
    places = tuple(
        place(f"[{at};0]", at / 10, at / 20, 0.031 if at == 24 else 1.0) for at in range(25)
    )
    text = said(estimate(attack(positions=places)))
    assert text.index("[24;0] 40 + 41 2.40 1.20 0.031") < text.index("[23;0] 40 + 41 2.30 1.15 1")
    assert "[4;0]" not in text
    assert "5 quieter positions in --json" in text
    worst = headline(2.3199, position="[24;0]")
    assert "(probe, position [24;0], mechanism-f-dp" in said(estimate(headline=worst))


def test_brackets_are_no_markup_and_one_attack_needs_no_name() -> None:
    assert "[red]x[/red]: 3,000 members" in said(estimate(attack("[red]x[/red]")))
    assert "Scores: 3,000 members" in said(estimate(attack("")))


def test_a_reversed_attack_is_pointed_out() -> None:
    dull = (bound("joint-test", 0.0, "exact"),)
    assert "members score lower here" in said(estimate(attack(auc=0.1, bounds=dull)))
    assert "members score lower here" not in said(estimate(attack(auc=0.49, bounds=dull)))


@pytest.mark.parametrize(
    ("facts", "words"),
    [
        ({"cut": {"kind": "ranks", "rates": (0.3,), "side": "both"}}, "rank at rate 0.3, both"),
        (
            {"cut": {"kind": "ranks", "rates": (0.3, 0.1, 0.01), "two_sided": True}},
            "ranks at rates 0.3 .. 0.01, high, either sign",
        ),
        (
            {"cut": {"kind": "given", "threshold": 0.5, "two_sided": True}, "few_values": 2},
            "scores of 2 values: a threshold given beforehand may tell more; threshold 0.5, both "
            "sides",
        ),
        ({"cut": {"kind": "split", "share": 0.5}}, "threshold learned on 50%"),
        ({"cut": {"kind": "roc", "ranks": 31}}, "31 ranks, weighted"),
        (
            {"cut": {"kind": "pairs", "pairs": 7, "seed": 3}},
            "7 pairs, in an order drawn from seed 3",
        ),
        (
            {"cut": {"kind": "guesses", "right": 9, "guesses": 12, "rates": (0.125,)}},
            "9 of 12 right; guessed at both ends, 12.5%",
        ),
        ({"axis": "noise multiplier", "limit": 1.121}, "noise multiplier at most 1.121"),
        ({"axis": "inclusion probability", "limit": 0.4}, "inclusion probability at least 0.4"),
        ({"axis": "noise multiplier"}, "no member is rejected"),
        ({"outside": True}, "no member of the family explains it; the bound is that of no family"),
        ({"few_values": 1}, "all scores are alike"),
        ({}, ""),
    ],
)
def test_how_a_bound_came_about_is_told_from_its_fields(facts: dict, words: str) -> None:
    assert bound_note(bound("any", 1.0, "exact", **facts)) == words
