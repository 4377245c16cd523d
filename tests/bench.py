"""Speed of what a user waits for, in one run and beside a plain way: ``python -m tests.bench``.

Ratios within one run say more than seconds, which belong to the machine. Where the plain way would
take hours it is timed on a few places and scaled; the row says so.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass

import dp_accounting
import numpy as np
import torch
from dp_accounting import mechanism_calibration
from dp_accounting.pld import PLDAccountant
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from cropaudit.accounting.accountant import (
    bracket,
    calibrate_noise,
    epsilon_at,
    epsilon_over_steps,
)
from cropaudit.accounting.crop_laws import ResizedCrop
from cropaudit.accounting.geometry import Crop, Patch, PixelMask, Rectangle, Size
from cropaudit.accounting.inclusion import inclusion, inclusion_map
from cropaudit.accounting.mechanisms import AddRemoveShortcut, FixedSizePatch, PoissonPatch
from cropaudit.accounting.window_sizes import size_law
from cropaudit.attacks.probe import Probe, run_probe
from cropaudit.training.crops import JointRandomCrop
from cropaudit.training.dpsgd import DpSgdSpec, StepView, train
from cropaudit.training.losses import pixel_losses, prepare
from cropaudit.training.models import build_model
from cropaudit.training.samplers import FixedSize, Poisson
from cropaudit.training.scenes import street_scenes
from tests.bench_ensembles import ensemble_rows
from tests.bench_projections import projection_rows
from tests.study.speed import speed_rows

STREET, WINDOW = Size(1024, 2048), Crop(Size(505, 505))
SCENE, SMALL, FACE = Size(160, 320), Crop(Size(64, 64)), Rectangle(Size(16, 16))
RATE, RHO, STEPS, DELTA, TARGET = 200 / 2975, 0.32906038262255877, 1500, 1 / 2975, 3.0
BATCH, PROBED = 32, 300


@dataclass(frozen=True)
class Row:
    """One line of the table.

    Attributes:
        what: What was timed.
        value: Its time, or its rate.
        unit: Of both values.
        beside: What the plain way is.
        plain: Its value; none where there is no plain way.
        ratio: How many times faster than the plain way.
        note: What else to know.
    """

    what: str
    value: float
    unit: str
    beside: str = ""
    plain: float | None = None
    ratio: float | None = None
    note: str = ""


def seconds(work: Callable[[], object], least: float = 0.3, most: int = 50) -> float:
    """Returns the median time of a call, after one to warm up where calls are short."""
    taken: list[float] = []
    begin = time.perf_counter()
    while len(taken) < most and (not taken or time.perf_counter() - begin < least):
        start = time.perf_counter()
        work()
        taken.append(time.perf_counter() - start)
    return statistics.median(taken[1:] or taken)


def disc() -> PixelMask:
    """Returns a 100x100 mask: a filled circle."""
    row, column = np.mgrid[:100, :100] - 49.5
    return PixelMask(row**2 + column**2 <= 50**2)


def counted_rectangle(image: Size, crop: Crop, patch: Size, place: tuple[int, int]) -> int:
    """Counts meeting windows of one place by comparing every origin with the patch."""
    origins = crop.origins(image)
    rows, columns = np.arange(origins.height), np.arange(origins.width)
    in_rows = (rows < place[0] + patch.height) & (rows + crop.size.height > place[0])
    in_columns = (columns < place[1] + patch.width) & (columns + crop.size.width > place[1])
    return int(np.count_nonzero(in_rows[:, None] & in_columns[None, :]))


def counted_mask(image: Size, crop: Crop, mask: NDArray[np.bool_], place: tuple[int, int]) -> int:
    """Counts meeting windows of one place from the integral image of a canvas with the mask."""
    table = np.zeros((image.height + 1, image.width + 1), dtype=np.int64)
    row, column = place
    table[1 + row : 1 + row + mask.shape[0], 1 + column : 1 + column + mask.shape[1]] = mask
    table = table.cumsum(axis=0).cumsum(axis=1)
    h, w = crop.size.height, crop.size.width
    inside = table[h:, w:] - table[:-h, w:] - table[h:, :-w] + table[:-h, :-w]
    return int(np.count_nonzero(inside))


def inclusion_rows() -> Iterator[Row]:
    """Times the map of every place beside a numpy loop over places, and checks the sample."""
    mask = disc()
    rectangle = Rectangle(Size(10, 10))
    padded = Crop(WINDOW.size, 50, "reflect")
    yield _inclusion_row("10x10", WINDOW, rectangle, 60, lambda at: _one_rectangle(rectangle, at))
    yield _inclusion_row(
        "100x100 mask", WINDOW, mask, 8, lambda at: counted_mask(STREET, WINDOW, mask.pixels, at)
    )
    yield _inclusion_row(
        "100x100 mask, reflect 50", padded, mask, 4, lambda at: _one_mirrored(padded, mask, at)
    )
    yield resized_row(rectangle)


def _one_rectangle(patch: Rectangle, place: tuple[int, int]) -> int:
    return counted_rectangle(STREET, WINDOW, patch.size, place)


def _one_mirrored(crop: Crop, patch: PixelMask, place: tuple[int, int]) -> int:
    """Counts meeting windows of one place on the padded image itself."""
    canvas = np.zeros((STREET.height, STREET.width), dtype=np.int64)
    row, column = place
    height, width = patch.pixels.shape
    canvas[row : row + height, column : column + width] = patch.pixels
    border = crop.borders(STREET)
    sides = ((border.top, border.bottom), (border.left, border.right))
    table = np.pad(np.pad(canvas, sides, mode="reflect"), ((1, 0), (1, 0)))
    table = table.cumsum(axis=0).cumsum(axis=1)
    h, w = crop.size.height, crop.size.width
    inside = table[h:, w:] - table[:-h, w:] - table[h:, :-w] + table[:-h, :-w]
    return int(np.count_nonzero(inside))


def _inclusion_row(
    name: str, crop: Crop, patch: Patch, sample: int, count: Callable[[tuple[int, int]], int]
) -> Row:
    ours = seconds(lambda: inclusion_map(STREET, crop, patch))
    rho = inclusion_map(STREET, crop, patch)
    origins = crop.origins(STREET)
    rng = np.random.default_rng(0)
    places = [(int(rng.integers(n)), int(rng.integers(m))) for n, m in [rho.shape] * sample]
    start = time.perf_counter()
    hits = [count(place) for place in places]
    plain = (time.perf_counter() - start) / sample * rho.size
    for place, found in zip(places, hits, strict=True):
        if not np.isclose(rho[place], found / (origins.height * origins.width)):
            raise RuntimeError(f"the map and the loop must agree at {place}")
    return Row(
        f"inclusion map 1024x2048, crop 505, {name}",
        ours,
        "s",
        "numpy loop over places",
        plain,
        plain / ours,
        f"loop timed on {sample} of {rho.size:,} places and scaled",
    )


def resized_row(patch: Rectangle) -> Row:
    """Times the map under RandomResizedCrop beside a loop over window sizes."""
    law, sample = ResizedCrop(Size(224, 224)), 8
    ours = seconds(lambda: inclusion_map(STREET, law, patch))
    sizes = int(np.count_nonzero(size_law(STREET, law).probability))
    rng = np.random.default_rng(0)
    start = time.perf_counter()
    for side in rng.integers(400, 1000, sample).tolist():
        inclusion_map(STREET, Crop(Size(side, side)), patch)
    plain = (time.perf_counter() - start) / sample * sizes
    words, note = "loop over window sizes", f"loop timed on {sample} of {sizes:,} sizes and scaled"
    name = "inclusion map 1024x2048, RandomResizedCrop, 10x10"
    return Row(name, ours, "s", words, plain, plain / ours, note)


def accounting_rows() -> Iterator[Row]:
    """Times one epsilon and one calibration beside dp_accounting at its default grid of 1e-4."""
    patch = PoissonPatch(1.0, RATE, RHO, STEPS)
    alike = AddRemoveShortcut(1.0, RATE, RHO, STEPS)
    own, other = epsilon_at(alike, DELTA), _their_epsilon(1.0)
    plain = seconds(lambda: _their_epsilon(1.0), 3.0)
    words = "dp_accounting PLD, subsampled Gaussian"
    values = f"{own:.4f} and {other:.4f}"
    same = seconds(lambda: epsilon_at(alike, DELTA))
    yield Row("epsilon, 1500 steps, same question", same, "s", words, plain, plain / same, values)
    ours = seconds(lambda: epsilon_at(patch, DELTA))
    note = f"{epsilon_at(patch, DELTA):.4f}; theirs is the add/remove question"
    yield Row("epsilon, 1500 steps, Poisson patch", ours, "s", words, plain, plain / ours, note)
    start = time.perf_counter()
    theirs = _their_noise()
    plain = time.perf_counter() - start
    for name, mechanism in (("same question", alike), ("Poisson patch", patch)):
        found = calibrate_noise(mechanism, DELTA, TARGET)
        ours = seconds(lambda m=mechanism: calibrate_noise(m, DELTA, TARGET))
        note = f"sigma {found:.4f} and {theirs:.4f} for epsilon {TARGET:g}"
        what = f"noise calibration, {name}"
        yield Row(what, ours, "s", words, plain, plain / ours, note)


def long_rows() -> Iterator[Row]:
    """Times a hundred thousand steps, a hundred epsilons in one pass, and peak memory."""
    rate, rho, steps = 1e-3, 0.0146354, 100_000
    alike = AddRemoveShortcut(1.0, rate, rho, steps)
    event = dp_accounting.SelfComposedDpEvent(
        dp_accounting.PoissonSampledDpEvent(rate * rho, dp_accounting.GaussianDpEvent(1.0)), steps
    )
    words = "dp_accounting PLD"
    plain = seconds(lambda: PLDAccountant().compose(event).get_epsilon(1e-5), 3.0)
    ours = seconds(lambda: epsilon_at(alike, 1e-5))
    values = PLDAccountant().compose(event).get_epsilon(1e-5), bracket(alike, 1e-5).upper
    note = f"{values[1]:.5f} within 0.1%, and {values[0]:.5f} at its default grid"
    yield Row("epsilon, 100,000 steps, same question", ours, "s", words, plain, plain / ours, note)
    for mechanism in (
        PoissonPatch(1.0, rate, rho, steps),
        FixedSizePatch(1.0, rate, rho, steps),
    ):
        taken = seconds(lambda m=mechanism: epsilon_at(m, 1e-5))
        found = bracket(mechanism, 1e-5)
        note = f"{found.upper:.5g}, at least {found.lower:.5g}"
        name = f"epsilon, 100,000 steps, {mechanism.kind} patch"
        yield Row(name, taken, "s", words, plain, plain / taken, note)
    patch, counts = PoissonPatch(1.0, RATE, RHO, STEPS), list(range(15, STEPS + 1, 15))
    ours = seconds(lambda: epsilon_over_steps(patch, DELTA, counts))
    plain = seconds(lambda: [epsilon_at(patch.with_steps(n), DELTA) for n in counts], 1.0)
    words = "one question after the other"
    yield Row("epsilon at 100 epochs in one pass", ours, "s", words, plain, plain / ours)
    yield memory_row()


def memory_row() -> Row:
    """Measures the peak memory of a process that does the largest of the above."""
    program = (
        "import numpy as np\n"
        "from cropaudit.accounting.accountant import epsilon_at\n"
        "from cropaudit.accounting.crop_laws import ResizedCrop\n"
        "from cropaudit.accounting.geometry import Crop, PixelMask, Rectangle, Size\n"
        "from cropaudit.accounting.inclusion import inclusion_map\n"
        "from cropaudit.accounting.mechanisms import FixedSizePatch\n"
        "street, mask = Size(1024, 2048), PixelMask(np.ones((100, 100), dtype=bool))\n"
        "inclusion_map(street, Crop(Size(505, 505), 50, 'reflect'), mask)\n"
        "inclusion_map(street, ResizedCrop(Size(224, 224)), Rectangle(Size(10, 10)))\n"
        "epsilon_at(FixedSizePatch(1.0, 1e-3, 0.0146354, 100_000), 1e-5)\n"
        # Not getrusage: its peak is that of the process before it became this one.
        "lines = open('/proc/self/status').read().splitlines()\n"
        "print(next(line.split()[1] for line in lines if line.startswith('VmHWM')))\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True)
    return Row("peak memory of maps and 100,000 steps", int(done.stdout) / 1024, "MiB")


def _their_event(noise: float) -> dp_accounting.DpEvent:
    gaussian = dp_accounting.GaussianDpEvent(noise)
    step = dp_accounting.PoissonSampledDpEvent(RATE * RHO, gaussian)
    return dp_accounting.SelfComposedDpEvent(step, STEPS)


def _their_epsilon(noise: float) -> float:
    return float(PLDAccountant().compose(_their_event(noise)).get_epsilon(DELTA))


def _their_noise() -> float:
    """Returns their noise, to the same relative tolerance of 1e-4."""
    return float(
        mechanism_calibration.calibrate_dp_mechanism(
            PLDAccountant,
            _their_event,
            TARGET,
            DELTA,
            mechanism_calibration.ExplicitBracketInterval(0.3, 5.0),
            tol=1e-4,
        )
    )


def probe_row() -> Row:
    """Times the probe at the shape of the quickstart."""
    worst = inclusion(SCENE, SMALL, FACE)
    pair = PoissonPatch(1.0, 0.2, worst.probability, 200).pair()
    note = "200 steps; Opacus in every step"
    spec = Probe(
        image=SCENE,
        position=worst.position,
        patch=FACE,
        crop=SMALL,
        sampling=Poisson(0.2),
        records=160,
        steps=200,
        noise_multiplier=1.0,
        max_grad_norm=1.0,
        pairs=(pair,),
        slots=PROBED,
        seed=0,
    )
    threads = torch.get_num_threads()
    taken = seconds(lambda: run_probe(spec), 1.0)
    torch.set_num_threads(1)
    alone = seconds(lambda: run_probe(spec), 1.0)
    torch.set_num_threads(threads)
    words = "the same with one torch thread"
    return Row(
        "probe, q = 0.2", PROBED / taken, "slots/s", words, PROBED / alone, alone / taken, note
    )


def crop_row() -> Row:
    """Times one joint crop of an image and its mask beside torchvision's."""
    image = torch.zeros(3, STREET.height, STREET.width, dtype=torch.uint8)
    mask = torch.zeros(STREET.height, STREET.width, dtype=torch.uint8)
    crop, generator = JointRandomCrop(WINDOW), torch.Generator().manual_seed(0)
    ours = _repeated(lambda: crop(image, mask, generator))
    from torchvision import tv_tensors
    from torchvision.transforms import v2

    theirs = v2.RandomCrop((WINDOW.size.height, WINDOW.size.width))
    both = tv_tensors.Image(image), tv_tensors.Mask(mask)
    plain = _repeated(lambda: theirs(*both))
    words = "torchvision v2.RandomCrop"
    return Row("joint crop 505 of 1024x2048", ours * 1e6, "us", words, plain * 1e6, plain / ours)


