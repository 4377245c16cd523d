"""The terminal's account of an estimate: complete, honest, and plain where it is no terminal."""

import io

import pytest
from rich.console import Console

from cropaudit.audit.estimate_result import (
    AttackEstimate,
    Estimate,
    Inversion,
    PositionEstimate,
    Summit,
)
from cropaudit.audit.result import Bound, Curve
from cropaudit.reports.estimate_summary import print_estimate, short_note, summary_lines

MECHANISM = "PoissonPatch(noise_multiplier=1.0, sample_rate=0.1, inclusion=0.3, steps=100, crops=1)"
GAME = "of the stated mechanism by the accountant; its game can show 2.862"
LINE = Curve(fpr=(0.0, 1.0), tpr=(0.0, 1.0))


def bound(estimator: str, epsilon: float, validity: str, **others: object) -> Bound:
    values = {"cap": 7.12345, "detectable": 0.2345, "assumes": "independent trials", **others}
    return Bound.model_validate(
        {
            "estimator": estimator,
            "epsilon": epsilon,
            "delta": 1e-5,
            "confidence": 0.95,
            "validity": validity,
            **values,
        }
    )


def attack(name: str = "probe", **changes: object) -> AttackEstimate:
    found = AttackEstimate(
        attack=name,
        members=3000,
        nonmembers=2900,
        auc=0.6634,
        roc=LINE,
        bounds=(
            bound("mechanism-f-dp", 2.3899, "model-based", note="noise multiplier at most 1.121"),
            bound("joint-test", 1.45, "exact", cap=None, detectable=None),
        ),
        p_value=0.51349,
        corrected_p_value=1.0,
        could_contradict=True,
        trials_needed=None,
        free_p_value=None,
        inversions=(
            Inversion(
                axis="inclusion probability",
                claimed=0.33,
                limit=0.41129,
                side="at least",
                words="the inclusion probability is at least 0.4113; the claim says 0.33",
                contradicts=True,
            ),
        ),
        positions=(),
        skipped=("rank-sum-f-dp: needs --order forward",),
    )
    return found.model_copy(update=changes)


def estimate(*attacks: AttackEstimate, **changes: object) -> Estimate:
    found = Estimate(
        delta=1e-5,
        confidence=0.95,
        trials="independent",
        seed=1,
        power_holds="if only the noise is less",
        not_probed=("a leak in few runs",),
        mechanism=MECHANISM,
        claim=2.94846,
        claim_words=GAME,
        claimed_roc=LINE,
        attacks=attacks or (attack(),),
        summit=Summit(
            epsilon=2.3199,
            attack="probe",
            estimator="mechanism-f-dp",
            validity="model-based",
            correction="corrected for 2 attacks",
            position=None,
        ),
        contradicted=False,
        ground="none",
    )
    return found.model_copy(update=changes)


def summit(epsilon: float) -> Summit:
    return estimate().summit.model_copy(update={"epsilon": epsilon})


def printed(found: Estimate, **options: object) -> str:
    stream = io.StringIO()
    print_estimate(found, Console(file=stream, **options))  # type: ignore[arg-type]
    return stream.getvalue()


def said(found: Estimate) -> str:
    return " ".join(printed(found, width=100).split())


def result(found: Estimate) -> str:
    (line,) = [line for line in summary_lines(found) if line.startswith("Result: ")]
    return line.removeprefix("Result: ")


def test_everything_is_said_and_rounded_to_the_honest_side() -> None:
    text = said(estimate(attack(), attack("other")))
    for words in (
        "probe: 3,000 members + 2,900 nonmembers, AUC 0.663",
        "mechanism-f-dp * 2.38 95% 7.13 0.24 model-based",
        "joint-test 1.45 95% none - exact",
        "* decides: chosen before the scores were seen",
        "the inclusion probability is at least 0.4112; the claim says 0.33: contradicted",
        "p-value of the claim: 0.52 for this attack alone, 1 corrected for 2 attacks (Holm)",
        "Skipped: rank-sum-f-dp: needs --order forward",
        "Headline: epsilon >= 2.31 at delta 1e-5 with 95% confidence (probe, mechanism-f-dp, "
        "model-based; corrected for 2 attacks)",
        f"Claim: epsilon <= 2.95, {GAME}",
        f"Mechanism: {MECHANISM}",
        "mechanism-f-dp assumes: independent trials",
        "found with 90% power if only the noise is less; not probed: a leak in few runs",
        "Note: a lower bound never certifies epsilon",
    ):
        assert words in text


@pytest.mark.parametrize("width", [80, 100])
def test_plain_output_has_no_colour_codes_and_keeps_the_width(width: int) -> None:
    text = printed(estimate(), width=width)
    assert "\x1b" not in text
    assert max(len(line) for line in text.splitlines()) <= width


