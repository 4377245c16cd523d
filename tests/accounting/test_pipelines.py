"""A described pipeline and what it amounts to: counts against simulated loaders, names, phases."""

import itertools
import math
from dataclasses import fields, replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cropaudit.accounting.accountant import bracket
from cropaudit.accounting.bound import Phase, Pipeline, bound, bound_phases
from cropaudit.accounting.crop_laws import ResizedCrop
from cropaudit.accounting.geometry import Borders, Crop, PixelMask, Rectangle, Several, Size
from cropaudit.accounting.mechanisms import (
    AddRemoveRecord,
    CyclicPatch,
    FixedSizePatch,
    FullBatchPatch,
    PoissonPatch,
    ReplaceOneShortcut,
    ShufflePatch,
)
from cropaudit.accounting.pipelines import augmentation_distance
from cropaudit.accounting.registry import (
    MECHANISMS,
    parse_mechanism,
    patch_mechanism,
    require_same,
    sampler_names,
)
from cropaudit.accounting.shortcuts import shortcut_epsilons, shortcuts
from cropaudit.errors import InputError


def pipeline(**changes: object) -> Pipeline:
    values: dict[str, object] = {
        "images": (Size(64, 64),),
        "crop": Crop(Size(16, 16)),
        "patch": Rectangle(Size(4, 4)),
        "sampler": "poisson",
        "batch": 10,
        "records": 100,
        "steps": 50,
    }
    return Pipeline(**{**values, **changes})  # type: ignore[arg-type]


def participations(
    records: int, batch: int, steps: int, drop: bool, cyclic: bool, rng: np.random.Generator
) -> tuple[int, int]:
    """Runs a loader; returns the most participations of a record and the steps of an epoch."""
    seen = np.zeros(records, dtype=int)
    order = rng.permutation(records)
    taken = length = 0
    while taken < steps:
        if not cyclic:
            order = rng.permutation(records)
        batches = [order[i : i + batch] for i in range(0, records, batch)]
        if drop and len(batches[-1]) < batch:
            batches.pop()
        length = len(batches)
        for chosen in batches[: steps - taken]:
            seen[chosen] += 1
        taken += min(length, steps - taken)
    return int(seen.max()), length


