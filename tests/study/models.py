"""Every listed model by every way of per-sample gradients: ``python -m tests.study.models``.

With the default encoder of each, and those that are known to be difficult: is the way exact, and do
two steps train by it? Prints a Markdown table, a row as soon as it is known.
"""

import argparse
import copy

from cropaudit.errors import InputError
from cropaudit.training.mode_support import ALL_MODES, offered_mode
from cropaudit.training.models import MODELS, GradSampleMode, build_model, recipe
from tests.training.test_model_modes import CLASSES, two_steps

NAMES = [*MODELS, "segformer:mit_b0", "unet:mit_b0", "deeplabv3:mobilenet_v3_large", "pspnet:vgg11"]


def cell(name: str, mode: GradSampleMode) -> str:
    """Returns what one way does with one model."""
    model = build_model(name, CLASSES, 0)
    try:
        offered_mode(name, model, mode)
    except InputError as refusal:
        return f"not offered: {str(refusal).rpartition(f'got {mode}: ')[2]}"
    moved = two_steps(copy.deepcopy(model), mode)
    star = " (the recipe's)" if recipe(name).mode == mode else ""
    return f"exact, moved {moved:.3f}{star}"


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(prog="python -m tests.study.models", description=__doc__)
    parser.add_argument("names", nargs="*", default=NAMES, help="models; all unless given")
    print("| model | " + " | ".join(ALL_MODES) + " |\n|---|" + "---|" * len(ALL_MODES))
    for name in parser.parse_args().names:
        print(
            f"| {name} | " + " | ".join(cell(name, mode) for mode in ALL_MODES) + " |", flush=True
        )


if __name__ == "__main__":
    main()
