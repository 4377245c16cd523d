"""The command `cropaudit bound`: its options are the settings of a request, and files to write.

They are read by argparse: an answer takes a fraction of a second, as long as typer takes to load
what it converts values with, and the settings convert their own.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn, get_args, get_origin

from cropaudit.accounting.bounds.settings import BoundSettings, Setting, read_settings, settings
from cropaudit.errors import InputError

__all__ = ["bound"]

_FILES = {
    "plot": "Picture of the sweep, else of the privacy profile.",
    "map": "Picture of rho and epsilon over the image.",
    "example": "Photograph to draw the map over.",
    "profile": "CSV of epsilon and delta.",
    "export": "JSON of the mechanism.",
    "mechanism": "Instead of all else: a mechanism that was exported.",
}


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise InputError(f"bound: {message}; see cropaudit bound --help")


def bound(arguments: Sequence[str]) -> None:
    """Compute the amplified patch-level epsilon of a pipeline, or what a target epsilon allows.

    Args:
        arguments: Of the command line, behind the command.

    Raises:
        InputError: If an option is unknown or illegal.
    """
    given = {k: v for k, v in vars(_parser().parse_args(arguments)).items() if v is not None}
    from cropaudit.cli.bound_work import Outputs, epsilon_of_file, run_bound

    as_json, force = given.pop("json"), given.pop("force")
    files = {name: given.pop(name, None) for name in _FILES}
    mechanism, preset = files.pop("mechanism"), given.pop("preset", None)
    outputs = Outputs(**files, force=force, as_json=as_json)
    if mechanism is None:
        run_bound(preset, given, outputs)
        return
    alone = {**given, **outputs.named(), **({"preset": preset} if preset else {})}
    delta = read_settings({"delta": alone.pop("delta", None)}).get("delta")
    epsilon_of_file(mechanism, delta, as_json, alone)


def _parser() -> argparse.ArgumentParser:
    summary = (bound.__doc__ or "").partition("\n")[0]
    usage = "cropaudit bound [OPTIONS]"
    parser = _Parser(usage=usage, description=summary, allow_abbrev=False)
    groups: dict[str, Any] = {}
    for key, (setting, kind) in settings().items():
        if setting.panel:
            group = groups.setdefault(setting.panel, parser.add_argument_group(setting.panel))
            _add(group, key, setting, kind)
    out = groups[settings()["sweeps"][0].panel]
    for name, text in _FILES.items():
        out.add_argument(f"--{name}", type=Path, help=text, metavar="FILE")
    out.add_argument("--preset", help="Take what is not given from a preset or YAML file.")
    out.add_argument("--force", action="store_true", help="Replace files.")
    out.add_argument("--json", action="store_true", help="Print JSON only.")
    return parser


def _add(group: Any, key: str, setting: Setting, kind: Any) -> None:
    """Adds an option of a setting; what is not given stays none, and texts are read later."""
    name = setting.option or f"--{key.replace('_', '-')}"
    text, default = setting.help, getattr(BoundSettings, key)
    if setting.legal:
        text += f" One of {', '.join(word for word in setting.legal if word != 'nonempty')}"
        text += f"; {default} unless given."
    if kind is bool:
        action = argparse.BooleanOptionalAction if default else "store_const"
        more = {} if default else {"const": True}
        group.add_argument(name, dest=key, action=action, default=None, help=text, **more)
        return
    action = "append" if get_origin(kind) is tuple else "store"
    numbers = {int: "N", float: "X"}
    found = [numbers[item] for item in (kind, *get_args(kind)) if item in numbers]
    group.add_argument(
        name, dest=key, action=action, metavar=found[0] if found else "TEXT", help=text
    )
