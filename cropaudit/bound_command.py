"""What `cropaudit bound` does with its options: checks outputs, asks, draws, prints."""

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from cropaudit.accounting.accountant import bracket, told_epsilon
from cropaudit.accounting.crop_laws import WholeImage
from cropaudit.accounting.describe import read_mechanisms, to_json
from cropaudit.accounting.geometry import Crop
from cropaudit.accounting.risk import operational_risk
from cropaudit.bounds.answers import (
    Answer,
    Curve,
    answer,
    objects_answer,
    own_profile,
    place_map,
    profiles,
)
from cropaudit.bounds.requests import BoundRequest, load_request
from cropaudit.bounds.sweeps import Sweep, SweepSpec, parse_sweep, run_sweep
from cropaudit.errors import InputError, require
from cropaudit.reports.bound_summary import bound_document, print_bound, print_objects, print_sweep
from cropaudit.reports.outputs import (
    PICTURE_SUFFIXES,
    PROFILE_SUFFIXES,
    check_output,
    write_output,
    write_profile_csv,
)
from cropaudit.reports.progress import progress_stages

__all__ = ["Outputs", "epsilon_of_file", "load", "run_bound"]

_UNITS = {
    "crop": "side of the crop, pixels",
    "patch": "side of the patch, pixels",
    "padding": "padding, pixels",
    "noise": "noise multiplier",
    "noise-std": "deviation of the noise",
    "augmentation-noise": "deviation of the noise on the pixels",
}


@dataclass(frozen=True)
class Outputs:
    """What `cropaudit bound` writes.

    Attributes:
        plot: Picture of the sweeps, or of the profile if nothing is swept.
        map: Picture of the inclusion probability and epsilon over the image.
        example: A picture to draw the map over.
        profile: CSV of the privacy profile.
        export: JSON of the mechanisms.
        force: Whether files may be replaced.
        as_json: Whether JSON is printed, and nothing else.
    """

    plot: Path | None
    map: Path | None
    example: Path | None
    profile: Path | None
    export: Path | None
    force: bool
    as_json: bool

    def check(self) -> None:
        """Refuses what could not be written, before anything is computed."""
        for name, path, suffixes in (
            ("plot", self.plot, PICTURE_SUFFIXES),
            ("map", self.map, PICTURE_SUFFIXES),
            ("profile", self.profile, PROFILE_SUFFIXES),
            ("export", self.export, (".json",)),
        ):
            if path is not None:
                check_output(path, suffixes, self.force, name=name)
        require(self.example is None or self.map is not None, "example", "given with map", None)


def load(preset: str | None, given: dict[str, Any]) -> BoundRequest:
    """Returns the request of the command line's options.

    Args:
        preset: A preset or YAML file for what is not given.
        given: Options by name.

    Raises:
        InputError: If a phase cannot be read or a value is illegal.
    """
    renamed = {"sweep": "sweeps", "phase": "phases"}
    values = {renamed.get(key, key): value for key, value in given.items()}
    if "phases" in values:
        values["phases"] = [_phase(text) for text in values["phases"]]
    return load_request(preset, values)


def _phase(text: str) -> dict[str, str]:
    pairs = [part.partition("=") for part in text.split(",")]
    legal = all(key and equals and value for key, equals, value in pairs)
    require(legal, "phase", "KEY=VALUE,KEY=VALUE...", text)
    return {key.replace("-", "_"): value for key, _, value in pairs}


def run_bound(request: BoundRequest, outputs: Outputs) -> None:
    """Answers a request, writes what was asked for and prints.

    Raises:
        InputError: If an option is missing or illegal, or an output cannot be written.
    """
    outputs.check()
    specs = [parse_sweep(text) for text in request.sweeps]
    series = parse_sweep(request.series, "series") if request.series is not None else None
    if series is not None:
        require(bool(specs), "series", "given with a sweep", request.series)
    with progress_stages() as stage:
        stage("Bound", 0)
        found = answer(request)
        objects = objects_answer(request, found) if request.objects is not None else None
        sweeps = [_swept(request, spec, series, stage) for spec in specs]
        stage("Files", 0)
        _write(request, found, sweeps, outputs)
    if outputs.as_json:
        print(json.dumps(bound_document(found, sweeps, objects), indent=2, allow_nan=False))
        return
    console = Console()
    print_bound(found, console)
    if objects is not None:
        print_objects(objects, console)
    for sweep in sweeps:
        print_sweep(sweep, console)
    for path in (outputs.plot, outputs.map, outputs.profile, outputs.export):
        if path is not None:
            console.print(f"wrote {path}", highlight=False)


