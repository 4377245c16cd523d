"""The options of `cropaudit conform`; what is done with them waits in `conform_command`.

Nothing heavy is imported here: ``--help`` must not wait for it.
"""

from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from cropaudit.accounting.names import CropName, PadMode, SamplerName

__all__ = ["conform"]


def _code(text: str, *names: str) -> Any:
    return typer.Option(*names, help=text, rich_help_panel="Your code, as path.py:Name")


def _claim(text: str, *names: str) -> Any:
    return typer.Option(*names, help=text, rich_help_panel="What is claimed of it")


def _crop(text: str, *names: str) -> Any:
    return typer.Option(*names, help=text, rich_help_panel="The claimed crop in detail")


def _out(text: str, *names: str) -> Any:
    return typer.Option(*names, help=text, rich_help_panel="How, and what comes out")


def conform(
    transform: Annotated[
        str | None, _code("Called on (image, mask): instance, class or factory.")
    ] = None,
    style: Annotated[
        Literal["v2", "v1", "pil", "numpy", "albumentations", "kornia"] | None,
        _code("How it is called; found by trial unless given."),
    ] = None,
    loader: Annotated[
        str | None, _code("make_loader(dataset): batches of (images, masks).")
    ] = None,
    pipeline: Annotated[str | None, _code("train(model, dataset): a whole training run.")] = None,
    model: Annotated[str | None, _code("make_model(): the module that is trained.")] = None,
    loss: Annotated[
        str | None, _code("Of the model: loss(outputs, masks); cross-entropy unless given.")
    ] = None,
    channels_last: Annotated[
        bool, _code("Feed the model channels-last images.", "--channels-last")
    ] = False,
    trainer: Annotated[
        str | None, _code("make_step(model): returns step(images, masks), one update.")
    ] = None,
    mutant: Annotated[
        str | None, _code("Instead of your code: a planted fault (see --list).")
    ] = None,
    image: Annotated[str | None, _claim("Image size HxW; 360x480 unless given.")] = None,
    patch: Annotated[str | None, _claim("Patch size HxW; 20 unless given.")] = None,
    crop: Annotated[
        str | None, _claim("Window size HxW; read off the windows unless given.")
    ] = None,
    rho: Annotated[
        float | None, _claim("Inclusion probability that the accountant was given.")
    ] = None,
    sampler: Annotated[
        SamplerName | None, _claim("How batches are drawn; poisson unless given.")
    ] = None,
    batch: Annotated[int | None, _claim("Batch size, expected under Poisson sampling.")] = None,
    records: Annotated[int | None, _claim("Images in the data set.")] = None,
    steps: Annotated[int | None, _claim("Optimiser steps.")] = None,
    epochs: Annotated[int | None, _claim("Epochs begun.")] = None,
    noise: Annotated[float | None, _claim("Noise multiplier, as in Opacus.")] = None,
    max_grad_norm: Annotated[float | None, _claim("Clipping norm C.")] = None,
    learning_rate: Annotated[float | None, _claim("Of the update.")] = None,
    delta: Annotated[float | None, _claim("Of epsilon; 1e-5 unless given.")] = None,
    claim_epsilon: Annotated[
        float | None, _claim("Claimed epsilon; the accountant's unless given.")
    ] = None,
    crop_law: Annotated[
        CropName | None, _crop("uniform (RandomCrop), resized (RandomResizedCrop), none.")
    ] = None,
    padding: Annotated[
        str | None, _crop("Pixels around the image: 1, 2 or 4 numbers, as torchvision.")
    ] = None,
    padding_mode: Annotated[PadMode | None, _crop("What they show.")] = None,
    pad_if_needed: Annotated[
        bool | None, _crop("Pad images smaller than the window.", "--pad-if-needed")
    ] = None,
    flip: Annotated[float | None, _crop("Probability of a flip before the crop.")] = None,
    scale: Annotated[str | None, _crop("resized: LOW:HIGH share of the area.")] = None,
    ratio: Annotated[str | None, _crop("resized: LOW:HIGH aspect ratio.")] = None,
    crops_per_image: Annotated[int | None, _crop("Crops of one image in one step.")] = None,
    data: Annotated[Path | None, _out("Folder of photographs to replay as well.")] = None,
    level: Annotated[float, _out("Probability of any false alarm.")] = 0.01,
    seed: Annotated[int, _out("Of all draws.")] = 0,
    time_limit: Annotated[float, _out("Seconds that one call of your code may take.")] = 20.0,
    out: Annotated[Path | None, _out("New folder for pictures of counter-examples.")] = None,
    junit: Annotated[Path | None, _out("JUnit XML file.")] = None,
    force: Annotated[bool, _out("Replace files.", "--force")] = False,
    strict: Annotated[bool, _out("Exit 3 unless all that was given passes.", "--strict")] = False,
    list_: Annotated[bool, _out("List checks and planted faults.", "--list")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON only.")] = False,
) -> None:
    """Stress-test crops, samplers, models and trainers: does the theorem's assumption hold?

    Your code runs in a process of its own. Leaves with 1 if a check fails.
    """
    given = {key: value for key, value in locals().items() if value is not None}
    from cropaudit.conform_command import list_all, run_conform

    if list_:
        list_all(as_json=as_json)
        return
    raise typer.Exit(run_conform(given))
