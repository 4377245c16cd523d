"""YAML that a user hands in: plain values only, and no more of them than a configuration has.

A few lines with anchors can stand for gigabytes, and brackets can be nested without end; both are
refused before any value is built.
"""

from typing import Any

import yaml

from cropaudit.errors import InputError, require

__all__ = ["parse_yaml"]

_CHARACTERS = 200_000
_VALUES = 20_000  # with every alias written out
_DEPTH = 50
_FAULTS = (yaml.YAMLError, ValueError, RecursionError)  # ValueError: an impossible date


def parse_yaml(text: str, name: str) -> Any:
    """Returns the value of a YAML text.

    Args:
        text: The text.
        name: What it is, for messages.

    Raises:
        InputError: If it is no YAML, or larger, deeper or more often repeated than is sensible.

    >>> parse_yaml("a: [1, 2]", "config")
    {'a': [1, 2]}
    """
    require(len(text) <= _CHARACTERS, name, f"at most {_CHARACTERS} characters", len(text))
    try:
        _check_events(text, name)
        return yaml.load(text, Loader=_Loader)
    except InputError:
        raise
    except _FAULTS as error:
        raise InputError(f"{name} must be YAML: {' '.join(str(error).split())}") from None


class _Loader(yaml.SafeLoader):
    """Plain values; of a key that is given twice the first value would be lost without a word."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """Builds a mapping whose keys are all different."""
        seen: set[str] = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode):
                if key.value in seen:
                    words = f"the key {key.value[:40]} is given twice"
                    raise yaml.constructor.ConstructorError(None, None, words, key.start_mark)
                seen.add(key.value)
        return super().construct_mapping(node, deep=deep)


def _check_events(text: str, name: str) -> None:
    """Counts values as if each alias were written out, from the parser's events alone."""
    sizes: dict[str, int] = {}
    open_: list[tuple[str | None, int]] = [(None, 0)]  # anchor, values so far

    def close(anchor: str | None, count: int) -> None:
        require(count <= _VALUES, name, f"at most {_VALUES} values, aliases written out", count)
        if anchor is not None:
            sizes[anchor] = count
        above, so_far = open_[-1]
        open_[-1] = (above, so_far + count)

    for event in yaml.parse(text, Loader=yaml.SafeLoader):
        match event:
            case yaml.AliasEvent(anchor=anchor):
                # An anchor that is still open would hold itself.
                inside = any(anchor == outer for outer, _ in open_)
                require(not inside, name, "a value that does not hold itself", f"*{anchor}")
                close(None, sizes.get(str(anchor), 1))
            case yaml.ScalarEvent(anchor=anchor):
                close(anchor, 1)
            case yaml.CollectionStartEvent(anchor=anchor):
                open_.append((anchor, 1))
                require(len(open_) <= _DEPTH, name, f"at most {_DEPTH} deep", len(open_))
            case yaml.CollectionEndEvent():
                anchor, count = open_.pop()
                close(anchor, count)