def test_only_the_classes_that_occur_are_explained() -> None:
    names = [line.partition(": ")[0] for line in summary_lines(estimate())]
    assert names.count("exact") == names.count("model-based") == 1
    assert not {"credible", "asymptotic"} & set(names)


def test_results_in_words() -> None:
    assert result(estimate()).startswith("claim not contradicted; the scores show 2.31 of it")
    weak = result(estimate(summit=summit(0.0)))
    assert "which may be the attack's weakness; so many trials could have shown 7.13 at" in weak
    assert "nothing was claimed" in result(estimate(claim=None))
    nothing = result(estimate(claim=None, summit=summit(0.0)))
    assert nothing.endswith("they show nothing; so many trials could have shown 7.13 at most")
    endless = attack(bounds=(bound("mechanism-f-dp", 0.0, "model-based", cap=None),))
    assert result(estimate(endless, claim=None, summit=summit(0.0))).endswith("they show nothing")
    deaf = attack(could_contradict=False, trials_needed=12_000)
    told = result(estimate(deaf, summit=summit(0.0)))
    assert told.endswith("contradict 2.95 by this test even without an error; 12,000 would")
    never = attack(could_contradict=False)
    assert result(estimate(never)).endswith("even without an error; no number up to 131,072 would")
    assert "could not have been" not in result(estimate(deaf, attack()))
    assert "may not hold" in result(estimate(summit=summit(3.0)))


def test_a_contradiction_says_what_it_assumes() -> None:
    found = estimate(contradicted=True, ground="assumption-free", summit=summit(4.0))
    assert result(found).startswith("CLAIM CONTRADICTED: were it true, scores that tell so much")
    assert result(found).endswith("at most 0.05 of the time; this assumes nothing about what ran")
    game = found.model_copy(update={"ground": "given the game"})
    assert result(game).endswith("pair of worlds was played, in one order throughout")
    stated = game.model_copy(update={"claim_words": "as stated"})
    assert result(stated).endswith("that the stated mechanism ran, at whatever noise")
    quiet = found.model_copy(update={"summit": summit(1.0)})
    assert "the claim's whole curve" in result(quiet)


def test_the_result_is_coloured_on_a_terminal() -> None:
    for contradicted, code in ((True, "31"), (False, "32")):
        text = printed(
            estimate(contradicted=contradicted),
            width=100,
            force_terminal=True,
            color_system="standard",
            no_color=False,
        )
        assert f"\x1b[1;{code}m" in text


def test_positions_are_shown_loudest_first_and_not_without_end() -> None:
    places = tuple(
        PositionEstimate(
            position=f"[{at};0]",
            members=40,
            nonmembers=41,
            epsilon=at / 10,
            simultaneous=at / 20,
            p_value=0.031 if at == 24 else 1.0,
        )
        for at in range(25)
    )
    text = said(estimate(attack(positions=places)))
    assert text.index("[24;0] 40 + 41 2.40 1.20 0.031") < text.index("[23;0] 40 + 41 2.30 1.15 1")
    assert "[4;0]" not in text
    assert "5 quieter positions in --json" in text
    place = estimate().summit.model_copy(update={"position": "[24;0]"})
    assert "(probe, position [24;0], mechanism-f-dp" in said(estimate(summit=place))


def test_brackets_are_no_markup_and_one_attack_needs_no_name() -> None:
    assert "[red]x[/red]: 3,000 members" in said(estimate(attack("[red]x[/red]")))
    assert "Scores: 3,000 members" in said(estimate(attack("")))


def test_a_reversed_attack_is_pointed_out() -> None:
    dull = (bound("joint-test", 0.0, "exact"),)
    assert "members score lower here" in said(estimate(attack(auc=0.1, bounds=dull)))
    assert "members score lower here" not in said(estimate(attack(auc=0.49, bounds=dull)))


@pytest.mark.parametrize(
    ("note", "short"),
    [
        ("fixed rank at rates 0.3, side both, corrected for", "rank at rate 0.3, both"),
        (
            "fixed rank at rates 0.3, 0.1, side high, corrected for",
            "ranks at rates 0.3 .. 0.1, high",
        ),
        ("mu at least 1; given: 0.5, both sides", "mu at least 1; threshold 0.5, both"),
        ("given: -0.5", "threshold -0.5"),
        ("learned on 50% of the scores, tested on the rest", "threshold learned on 50%"),
        ("hits above 31 fixed ranks, weighted", "31 ranks, weighted"),
        ("something else", "something else"),
    ],
)
def test_notes_are_shortened(note: str, short: str) -> None:
    assert short_note(note) == short
