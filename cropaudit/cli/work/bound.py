"""What `cropaudit bound` does with its options: checks outputs, asks, draws, prints."""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cropaudit.accounting.bounds.accountant import bracket, told_epsilon
from cropaudit.accounting.bounds.answers import BoundResult, answer, own_profile, profiles
from cropaudit.accounting.bounds.requests import BoundRequest, load_request
from cropaudit.accounting.bounds.risk import operational_risk
from cropaudit.accounting.mechanisms.registry import read_mechanisms, to_json
from cropaudit.errors import InputError, require
from cropaudit.reports.progress import progress_stages

if TYPE_CHECKING:
    import numpy as np

__all__ = ["Outputs", "epsilon_of_file", "run_bound"]


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

    def named(self) -> dict[str, Path]:
        """Returns the files that were named, by option."""
        names = ("plot", "map", "profile", "export", "example")
        files = {name: getattr(self, name) for name in names}
        return {name: path for name, path in files.items() if path is not None}

    def check(self) -> None:
        """Refuses what could not be written, before anything is computed."""
        require(self.example is None or self.map is not None, "example", "given with map", None)
        for name, path in self.named().items():
            from cropaudit.reports.outputs import PICTURE_SUFFIXES, PROFILE_SUFFIXES, check_output

            suffixes = {"profile": PROFILE_SUFFIXES, "export": (".json",)}
            if name != "example":
                check_output(path, suffixes.get(name, PICTURE_SUFFIXES), self.force, name=name)


def run_bound(preset: str | None, given: Mapping[str, Any], outputs: Outputs) -> None:
    """Answers a request, writes what was asked for and prints.

    Raises:
        InputError: If an option is missing or illegal, or an output cannot be written.
    """
    request = load_request(preset, given)
    outputs.check()
    with progress_stages() as stage:
        found = answer(request, stage)
        stage("Files", 0)
        _write(request, found, outputs)
    if outputs.as_json:
        print(json.dumps(found.to_dict(), indent=2, allow_nan=False))
        return
    from rich.console import Console

    from cropaudit.reports.summaries.bound import print_bound, print_objects, print_sweep

    console = Console()
    print_bound(found, console)
    if found.objects is not None:
        print_objects(found.objects, console)
    for sweep in found.sweeps:
        print_sweep(sweep, console)
    for name, path in outputs.named().items():
        if name != "example":
            console.print(f"wrote {path}", highlight=False)


def epsilon_of_file(
    path: Path, delta: float | None, as_json: bool, others: Mapping[str, Any]
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
        name = min(others).replace("_", "-")
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
    from rich.console import Console

    console = Console()
    for key in ("adjacency", "delta", "epsilon", "epsilon_lower", "advantage"):
        shown = "infinite" if values[key] is None else values[key]
        console.print(f"{key.replace('_', ' ')}: {shown}", highlight=False)
    if not values["is_bound"]:
        console.print("warning: a short cut, and no bound", style="yellow", highlight=False)


def _number(value: float) -> float | None:
    """Returns a number that JSON has; infinity becomes null."""
    return value if math.isfinite(value) else None


def _write(request: BoundRequest, found: BoundResult, outputs: Outputs) -> None:
    if not outputs.named():
        return
    from cropaudit.reports.outputs import write_output, write_profile_csv

    if outputs.export is not None:
        write_output(outputs.export, (to_json(found.mechanisms) + "\n").encode())
    if outputs.profile is not None:
        own = own_profile(found)
        epsilon, delta = own.epsilon.tolist(), own.delta.tolist()
        write_profile_csv(outputs.profile, epsilon, delta, force=outputs.force)
    if outputs.plot is not None:
        _plot(request, found, outputs.plot)
    if outputs.map is not None:
        _map(found, outputs.map, outputs.example)


def _plot(request: BoundRequest, found: BoundResult, path: Path) -> None:
    from cropaudit.reports.pictures.bound_plots import SweepPanel, curves_drawing, sweeps_drawing

    title, name = request.title or "Patch-level epsilon", found.bound.sampler
    panels = [SweepPanel(title, sweep, name) for sweep in found.sweeps]
    if panels:
        sweeps_drawing(panels).save(path)
    else:
        curves_drawing(profiles(found, request.profile_against)).save(path)


def _map(found: BoundResult, path: Path, example: Path | None) -> None:
    from cropaudit.accounting.bounds.answers import place_map
    from cropaudit.accounting.geometry.crop_laws import WholeImage
    from cropaudit.accounting.geometry.shapes import Crop
    from cropaudit.reports.pictures.bound_plots import map_drawing

    data = place_map(found)
    crop = found.phases[0].pipeline.crop
    size = (data.image.height, data.image.width)
    window = (crop.size.height, crop.size.width) if isinstance(crop, Crop) else None
    window = size if isinstance(crop, WholeImage) else window
    shown = None if example is None else _picture(example, size)
    map_drawing(data, found.bound.delta, window, shown).save(path)


def _picture(
    path: Path, size: tuple[int, int]
) -> "np.ndarray[tuple[int, ...], np.dtype[np.uint8]]":
    import numpy as np
    from PIL import Image

    from cropaudit.accounting.geometry.image_sizes import image_size

    found = image_size(path)  # also refuses what is no picture
    fits = (found.height, found.width) == size
    require(fits, "example", f"of the worst image's size {size[0]}x{size[1]}", found)
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB"), dtype=np.uint8)
