"""YAML as it is read and written here: safe, YAML 1.2's plain values, no duplicate keys.

PyYAML follows YAML 1.1, where `off` is false and `1e-4` is text: `wandb: off` and
`learning_rate: 1e-4` would both surprise. Reading uses YAML 1.2's core rules instead.
"""

from __future__ import annotations

import re
from collections.abc import Hashable
from typing import Any

import yaml

_CORE_RULES: tuple[tuple[str, str, str], ...] = (  # tag, pattern, possible first characters
    ("bool", r"true|True|TRUE|false|False|FALSE", "tTfF"),
    ("int", r"[-+]?[0-9]+", "-+0123456789"),
    (
        "float",
        r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?"
        r"|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)",
        "-+.0123456789",
    ),
    ("null", r"~|null|Null|NULL|", "~nN\0"),
)


class _Loader(yaml.SafeLoader):
    """Safe loader with YAML 1.2 values that refuses a key given twice."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen: set[str] = set()
        for key_node, _ in node.value:
            key = str(key_node.value)
            if key in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"the key {key!r} is there twice", key_node.start_mark
                )
            seen.add(key)
        return super().construct_mapping(node, deep)


class _Dumper(yaml.SafeDumper):
    """Safe dumper that quotes what YAML 1.1 *or* 1.2 would read as something else than text."""


def _construct_int(loader: yaml.SafeLoader, node: yaml.ScalarNode) -> int:
    return int(loader.construct_scalar(node))  # YAML 1.2: 010 is ten, not eight


def _represent_text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    # Control characters only survive on one line in double quotes.
    style = None if text.isprintable() else '"'
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Loader.yaml_implicit_resolvers = {}  # none of YAML 1.1's
for _tag, _pattern, _first in _CORE_RULES:
    _rule = re.compile(rf"^(?:{_pattern})$")
    _characters = [c if c != "\0" else "" for c in _first]
    _Loader.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", _rule, _characters)
    _Dumper.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", _rule, _characters)
_Loader.add_constructor("tag:yaml.org,2002:int", _construct_int)
_Dumper.add_representer(str, _represent_text)


def parse_yaml(text: str) -> Any:
    """Parses one YAML document.

    Raises:
        yaml.YAMLError: The text is not YAML, or has a key twice.
    """
    return yaml.load(text, Loader=_Loader)


def yaml_value(value: Any) -> str:
    """Writes a value on one line, so that `parse_yaml` gives it back."""
    text = yaml.dump(
        value, Dumper=_Dumper, default_flow_style=True, allow_unicode=True, width=float("inf")
    )
    return text.removesuffix("\n").removesuffix("\n...")


def yaml_problem(error: yaml.YAMLError) -> str:
    """Says in one line what is wrong with a YAML text, and where."""
    if isinstance(error, yaml.MarkedYAMLError):
        mark = error.problem_mark or error.context_mark
        where = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
        return f"{where}{error.problem or error.context}"
    return " ".join(str(error).split())