@settings(max_examples=120, deadline=None, derandomize=True)
@given(
    st.integers(1, 40),
    st.integers(1, 40),
    st.integers(1, 60),
    st.booleans(),
    st.sampled_from(["shuffle", "cyclic"]),
    st.integers(0, 1000),
)
def test_participations_cover_those_of_a_loader(
    records: int, batch: int, steps: int, drop: bool, sampler: str, seed: int
) -> None:
    batch = min(batch, records)
    rng = np.random.default_rng(seed)
    most, length = participations(records, batch, steps, drop, sampler == "cyclic", rng)
    described = pipeline(sampler=sampler, records=records, batch=batch, steps=steps, drop_last=drop)
    assert described.steps_per_epoch() == length
    mechanism = described.mechanism(1.0, 0.3)
    assert mechanism.compositions >= most
    # A cyclic record of the first batch, and some record of enough shuffles, take part so often.
    assert mechanism.compositions == -(-steps // length)
    if sampler == "cyclic":
        assert most == mechanism.compositions
    # Without epochs a mechanism does not know of a last batch, and takes the worse of both.
    bare = replace(mechanism, epochs=None)  # type: ignore[call-arg]
    assert bare.compositions >= most


@pytest.mark.parametrize("seed", range(3))
def test_some_record_takes_part_in_every_epoch_begun(seed: int) -> None:
    most, _ = participations(12, 4, 100, False, False, np.random.default_rng(seed))
    assert (
        most
        == 34
        == pipeline(sampler="shuffle", records=12, batch=4, steps=100)
        .mechanism(1.0, 0.3)
        .compositions
    )


@settings(max_examples=60, deadline=None, derandomize=True)
@given(st.integers(1, 50), st.integers(1, 50), st.integers(1, 30), st.booleans())
def test_epochs_are_steps(records: int, batch: int, epochs: int, drop: bool) -> None:
    batch = min(batch, records)
    described = pipeline(
        sampler="shuffle", records=records, batch=batch, steps=None, epochs=epochs, drop_last=drop
    )
    per_epoch = math.floor(records / batch) if drop else math.ceil(records / batch)
    assert described.total_steps() == epochs * per_epoch
    assert described.epochs_begun() == epochs
    mechanism = described.mechanism(1.0, 0.3)
    assert (mechanism.steps, mechanism.compositions) == (epochs * per_epoch, epochs)
    # A step more begins another epoch.
    more = described.with_changes(steps=described.total_steps() + 1, epochs=None)
    assert more.mechanism(1.0, 0.3).compositions == epochs + 1
    for sampler in ("poisson", "fixed"):
        sampled = described.with_changes(sampler=sampler).mechanism(1.0, 0.3)
        assert sampled.compositions == epochs * per_epoch


def test_a_rate_whose_period_is_beyond_numbers() -> None:
    assert ShufflePatch(1.0, 1e-320, 0.3, 10).compositions == 1


def test_worst_case_is_taken_where_no_probability_is_given() -> None:
    described = pipeline()
    want = 19 * 19 / 49**2  # windows of 16 in 64 that meet 4 pixels
    assert described.mechanism(1.0).inclusion == pytest.approx(want, rel=1e-12)
    assert described.mechanism(1.0).sample_rate == 0.1


@pytest.mark.parametrize("crops", [1, 2, 5])
@pytest.mark.parametrize("sampler", ["poisson", "fixed", "shuffle", "cyclic"])
def test_crops_together_and_apart(crops: int, sampler: str) -> None:
    together = pipeline(sampler=sampler, crops_per_image=crops).mechanism(1.0, 0.2)
    assert together.crops == 1
    assert together.inclusion == pytest.approx(1 - 0.8**crops, rel=1e-12)
    apart = pipeline(sampler=sampler, crops_per_image=crops, clipped="apart").mechanism(1.0, 0.2)
    assert (apart.crops, apart.inclusion) == (crops, 0.2)
    rate = 1.0 if sampler == "full" else 0.1
    assert apart.record_rate == pytest.approx(rate * (1 - 0.8**crops))
    assert apart.record_rate == pytest.approx(together.record_rate)
    if crops == 1:
        assert apart == together
    else:
        # Clipped together an image moves the sum by 2 at most, apart by 2K.
        assert bracket(together, 1e-5).upper < bracket(apart, 1e-5).lower


def precise_distance(pixels: int, deviation: float) -> float:
    """Total variation 2 Phi(D / 2s) - 1 = erf(D / (2 sqrt 2 s))."""
    return math.erf(255 * math.sqrt(3 * pixels) / (2 * math.sqrt(2) * deviation))


@pytest.mark.parametrize("deviation", [1.0, 300.0, 2000.0, 1e5, 1e9, 1e13])
@pytest.mark.parametrize(
    ("patch", "pixels"),
    [
        (Rectangle(Size(10, 10)), 100),
        (Rectangle(Size(1, 1)), 1),
        (PixelMask(np.array([[True, False], [True, True]])), 3),
        (Several(Rectangle(Size(2, 3)), 4), 24),
    ],
)
def test_noise_on_pixels(patch: Rectangle | Several, pixels: int, deviation: float) -> None:
    """Never below the closed form, of which a huge deviation leaves few digits."""
    found = augmentation_distance(patch, deviation)
    want = precise_distance(pixels, deviation)
    assert want <= found <= min(1.0, want * (1 + 1e-14))


def test_noise_on_pixels_multiplies_the_inclusion_probability() -> None:
    distance = augmentation_distance(Rectangle(Size(4, 4)), 700.0)
    assert 0.2 < distance < 0.9
    plain = pipeline(augmentation=700.0)
    assert plain.shown(0.3) == pytest.approx(0.3 * distance)
    several = plain.with_changes(crops_per_image=3)
    assert several.shown(0.3) == pytest.approx(1 - (1 - 0.3 * distance) ** 3)
    # Of alternative patches the larger one hides worse.
    patches = (Rectangle(Size(1, 1)), Rectangle(Size(4, 4)))
    assert plain.with_changes(patch=patches).shown(0.3) == plain.shown(0.3)
    quiet = bound(plain, 1e-5, noise_multiplier=1.0)
    loud = bound(pipeline(), 1e-5, noise_multiplier=1.0)
    assert quiet.epsilon < loud.epsilon
    assert "only" in quiet.adjacency
    assert any("labels" in text for text in quiet.warnings)


@pytest.mark.parametrize("sampler", ["poisson", "fixed", "cyclic"])
def test_phases_that_split_a_pipeline_equal_it(sampler: str) -> None:
    whole = pipeline(sampler=sampler, steps=90)
    # Phases of whole epochs: each begins its own.
    parts = [whole.with_changes(steps=steps) for steps in (30, 10, 50)]
    together = bound_phases([Phase(part, 1.2) for part in parts], 1e-5)
    single = bound(whole, 1e-5, noise_multiplier=1.2)
    assert together.epsilon == pytest.approx(single.epsilon, rel=2e-3)
    for item in fields(single):
        one, other = getattr(single, item.name), getattr(together, item.name)
        if isinstance(one, int | str):
            assert one == other, item.name
    assert together.steps == 90
    for one, other in zip(single.shortcuts, together.shortcuts, strict=True):
        assert one.name == other.name
        assert one.epsilon == pytest.approx(other.epsilon, rel=2e-3)
    assert together.risk.advantage == pytest.approx(single.risk.advantage, rel=5e-3)


def test_phases_with_settings_of_their_own() -> None:
    """More than either alone, and less than the sum; alone as good as the bound of it."""
    first = pipeline(crop=Crop(Size(24, 24)), steps=40)
    second = pipeline(sampler="fixed", batch=5, steps=60, crop=Crop(Size(20, 20)))
    both = bound_phases([Phase(first, 1.0), Phase(second, 1.5)], 1e-5, group=2)
    alone = [
        bound(first, 1e-5, noise_multiplier=1.0).epsilon,
        bound(second, 1e-5, noise_multiplier=1.5).epsilon,
    ]
    assert max(alone) < both.epsilon < sum(alone)
    assert both.epsilon_lower <= both.epsilon < both.epsilon_without_crop
    assert both.groups[0].epsilon > both.epsilon
    assert both.epsilon_add_remove is None
    with pytest.raises(InputError, match="phases must be at least one"):
        bound_phases([], 1e-5)


SAME = PoissonPatch(1.0, 0.1, 0.3, 10)


@pytest.mark.parametrize(
    ("other", "message"),
    [
        (FixedSizePatch(1.0, 0.1, 0.3, 10), "of one sampler, got poisson and fixed"),
        (PoissonPatch(1.0, 0.2, 0.3, 10), "got sample_rate 0.1 and 0.2"),
        (PoissonPatch(1.0, 0.1, 0.4, 10), "got inclusion 0.3 and 0.4"),
        (PoissonPatch(1.0, 0.1, 0.3, 11), "got steps 10 and 11"),
        (PoissonPatch(1.0, 0.1, 0.3, 10, crops=2), "got crops 1 and 2"),
    ],
)
def test_other_mechanisms_are_not_set_side_by_side(other: PoissonPatch, message: str) -> None:
    require_same(SAME, SAME.with_noise(7.0), ("claim", "probe"))
    for pair in ((SAME, other), (other, SAME)):
        with pytest.raises(InputError, match="claim and probe must be of one"):
            require_same(*pair, ("claim", "probe"))
    with pytest.raises(InputError, match=message):
        require_same(SAME, other, ("claim", "probe"))
    shuffles = (ShufflePatch(1.0, 0.1, 0.3, 10), ShufflePatch(1.0, 0.1, 0.3, 10, epochs=1))
    with pytest.raises(InputError, match="got epochs None and 1"):
        require_same(*shuffles, ("claim", "probe"))


@pytest.mark.parametrize(
    ("text", "want"),
    [
        ("poisson:noise=1,q=0.1,rho=0.3,steps=100", PoissonPatch(1.0, 0.1, 0.3, 100)),
        ("fixed:steps=7,rho=0,noise=1e-1,q=1", FixedSizePatch(0.1, 1.0, 0.0, 7)),
        ("shuffle:noise=2,q=0.5,rho=1,steps=9,epochs=5", ShufflePatch(2.0, 0.5, 1.0, 9, epochs=5)),
        ("cyclic:noise=2,q=0.5,rho=1,steps=9", CyclicPatch(2.0, 0.5, 1.0, 9)),
        (
            "full:noise=2,q=1,rho=0.5,steps=9,crops=3",
            FullBatchPatch(2.0, 1.0, 0.5, 9, crops=3),
        ),
    ],
)
def test_legal_texts(text: str, want: PoissonPatch) -> None:
    assert parse_mechanism(text) == want


@pytest.mark.parametrize(
    "text",
    [
        "",
        "poisson",
        "poisson:",
        "poison:noise=1,q=0.1,rho=0.3,steps=100",
        "add-remove:noise=1,q=0.1,rho=0.3,steps=100",
        "poisson:noise=1,q=0.1,rho=0.3",
        "poisson:noise=1,q=0.1,rho=0.3,steps=100,",
        "poisson:noise=1,q=0.1,rho=0.3,steps=100,q=0.1",
        "poisson:noise=1,,q=0.1,rho=0.3,steps=100",
        "poisson:noise=1,q=0.1,rho=0.3,steps=100,epochs=3",
        "poisson:noise=1,q=0.1,rho=0.3,steps=100,batch=3",
        "poisson: noise=1,q=0.1,rho=0.3,steps=100",
        "poisson:noise=one,q=0.1,rho=0.3,steps=100",
        "poisson:noise=1,q=0.1,rho=0.3,steps=1e2",
        "poisson:noise=1,q=0.1,rho=0.3,steps=10.0",
        "poisson:noise=1=2,q=0.1,rho=0.3,steps=10",
    ],
)
def test_illegal_texts_are_refused_with_the_form(text: str) -> None:
    with pytest.raises(InputError, match="mechanism must be SAMPLER:noise=S,q=Q,rho=R,steps=T"):
        parse_mechanism(text)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("poisson:noise=-1,q=0.1,rho=0.3,steps=1", "noise multiplier must be 0 for none, or from"),
        ("poisson:noise=inf,q=0.1,rho=0.3,steps=1", "noise multiplier must be 0 for none, or from"),
        ("poisson:noise=nan,q=0.1,rho=0.3,steps=1", "noise multiplier must be 0 for none, or from"),
        ("poisson:noise=1,q=0,rho=0.3,steps=1", r"sampling rate must be in \(0, 1\], got 0.0"),
        ("poisson:noise=1,q=1.1,rho=0.3,steps=1", r"sampling rate must be in \(0, 1\]"),
        ("poisson:noise=1,q=0.1,rho=-0.1,steps=1", r"inclusion probability must be in \[0, 1\]"),
        ("poisson:noise=1,q=0.1,rho=nan,steps=1", r"inclusion probability must be in \[0, 1\]"),
        ("poisson:noise=1,q=0.1,rho=0.3,steps=0", "steps must be at least 1, got 0"),
        ("poisson:noise=1,q=0.1,rho=0.3,steps=1,crops=0", "crops must be at least 1, got 0"),
        ("shuffle:noise=1,q=0.1,rho=0.3,steps=1,epochs=0", "epochs must be at least 1, got 0"),
        ("full:noise=1,q=0.1,rho=0.3,steps=1", "sampling rate must be 1 for full batches"),
    ],
)
def test_values_out_of_range_are_named(text: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        parse_mechanism(text)


def test_one_name_means_one_mechanism() -> None:
    assert set(sampler_names()) <= set(MECHANISMS)
    for name in sampler_names():
        batch = 100 if name == "full" else 10
        found = patch_mechanism(
            name, noise_multiplier=1.0, batch=batch, records=100, inclusion=0.3, steps=7, crops=2
        )
        assert isinstance(found, MECHANISMS[name])
        assert found.kind == name
        assert found.crops == 2
        assert found.is_bound
    assert not MECHANISMS["add-remove-shortcut"].is_bound
    assert AddRemoveRecord.is_bound
    with pytest.raises(InputError, match="all 100 records for full batches"):
        pipeline(sampler="full").mechanism(1.0, 0.3)
    with pytest.raises(InputError, match="inclusion probability must be 1 for whole images"):
        AddRemoveRecord(1.0, 0.1, 0.5, 3)


@pytest.mark.parametrize(
    ("clip_norm", "told"), [(None, False), (1.0, False), (2.0, False), (0.5, True), (1e-3, True)]
)
def test_absolute_noise_is_a_trap_below_a_clipping_norm_of_one(
    clip_norm: float | None, told: bool
) -> None:
    """Above one the same mistake adds noise, and is safe."""
    mechanism = FixedSizePatch(1.5, 0.1, 0.3, 40)
    found = {item.name: item for item in shortcuts(mechanism, clip_norm)}
    assert ("absolute-noise" in found) == told
    if told:
        assert clip_norm is not None
        assert found["absolute-noise"].mechanism == mechanism.with_noise(1.5 / clip_norm)


@pytest.mark.parametrize("clip_norm", [0.0, -1.0])
def test_clipping_norms_must_be_positive(clip_norm: float) -> None:
    with pytest.raises(InputError, match="clipping norm must be positive"):
        shortcuts(FixedSizePatch(1.5, 0.1, 0.3, 40), clip_norm)


@pytest.mark.parametrize(
    "mechanism",
    [
        PoissonPatch(1.0, 0.1, 0.3, 100),
        FixedSizePatch(1.0, 0.1, 0.3, 100),
        ShufflePatch(1.0, 0.1, 0.3, 100),
        PoissonPatch(1.0, 0.1, 0.3, 100, crops=3),
    ],
)
def test_every_short_cut_claims_less_than_the_bound(mechanism: PoissonPatch) -> None:
    honest = bracket(mechanism, 1e-5)
    found = shortcut_epsilons(mechanism, 1e-5, 0.5)
    names = [item.name for item in found]
    assert names[:3] == ["add-remove", "replace-one", "sensitivity-c"]
    assert ("poisson-accounting" in names) == (mechanism.kind != "poisson")
    assert all(item.epsilon < honest.lower and item.why_invalid for item in found)
    for one in shortcuts(mechanism):
        if isinstance(one.mechanism, ReplaceOneShortcut):
            assert one.mechanism.record_rate == pytest.approx(mechanism.record_rate)


def test_short_cuts_of_phases_are_those_that_every_phase_has() -> None:
    phases = [PoissonPatch(1.0, 0.1, 0.3, 10), FixedSizePatch(1.0, 0.1, 0.3, 10)]
    for order in itertools.permutations(phases):
        names = {item.name for item in shortcut_epsilons(list(order), 1e-5)}
        assert names == {"add-remove", "replace-one", "sensitivity-c"}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"sampler": "poison"}, "sampler must be one of poisson, fixed"),
        ({"clipped": "never"}, "clipped must be one of together, apart"),
        ({"crops_per_image": 0}, "crops per image must be at least 1"),
        ({"augmentation": 0.0}, "augmentation noise must be positive and finite"),
        ({"augmentation": math.inf}, "augmentation noise must be positive and finite"),
    ],
)
def test_descriptions_out_of_range_are_named(changes: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        pipeline(**changes)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"records": 0}, "records must be at least 1, got 0"),
        ({"batch": 0}, "batch must be between 1 and the 100 records, got 0"),
        ({"epochs": 2}, "steps or epochs must be given, and not both"),
        ({"steps": None}, "steps or epochs must be given, and not both"),
        ({"steps": None, "epochs": 0}, "epochs must be at least 1"),
    ],
)
def test_counts_out_of_range_are_named(changes: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        pipeline(**changes).total_steps()


@pytest.mark.parametrize(
    "crop",
    [Crop(Size(24, 24), 4, "reflect"), Crop(Size(24, 24), 4, "edge"), ResizedCrop(Size(9, 9))],
)
def test_noise_on_copies_of_pixels_is_refused(crop: Crop | ResizedCrop) -> None:
    """Copies carry noise of their own: a pixel at an edge, padded by 4, shows through 2.6 times."""
    with pytest.raises(InputError, match="augmentation noise must be left out where padding"):
        pipeline(crop=crop, augmentation=1000.0)


def test_phases_share_their_records() -> None:
    phases = [Phase(pipeline(), 1.0), Phase(pipeline(records=200), 1.0)]
    with pytest.raises(InputError, match="over the same number of records"):
        bound_phases(phases, 1e-5)


def test_opacus_rate_of_a_loader_that_drops_its_last_batch() -> None:
    """Opacus takes one over the loader's length, here 3 batches of 30 from 100 records."""
    kept = pipeline(batch=30).mechanism(1.0)
    dropped = pipeline(batch=30, drop_last=True).mechanism(1.0)
    assert (kept.sample_rate, dropped.sample_rate) == (0.3, 1 / 3)
    assert pipeline(batch=30, sampler="fixed", drop_last=True).mechanism(1.0).sample_rate == 0.3


def test_flips_that_crops_clipped_apart_might_share_are_refused_where_they_matter() -> None:
    """A shared flip makes hits dependent if the borders of opposite sides differ."""
    values = {
        "images": (Size(20, 20),),
        "patch": Rectangle(Size(3, 3)),
        "sampler": "poisson",
        "batch": 2,
        "records": 10,
        "steps": 3,
        "crops_per_image": 2,
    }
    uneven = Crop(Size(8, 8), Borders(0, 0, 4, 0), horizontal_flip=0.5)
    even = Crop(Size(8, 8), Borders(0, 0, 4, 4), horizontal_flip=0.5)
    with pytest.raises(InputError, match="flip must be 0 where borders differ and several crops"):
        Pipeline(crop=uneven, clipped="apart", **values)
    for crop, clipped in ((even, "apart"), (uneven, "together")):
        assert Pipeline(crop=crop, clipped=clipped, **values).worst().probability > 0