def epsilon_of_file(
    path: Path, delta: float | None, as_json: bool, others: Sequence[str] = ()
) -> None:
    """Prints the epsilon of mechanisms that were exported.

    Args:
        path: The file.
        delta: Target delta.
        as_json: Whether JSON is printed.
        others: Other options that were given, which would be ignored.

    Raises:
        InputError: If the file cannot be read, delta is missing or other options are given.
    """
    if others:
        name = others[0].strip("_").replace("_", "-")
        raise InputError(f"mechanism must be given alone with delta, got {name} as well")
    if delta is None:
        raise InputError("delta must be given, got none")
    with progress_stages() as stage:
        stage("Bound", 0)
        mechanisms = read_mechanisms(path)
        found = bracket(mechanisms, delta)
    values = {
        "adjacency": mechanisms[0].adjacency,
        "is_bound": all(item.is_bound for item in mechanisms),
        "delta": delta,
        "epsilon": _number(told_epsilon(found, delta)),
        "epsilon_lower": _number(found.lower),
        "advantage": operational_risk(found.curve).advantage,
        "mechanisms": json.loads(to_json(mechanisms))["phases"],
    }
    if as_json:
        print(json.dumps(values, indent=2, allow_nan=False))
        return
    console = Console()
    for key in ("adjacency", "delta", "epsilon", "epsilon_lower", "advantage"):
        shown = "infinite" if values[key] is None else values[key]
        console.print(f"{key.replace('_', ' ')}: {shown}", highlight=False)
    if not values["is_bound"]:
        console.print("warning: a short cut, and no bound", style="yellow", highlight=False)


def _number(value: float) -> float | None:
    """Returns a number that JSON has; infinity becomes null."""
    return value if math.isfinite(value) else None


def _swept(
    request: BoundRequest,
    spec: SweepSpec,
    series: SweepSpec | None,
    stage: Callable[[str, int], Callable[[int], object]],
) -> Sweep:
    done, lines = 0, 1 if series is None else len(series.values)
    advance = stage(f"Sweep over {spec.parameter}", lines * len(spec.values))

    def tick() -> None:
        nonlocal done
        done += 1
        advance(done)

    return run_sweep(request, spec, series, tick)


def _write(request: BoundRequest, found: Answer, sweeps: list[Sweep], outputs: Outputs) -> None:
    if outputs.export is not None:
        write_output(outputs.export, (to_json(found.mechanisms) + "\n").encode())
    if outputs.plot is not None and not sweeps:
        curves = profiles(found, request.profile_against)
    else:
        curves = (own_profile(found),) if outputs.profile is not None else ()
    if outputs.profile is not None:
        curve = curves[0]
        write_profile_csv(
            outputs.profile, curve.epsilon.tolist(), curve.delta.tolist(), force=outputs.force
        )
    if outputs.plot is not None:
        _plot(request, found, sweeps, curves, outputs.plot)
    if outputs.map is not None:
        _map(found, outputs.map, outputs.example)


def _plot(
    request: BoundRequest,
    found: Answer,
    sweeps: list[Sweep],
    curves: Sequence[Curve],
    path: Path,
) -> None:
    from cropaudit.reports.bound_data import ProfileCurve, Series, SweepPlot
    from cropaudit.reports.bound_plots import draw_profile, draw_sweeps

    if not sweeps:
        draw_profile(
            [
                ProfileCurve(item.name, item.epsilon, item.delta, at == 0, item.is_bound)
                for at, item in enumerate(curves)
            ],
            path,
        )
        return
    draw_sweeps(
        [
            SweepPlot(
                request.title or "Patch-level epsilon",
                _UNITS.get(sweep.parameter, sweep.parameter),
                sweep.values,
                tuple(
                    Series(
                        line.name or found.bound.sampler, line.epsilon, line.epsilon_without_crop
                    )
                    for line in sweep.series
                ),
                sweep.delta,
            )
            for sweep in sweeps
        ],
        path,
    )


def _map(found: Answer, path: Path, example: Path | None) -> None:
    from cropaudit.reports.bound_data import BoundMap
    from cropaudit.reports.bound_plots import draw_map

    data = place_map(found)
    crop = found.phases[0].pipeline.crop
    window = (crop.size.height, crop.size.width) if isinstance(crop, Crop) else None
    if isinstance(crop, WholeImage):
        window = (data.image.height, data.image.width)
    size = (data.image.height, data.image.width)
    draw_map(
        BoundMap(
            image=size,
            patch=(data.patch.height, data.patch.width),
            crop=window,
            rho=data.rho,
            epsilon=data.epsilon,
            worst=data.worst,
            delta=found.bound.delta,
            example=_picture(example, size) if example is not None else None,
        ),
        path,
    )


def _picture(
    path: Path, size: tuple[int, int]
) -> "np.ndarray[tuple[int, ...], np.dtype[np.uint8]]":
    from PIL import Image

    from cropaudit.accounting.image_sizes import image_size

    found = image_size(path)  # also refuses what is no picture
    fits = (found.height, found.width) == size
    require(fits, "example", f"of the worst image's size {size[0]}x{size[1]}", found)
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB"), dtype=np.uint8)