def _repeated(work: Callable[[], object], times: int = 300) -> float:
    def loop() -> None:
        for _ in range(times):
            work()

    return seconds(loop) / times


def training_row() -> Row:
    """Times one DP step of small-unet beside the same step without privacy."""
    data = street_scenes(BATCH, SCENE, seed=0)
    stamps: list[float] = []

    def observe(view: StepView) -> None:
        stamps.append(time.perf_counter())

    spec = DpSgdSpec("small-unet", SMALL, FixedSize(BATCH), 15, 1.0, 1.0, 0.1)
    train(data, spec, observe=observe)
    private = float(np.median(np.diff(stamps)[2:]))
    plain = _plain_step(data.images, data.masks, len(data.classes))
    words = "plain SGD, same batch"
    note = f"batch {BATCH}, crop 64; costs {private / plain:.1f} times the plain step"
    return Row(
        "DP step, small-unet", private * 1e3, "ms", words, plain * 1e3, plain / private, note
    )


def _plain_step(
    images: tuple[torch.Tensor, ...], masks: tuple[torch.Tensor, ...], classes: int
) -> float:
    """Returns the time of a step without per-sample gradients, crops included."""
    model = build_model("small-unet", classes, 0)
    if torch.cuda.is_available():
        model = model.cuda()
    device = next(model.parameters()).device
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    crop, generator = JointRandomCrop(SMALL), torch.Generator().manual_seed(0)

    def step() -> None:
        cuts = [crop(x, y, generator) for x, y in zip(images, masks, strict=True)]
        pixels = prepare(torch.stack([item[0] for item in cuts]).to(device))
        labels = torch.stack([item[1] for item in cuts]).to(device)
        optimizer.zero_grad(set_to_none=True)
        torch.autograd.backward(pixel_losses(model(pixels), labels).mean())
        optimizer.step()

    return seconds(step, 1.5)


