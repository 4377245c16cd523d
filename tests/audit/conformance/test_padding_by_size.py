"""Images brought to one size before the crop: small ones are padded more than the claim says.

The 30 sound runs of the first test make 3 tests each, all to stay above 1e-4: another seed would
fail it with at most 0.9%.
"""

import numpy as np

from cropaudit.accounting.geometry import Crop, Size
from cropaudit.audit.conformance.checks.laws import law_of
from cropaudit.audit.conformance.checks.window_law import check
from cropaudit.audit.conformance.claimed import Claimed
from cropaudit.audit.conformance.observe.draws import Draws
from cropaudit.audit.conformance.seen import Seen
from tests.conformance_draws import draws_of

IMAGE, SMALL, SIDE = Size(360, 480), Size(115, 115), 100
PADDED = Size(440, 560)
CLAIM = Claimed(image=IMAGE, crop=Crop(Size(SIDE, SIDE), 40))


def brought_to_size(rng: np.random.Generator, image: Size, count: int) -> Draws:
    """Windows of an image that is padded alike on both sides, to `PADDED`, and then cropped."""
    above, before = (PADDED.height - image.height) // 2, (PADDED.width - image.width) // 2
    top = rng.integers(0, PADDED.height - SIDE + 1, count) - above
    left = rng.integers(0, PADDED.width - SIDE + 1, count) - before
    inside = (top > -SIDE) & (top < image.height) & (left > -SIDE) & (left < image.width)
    side = np.full(inside.sum(), SIDE)
    return draws_of(image, top[inside], left[inside], side, side)


def test_small_images_that_are_padded_more_are_left_out() -> None:
    rng = np.random.default_rng(0)
    for claimed in (CLAIM, Claimed(image=IMAGE)):
        for _ in range(15):
            large, small = brought_to_size(rng, IMAGE, 4000), brought_to_size(rng, SMALL, 600)
            found = check(Seen(draws=large, near_draws=small), claimed)
            assert min(test.p_value for test in found.tests) > 1e-4
            assert "small images are padded otherwise" in found.evidence


def test_padding_that_is_seen_comes_from_large_images_then() -> None:
    rng = np.random.default_rng(1)
    large, small = brought_to_size(rng, IMAGE, 4000), brought_to_size(rng, SMALL, 600)
    law = law_of(large, small, Claimed(image=IMAGE))
    assert str(law.borders) == "40"


def test_a_range_that_is_short_by_one_is_still_found_on_small_images() -> None:
    """Power: of 16 origins 15 occur in 600 windows; a sound crop misses one with 16 exp(-37)."""
    rng = np.random.default_rng(2)
    side = np.full(600, SIDE)
    small = draws_of(SMALL, rng.integers(0, 15, 600), rng.integers(0, 15, 600), side, side)
    many = np.full(4000, SIDE)
    places = rng.integers(0, 261, 4000), rng.integers(0, 381, 4000)
    large = draws_of(IMAGE, *places, many, many)
    claimed = Claimed(image=IMAGE, crop=Crop(Size(SIDE, SIDE)))
    found = check(Seen(draws=large, near_draws=small), claimed)
    assert min(test.p_value for test in found.tests) < 1e-6
