"""A config as YAML that explains itself and that `load_config` gives back exactly."""

from __future__ import annotations

from collections.abc import Iterator

from pydantic import BaseModel

from medstyle_gan.config.schema import Config
from medstyle_gan.config.yaml_text import yaml_value

_COMMENT_COLUMN = 42


def dump_config(config: Config) -> str:
    """Writes every setting as YAML, each field's description as a comment behind it."""
    return "".join(f"{line}\n" for line in _lines(config, indent=""))


def _lines(section: BaseModel, indent: str) -> Iterator[str]:
    for name, field in type(section).model_fields.items():
        value = getattr(section, name)
        nested = isinstance(value, BaseModel)
        if isinstance(value, tuple):
            value = list(value)
        line = f"{indent}{name}:" if nested else f"{indent}{name}: {yaml_value(value)}"
        if field.description:
            line = f"{line:<{_COMMENT_COLUMN}}  # {field.description}"
        yield line
        if nested:
            yield from _lines(value, f"{indent}  ")