def estimator_rows() -> Iterator[Row]:
    """Times the estimators, beside jax_privacy where that is installed."""
    for what, ours, beside, plain in speed_rows():
        ratio = plain / ours if plain is not None else None
        yield Row(what, ours, "s", beside, plain, ratio)


def measured() -> Iterator[Row]:
    """Runs everything."""
    yield from inclusion_rows()
    yield from accounting_rows()
    yield from long_rows()
    yield from estimator_rows()
    yield probe_row()
    yield crop_row()
    yield training_row()
    for line in (*ensemble_rows(), *projection_rows()):
        yield Row(*line)


def _figure(value: float | None) -> str:
    return "" if value is None else f"{value:,.0f}" if value >= 1000 else f"{value:.3g}"


def _print(rows: list[Row]) -> None:
    table = Table("what", "cropaudit", "plain way", "times faster", "plain way is", "note")
    for row in rows:
        plain = f"{_figure(row.plain)} {row.unit}" if row.plain is not None else ""
        value = f"{_figure(row.value)} {row.unit}"
        table.add_row(row.what, value, plain, _figure(row.ratio), row.beside, row.note)
    # Into a file the table may be as wide as it needs.
    console = Console(width=None if sys.stdout.isatty() else 190)
    console.print(table)
    device = "CUDA" if torch.cuda.is_available() else "no GPU"
    console.print(f"{os.cpu_count()} CPU cores, {torch.get_num_threads()} torch threads, {device}")


def main() -> None:
    """Parses the command line, measures and prints."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument("--json", action="store_true", help="print JSON only")
    arguments = parser.parse_args()
    rows = list(measured())
    if arguments.json:
        print(json.dumps([asdict(row) for row in rows], indent=2))
    else:
        _print(rows)


if __name__ == "__main__":
    main()
