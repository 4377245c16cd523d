"""The check of labels: sound crops never fail it, one window that is off by a pixel does.

Both of its tests are exact: nothing that a sound pipeline does gives them a p-value below 1. The
sound runs here are real pixels of blocks under random colour changes and noise; seeds are fixed.
"""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import gaussian_filter

from cropaudit.accounting.geometry import Size
from cropaudit.audit.conformance.checks.label_alignment import check
from cropaudit.audit.conformance.observe.contract import Contract
from cropaudit.audit.conformance.observe.draws import Draws
from cropaudit.audit.conformance.outcome import Finding
from cropaudit.audit.conformance.probes.blocks import block_scene, label_fit
from cropaudit.audit.conformance.seen import Seen
from tests.conformance_draws import claim, crop_draws, found, pairs_of

N = 500


def finding(draws: Draws, fits: object = None, style: str = "v2") -> Finding:
    pairs = None
    if fits is not None:
        table = np.asarray(fits, dtype=float)
        pairs = replace(pairs_of([5] * len(table)), fit=table)
    seen = Seen(draws=draws, pairs=pairs, contract=Contract(style=style))
    return found(check(seen, claim()))


def sound_fit(rng: np.random.Generator, side: int) -> tuple[float, float]:
    """Labels and colours of one crop, its colours turned in a random way."""
    scene = block_scene(Size(120, 160), rng)
    top, left = rng.integers(120 - side + 1), rng.integers(160 - side + 1)
    cut = np.s_[top : top + side, left : left + side]
    image, mask = scene.image[cut].astype(float), scene.mask[cut]
    image = image @ rng.normal(size=(3, 3)) * rng.uniform(0.1, 3) + rng.normal(size=3) * 50
    if rng.random() < 0.5:
        image = gaussian_filter(image, (rng.uniform(0, 3),) * 2 + (0,))
    return label_fit(image + rng.normal(size=image.shape) * rng.uniform(0, 100), mask)


@pytest.mark.parametrize("side", [40, 100])
def test_labels_of_sound_crops_fit_where_they_stand(side: int) -> None:
    """600 sound sets of 6 crops: none fails."""
    rng = np.random.default_rng(side)
    draws = crop_draws(rng, N)
    fits = np.array([sound_fit(rng, side) for _ in range(300)])
    assert np.isfinite(fits).all()
    assert (fits[:, 1] <= fits[:, 0] + 0.05).mean() > 0.98
    sets = rng.integers(300, size=(300, 6))
    assert all(finding(draws, fits[chosen]).status != "fail" for chosen in sets)


def test_sound_windows_pass_and_say_so() -> None:
    seen = finding(crop_draws(np.random.default_rng(0), N), [(0.99, 0.4)] * 5)
    assert seen.status == "pass"
    assert seen.detail == (
        "500 windows of image and mask are the same; labels explain 99% of their pixels' colours"
    )


@pytest.mark.parametrize("shift", [1, 30])
def test_one_window_that_is_off_by_a_pixel_is_found(shift: int) -> None:
    draws = crop_draws(np.random.default_rng(0), N)
    draws.label_shift[7], draws.label_aligned[7] = shift, False
    seen = finding(draws)
    assert (seen.status, seen.p_value) == ("fail", 0.0)
    assert f"in 1 of 500 crops, by up to {shift} pixels: cut both by one window" in seen.detail


@settings(max_examples=20, deadline=None)
@given(st.sampled_from([2, 4, 6]), st.booleans(), st.integers(0, 999))
def test_labels_that_are_moved_fit_beside_their_place(shift: int, rows: bool, seed: int) -> None:
    rng = np.random.default_rng(seed)
    scene = block_scene(Size(120, 160), rng)
    mask = np.roll(scene.mask, shift, axis=0 if rows else 1)[20:110, 20:150]
    own, beside = label_fit(scene.image[20:110, 20:150], mask)
    assert beside > own + 0.05
    assert beside > 0.95


def test_moved_labels_are_found_where_no_code_survives() -> None:
    unread = crop_draws(np.random.default_rng(0), N, from_image=False)
    seen = finding(unread, [(0.5, 0.9)] * 4 + [(0.9, 0.5)] * 2)
    assert (seen.status, seen.p_value) == ("fail", 0.0)
    assert "in 67% of the crops labels fit the pixels some way off better" in seen.detail
    assert finding(unread, [(0.5, 0.9)] * 3 + [(0.9, 0.5)] * 3).status == "pass"


def test_what_cannot_be_told_is_said() -> None:
    rng = np.random.default_rng(0)
    unread = crop_draws(rng, N, from_image=False)
    apart = finding(unread, [(0.02, 0.03)] * 4)
    assert (apart.status, "explain only 2%" in apart.detail) == ("inconclusive", True)
    assert finding(unread).status == "inconclusive"
    no_mask = crop_draws(rng, N, label_decoded=np.zeros(N, dtype=bool))
    alone = finding(no_mask, style="v1")
    assert (alone.status, alone.detail) == (
        "skipped",
        "no mask came back, so no label can be out of place",
    )
    assert found(check(Seen(), claim())).status == "skipped"


def test_a_mask_without_labels_or_size_says_nothing() -> None:
    scene = block_scene(Size(40, 40), np.random.default_rng(0))
    assert np.isnan(label_fit(scene.image, None)).all()
    assert np.isnan(label_fit(scene.image, scene.mask[:-1])).all()
    assert np.isnan(label_fit(scene.image[:12, :12], scene.mask[:12, :12])).all()
    assert np.isnan(label_fit(scene.image * 0, scene.mask)[0])
    assert np.isnan(label_fit(scene.image, scene.mask * 0)[0])
