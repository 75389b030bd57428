"""From a YAML file, options and `key.path=value` overrides to one checked `Config`."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ValidationError

from medstyle_gan.config.fields import find_variant
from medstyle_gan.config.mistakes import list_mistakes
from medstyle_gan.config.schema import Config, default_config
from medstyle_gan.config.yaml_text import parse_yaml, yaml_problem
from medstyle_gan.errors import UserError

_KEY = re.compile(r"[A-Za-z_][A-Za-z0-9_-]*(\.[A-Za-z0-9_-]+)*")


def load_config(
    path: str | Path | None = None,
    overrides: Sequence[str] = (),
    *,
    options: Mapping[str, object] | None = None,
    method: str | None = None,
) -> Config:
    """Reads and checks a configuration; later sources win: file, options, overrides.

    A section that is given in part keeps the other defaults. A union's variant is chosen by
    `name`; a setting of another variant is then a mistake. Relative paths inside a config
    are relative to the working directory, not to the file.

    Args:
        path: YAML file, or None for the defaults.
        overrides: `key.path=value`, the value being YAML: `training.steps=3000`,
            `data.spacing=[1.8,1.8,null]`. Of the same key twice, the last counts.
        options: Dotted path → value, from command-line options. None values are left out.
        method: The method where nothing given names one (None: the schema's own default).

    Raises:
        UserError: Lists all mistakes at once, each with its dotted path.
    """
    tree = {} if path is None else _read(Path(path))
    mistakes: list[str] = []
    for key, value in (options or {}).items():
        if value is not None:
            _assign(tree, key, value, mistakes)
    for override in overrides:
        _apply(tree, override, mistakes)
    if method is not None and _method_in(tree) is None and _is_section(tree.get("method")):
        tree["method"] = {**(tree.get("method") or {}), "name": method}
    error: ValidationError | None = None
    config: Config | None = None
    try:
        defaults = default_config(_method_in(tree))
        config = Config.model_validate(_on_defaults(defaults, tree))
    except ValidationError as caught:
        error = caught
    mistakes += list_mistakes(Config, tree, error)
    if mistakes or config is None:
        source = "the configuration" if path is None else str(path)
        if path is not None and (overrides or any(v is not None for v in (options or {}).values())):
            source += " and the settings given with it"
        raise UserError(_report(source, mistakes))
    return config


def given_keys(
    path: str | Path | None = None,
    overrides: Sequence[str] = (),
    *,
    options: Mapping[str, object] | None = None,
) -> tuple[str, ...]:
    """The dotted keys that these sources of `load_config` give, in their order.

    A section given as a whole by an override is one key; a file's are those of its values.

    Raises:
        UserError: the file cannot be read.
    """
    keys = [] if path is None else list(_leaf_keys(_read(Path(path))))
    keys += [key for key, value in (options or {}).items() if value is not None]
    keys += [override.partition("=")[0].strip() for override in overrides]
    return tuple(dict.fromkeys(keys))


def _leaf_keys(tree: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    for name, value in tree.items():
        if isinstance(value, Mapping):
            yield from _leaf_keys(value, f"{prefix}{name}.")
        elif value is not None or prefix:  # a section with all its lines commented out gives none
            yield f"{prefix}{name}"


def _read(path: Path) -> dict[str, Any]:
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise UserError(f"config file {path} does not exist; give a YAML file") from None
    except UnicodeDecodeError:
        raise UserError(f"config file {path} is not UTF-8 text; give a YAML file") from None
    except OSError as error:
        reason = error.strerror or error
        raise UserError(f"config file {path} cannot be read: {reason}") from None
    try:
        tree = parse_yaml(text)
    except yaml.YAMLError as error:
        raise UserError(f"config file {path} is not valid YAML: {yaml_problem(error)}") from None
    if tree is None:  # nothing but comments
        return {}
    if not isinstance(tree, dict):
        kind = "a list" if isinstance(tree, list) else "a single value"
        raise UserError(
            f"config file {path} holds {kind}; it must hold sections such as `training:`"
        )
    return tree


def _apply(tree: dict[str, Any], override: str, mistakes: list[str]) -> None:
    key, equals, text = override.partition("=")
    if not equals or not _KEY.fullmatch(key.strip()):
        mistakes.append(f"{override!r} is not of the form key.path=value")
        return
    try:
        # YAML's alias sign starts many a glob, and aliases have no use on the command line.
        value = text if text.startswith("*") else parse_yaml(text)
    except yaml.YAMLError as error:
        mistakes.append(f"{key}: {text!r} is not a YAML value ({yaml_problem(error)})")
        return
    _assign(tree, key.strip(), value, mistakes)


def _assign(tree: dict[str, Any], key: str, value: object, mistakes: list[str]) -> None:
    *sections, name = key.split(".")
    for depth, section in enumerate(sections):
        inner = tree.get(section)
        if inner is None:
            inner = tree[section] = {}
        if not isinstance(inner, dict):
            parent = ".".join(sections[: depth + 1])
            mistakes.append(f"{key}: {parent} is already given as a value, not as a section")
            return
        tree = inner
    tree[name] = value


def _is_section(value: object) -> bool:
    return value is None or isinstance(value, Mapping)


def _method_in(tree: Mapping[str, Any]) -> object:
    method = tree.get("method")
    return method.get("name") if isinstance(method, Mapping) else None


def _on_defaults(default: BaseModel, given: Mapping[str, Any]) -> dict[str, Any]:
    """Fills what was not given from the defaults, unless another variant was chosen."""
    values: dict[str, Any] = {name: getattr(default, name) for name in type(default).model_fields}
    for key, value in given.items():
        inner = values.get(key)
        if isinstance(inner, BaseModel):
            value = {} if value is None else value  # a section with all its lines commented out
            if isinstance(value, Mapping):
                name = value.get("name", getattr(inner, "name", None))
                variant = find_variant(type(default).model_fields[key], name)
                if variant is type(inner):
                    value = _on_defaults(inner, value)
        values[str(key)] = value
    return values


def _report(source: str, mistakes: Sequence[str]) -> str:
    if len(mistakes) == 1:
        return f"a mistake in {source}: {mistakes[0]}"
    lines = "".join(f"\n  {mistake}" for mistake in mistakes)
    return f"{len(mistakes)} mistakes in {source}:{lines}"
