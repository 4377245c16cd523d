"""The options of `cropaudit bound`; what is done with them waits in `bound_command`.

Nothing heavy is imported here: ``--help`` must not wait for it.
"""

from pathlib import Path
from typing import Annotated, Any

import typer

from cropaudit.accounting.names import Clipped, CropName, Interpolation, PadMode, SamplerName

__all__ = ["bound"]


def _what(text: str, *names: str) -> Any:
    return typer.Option(*names, help=text, rich_help_panel="What is private")


def _run(text: str, *names: str) -> Any:
    return typer.Option(*names, help=text, rich_help_panel="What runs")


def _crop(text: str, *names: str) -> Any:
    return typer.Option(*names, help=text, rich_help_panel="The crop in detail")


def _out(text: str, *names: str) -> Any:
    return typer.Option(*names, help=text, rich_help_panel="What comes out")


def bound(
    image: Annotated[
        list[str] | None,
        _what("Image size HxW, or a folder of pictures; again for other sizes."),
    ] = None,
    crop: Annotated[
        str | None,
        _what("Window size, HxW (output size if resized)."),
    ] = None,
    patch: Annotated[
        list[str] | None,
        _what(
            "Private patch: HxW, disc:R, mask:FILE.png, boxes:OBJECTS.json#NAME, or 2*HxW "
            "for two at free places; again for alternatives."
        ),
    ] = None,
    batch: Annotated[
        int | None,
        _run("Batch size, expected under Poisson sampling."),
    ] = None,
    records: Annotated[int | None, _run("Images in the data set.")] = None,
    delta: Annotated[float | None, _run("Target delta.")] = None,
    sampler: Annotated[
        SamplerName | None,
        _run("How batches are drawn; poisson unless given."),
    ] = None,
    epochs: Annotated[int | None, _run("Epochs; or give --steps.")] = None,
    steps: Annotated[int | None, _run("Optimiser steps.")] = None,
    drop_last: Annotated[
        bool | None,
        _run("The loader drops the last short batch.", "--drop-last"),
    ] = None,
    noise: Annotated[float | None, _run("Noise multiplier, as in Opacus.")] = None,
    noise_std: Annotated[
        float | None,
        _run("Or the noise's deviation in absolute units."),
    ] = None,
    clip_norm: Annotated[
        float | None,
        _run("Clipping norm C, to check the noise's unit."),
    ] = None,
    target_epsilon: Annotated[
        float | None,
        _run("Epsilon to solve for the one of noise, steps, batch, crop left out."),
    ] = None,
    group: Annotated[
        int | None,
        _run("Images of one person, for a group bound."),
    ] = None,
    phase: Annotated[
        list[str] | None,
        _run("Settings of one phase, as crop=300,noise=0.8,steps=500; again for the next."),
    ] = None,
    crop_law: Annotated[
        CropName | None,
        _crop("uniform (RandomCrop), resized (RandomResizedCrop), none."),
    ] = None,
    padding: Annotated[
        str | None,
        _crop("Pixels around the image: 1, 2 or 4 numbers, as torchvision."),
    ] = None,
    padding_mode: Annotated[PadMode | None, _crop("What they show.")] = None,
    pad_if_needed: Annotated[
        bool | None,
        _crop("Pad images smaller than the window.", "--pad-if-needed"),
    ] = None,
    flip: Annotated[
        float | None,
        _crop("Probability of a horizontal flip before the crop."),
    ] = None,
    vertical_flip: Annotated[float | None, _crop("Of a vertical one.")] = None,
    scale: Annotated[str | None, _crop("resized: LOW:HIGH share of the area.")] = None,
    ratio: Annotated[str | None, _crop("resized: LOW:HIGH aspect ratio.")] = None,
    interpolation: Annotated[Interpolation | None, _crop("resized: the filter.")] = None,
    antialias: Annotated[bool | None, _crop("resized: whether the filter widens.")] = None,
    cut_first: Annotated[
        bool | None,
        _crop("resized: whether the window is cut out before it is resized."),
    ] = None,
    crops_per_image: Annotated[int | None, _crop("Crops of one image in one step.")] = None,
    clipped: Annotated[
        Clipped | None,
        _crop("Those crops' gradients: averaged first, or apart."),
    ] = None,
    augmentation_noise: Annotated[
        float | None,
        _crop("Deviation of Gaussian noise on pixels of 0 to 255."),
    ] = None,
    objects: Annotated[
        str | None,
        _out("Objects file (JSON boxes) to set beside the patch."),
    ] = None,
    sweep: Annotated[
        list[str] | None,
        _out("Vary a setting, as crop=100:700:50 or noise=1,2,4."),
    ] = None,
    series: Annotated[
        str | None,
        _out("A line for each of these, as noise=1,2,4."),
    ] = None,
    plot: Annotated[
        Path | None,
        _out("Picture of the sweep, else of the privacy profile."),
    ] = None,
    map_: Annotated[
        Path | None,
        _out("Picture of rho and epsilon over the image.", "--map"),
    ] = None,
    example: Annotated[Path | None, _out("Photograph to draw the map over.")] = None,
    profile: Annotated[Path | None, _out("CSV of epsilon and delta.")] = None,
    export: Annotated[Path | None, _out("JSON of the mechanism.")] = None,
    mechanism: Annotated[
        Path | None,
        _out("Instead of all else: a mechanism that was exported."),
    ] = None,
    preset: Annotated[
        str | None,
        _out("Take what is not given from a preset or YAML file (paper-...)."),
    ] = None,
    force: Annotated[bool, _out("Replace files.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON only.")] = False,
) -> None:
    """Compute the amplified patch-level epsilon of a pipeline, or what a target epsilon allows."""
    given = {key: value for key, value in locals().items() if value is not None}
    from cropaudit.bound_command import Outputs, epsilon_of_file, load, run_bound

    if mechanism is not None:
        alone = {"mechanism", "delta", "as_json", "force"}
        epsilon_of_file(mechanism, delta, as_json, sorted(set(given) - alone))
        return
    for key in ("map_", "plot", "example", "profile", "export", "force", "as_json", "preset"):
        given.pop(key, None)
    request = load(preset, given)
    run_bound(request, Outputs(plot, map_, example, profile, export, force, as_json))
