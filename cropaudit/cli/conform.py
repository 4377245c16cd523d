"""The options of `cropaudit conform`; what is done with them waits in `cli.work`.

An option is named as the field of `Subjects` or `PipelineClaim` that it sets, whatever its flag.
Nothing heavy is imported here: ``--help`` must not wait for it.
"""

from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from cropaudit.accounting.names import CropName, PadMode, SamplerName

__all__ = ["conform"]

Style = Literal["v2", "v1", "pil", "numpy", "albumentations", "kornia"]
Text = str | None
Whole = int | None
Number = float | None


def _code(text: str, *names: str) -> Any:
    return typer.Option(*names, help=text, rich_help_panel="Your code, as path.py:Name")


def _claim(text: str, *names: str) -> Any:
    return typer.Option(*names, help=text, rich_help_panel="What is claimed of it")


def _crop(text: str, *names: str) -> Any:
    return typer.Option(*names, help=text, rich_help_panel="The claimed crop in detail")


def _out(text: str, *names: str) -> Any:
    return typer.Option(*names, help=text, rich_help_panel="How, and what comes out")


def conform(
    context: typer.Context,
    transform: Annotated[
        Text, _code("Called on (image, mask): instance, class or factory.")
    ] = None,
    style: Annotated[Style | None, _code("How it is called; found by trial unless given.")] = None,
    loader: Annotated[Text, _code("make_loader(dataset): batches of (images, masks).")] = None,
    pipeline: Annotated[Text, _code("train(model, dataset): a whole training run.")] = None,
    model: Annotated[Text, _code("make_model(): the module that is trained.")] = None,
    loss: Annotated[Text, _code("loss(outputs, masks); cross-entropy unless given.")] = None,
    channels_last: Annotated[
        bool, _code("Feed it channels-last images.", "--channels-last")
    ] = False,
    trainer: Annotated[Text, _code("make_step(model): step(images, masks), one update.")] = None,
    mutant: Annotated[Text, _code("Instead of your code: a planted fault (see --list).")] = None,
    image: Annotated[Text, _claim("Image size HxW; 360x480 unless given.")] = None,
    patch: Annotated[Text, _claim("Patch size HxW; 20 unless given.")] = None,
    crop: Annotated[Text, _claim("Window size HxW; read off the windows unless given.")] = None,
    inclusion: Annotated[
        Number, _claim("Inclusion probability that the accountant was given.", "--rho")
    ] = None,
    sampler: Annotated[
        SamplerName | None, _claim("How batches are drawn; poisson unless given.")
    ] = None,
    batch: Annotated[Whole, _claim("Batch size, expected under Poisson sampling.")] = None,
    records: Annotated[Whole, _claim("Images in the data set.")] = None,
    steps: Annotated[Whole, _claim("Optimiser steps.")] = None,
    epochs: Annotated[Whole, _claim("Epochs begun.")] = None,
    noise_multiplier: Annotated[
        Number, _claim("Noise multiplier, as in Opacus.", "--noise")
    ] = None,
    max_grad_norm: Annotated[Number, _claim("Clipping norm C.")] = None,
    learning_rate: Annotated[Number, _claim("Of the update.")] = None,
    delta: Annotated[Number, _claim("Of epsilon; 1e-5 unless given.")] = None,
    epsilon: Annotated[
        Number, _claim("Claimed epsilon; the accountant's unless given.", "--claim-epsilon")
    ] = None,
    crop_law: Annotated[
        CropName | None, _crop("uniform (RandomCrop), resized (RandomResizedCrop), none.")
    ] = None,
    padding: Annotated[Text, _crop("Pixels around it: 1, 2 or 4 numbers, as torchvision.")] = None,
    padding_mode: Annotated[PadMode | None, _crop("What they show.")] = None,
    pad_if_needed: Annotated[
        bool | None, _crop("Pad images smaller than the window.", "--pad-if-needed")
    ] = None,
    flip: Annotated[Number, _crop("Probability of a flip before the crop.")] = None,
    scale: Annotated[Text, _crop("resized: LOW:HIGH share of the area.")] = None,
    ratio: Annotated[Text, _crop("resized: LOW:HIGH aspect ratio.")] = None,
    crops: Annotated[Whole, _crop("Crops of one image in one step.", "--crops-per-image")] = None,
    data: Annotated[Path | None, _out("Folder of photographs to replay as well.")] = None,
    level: Annotated[float, _out("Probability of any false alarm.")] = 0.01,
    seed: Annotated[int, _out("Of all draws.")] = 0,
    call_limit: Annotated[float, _out("Seconds that one call may take.", "--time-limit")] = 20.0,
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
    from cropaudit.cli.work.conform import list_all, run_conform

    if list_:
        list_all(as_json=as_json)
        return
    flags = {item.name: item.opts[0].lstrip("-") for item in given.pop("context").command.params}
    raise typer.Exit(run_conform(given, flags))
