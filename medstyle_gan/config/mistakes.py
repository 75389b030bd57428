"""Turns pydantic's complaints into one line a mistake: dotted path, what to give, nearest name."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

from pydantic import ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from medstyle_gan.config.fields import (
    Model,
    expected,
    find_variant,
    section_models,
    setting_paths,
    variant_name,
)

_BOUNDS = {
    "greater_than_equal": ("at least", "ge"),
    "greater_than": ("above", "gt"),
    "less_than_equal": ("at most", "le"),
    "less_than": ("below", "lt"),
}


@dataclass(frozen=True)
class _Place:
    """Where a mistake is: path with union tags removed, the model around it, the field if known."""

    path: str
    owner: Model
    field: FieldInfo | None
    choice: FieldInfo | None  # the union field that `owner` was chosen for, if it was
    index: int | None  # position in a list


def list_mistakes(root: Model, raw: Mapping[str, Any], error: ValidationError | None) -> list[str]:
    """Returns every mistake in `raw`, one line each, in a stable order and without repeats.

    Args:
        root: The model that `raw` was validated against.
        raw: The values as the user gave them.
        error: Pydantic's findings, or None if it found nothing.
    """
    found: dict[str, str] = {}
    for details in error.errors(include_url=False) if error else ():
        place = _locate(root, details["loc"])
        path, message = _explain(root, place, details, raw)
        found.setdefault(path, message)
    for path, message in _misused_booleans(root, raw):
        found.setdefault(path, message)
    return [f"{path}: {message}" for path, message in found.items()]


def _locate(root: Model, location: Sequence[int | str]) -> _Place:
    names: list[str] = []
    owner, field, choice, next_choice, index = root, None, None, None, None
    model: Model | None = root
    rest = list(location)
    while rest:
        key = rest.pop(0)
        if model is None:  # inside a plain value: list positions, or pydantic's labels of types
            if isinstance(key, int) and index is None:
                index = key
            else:
                break
            continue
        names.append(str(key))
        owner, choice = model, next_choice
        field = model.model_fields.get(str(key))
        if field is None:
            break
        models = section_models(field)
        next_choice = field if len(models) > 1 else None
        if len(models) > 1:
            model = find_variant(field, rest.pop(0)) if rest else None
        else:
            model = models[0] if models else None
    return _Place(".".join(names), owner, field, choice, index)


def _explain(
    root: Model, place: _Place, details: ErrorDetails, raw: Mapping[str, Any]
) -> tuple[str, str]:
    """Returns the path to show and the message."""
    kind, context = details["type"], details.get("ctx", {})
    if kind == "extra_forbidden" or (place.field is None and place.path):
        return place.path, _unknown(root, place)
    if kind in ("union_tag_invalid", "union_tag_not_found"):
        return f"{place.path}.name", _bad_choice(place, context.get("tag"))
    if kind == "value_error":
        return place.path, str(context["error"])
    if kind in _BOUNDS:
        words, bound = _BOUNDS[kind]
        path = place.path if place.index is None else f"{place.path}[{place.index}]"
        return path, f"must be {words} {context[bound]:.10g}, not {_shown(details['input'])}"
    if kind == "finite_number":
        return place.path, f"must be a finite number, not {_shown(details['input'])}"
    given = _value_at(raw, place.path, details["input"])
    hint = ""
    if kind == "literal_error" and isinstance(given, str) and place.field is not None:
        hint = _did_you_mean(given, _literals(place.field))
    wanted = expected(place.field.annotation) if place.field else "something else"
    if place.field is not None and section_models(place.field):
        wanted = f"a section with {', '.join(section_models(place.field)[0].model_fields)}"
    return place.path, f"must be {wanted}, not {_shown(given)}{hint}"


def _unknown(root: Model, place: _Place) -> str:
    section, _, key = place.path.rpartition(".")
    prefix = f"{section}." if section else ""
    if place.choice is not None:
        current = variant_name(place.owner)
        others = [
            name
            for model in section_models(place.choice)
            if (name := variant_name(model)) and key in model.model_fields
        ]
        if others:
            return (
                f"no setting of {prefix}name={current} (it belongs to {' and '.join(others)}); "
                f"remove it or choose {prefix}name={others[0]}"
            )
    siblings = list(place.owner.model_fields)
    near = get_close_matches(key.lower(), siblings, n=1)
    if near:
        return f"unknown setting; did you mean {prefix}{near[0]}?"
    paths = list(dict.fromkeys(setting_paths(root)))
    elsewhere = [p for p in paths if p.rpartition(".")[2] == key.lower()]
    elsewhere = elsewhere or get_close_matches(place.path.lower(), paths, n=1, cutoff=0.75)
    if elsewhere:
        return f"unknown setting; did you mean {' or '.join(elsewhere[:3])}?"
    where = f"{section} has" if section else "the sections are"
    return f"unknown setting; {where} {', '.join(siblings)}"


def _bad_choice(place: _Place, given: object) -> str:
    models = section_models(place.field) if place.field else ()
    names = [name for model in models if (name := variant_name(model))]
    return f"must be one of {', '.join(names)}, not {_shown(given)}" + _did_you_mean(
        str(given), names
    )


def _misused_booleans(
    model: Model, raw: Mapping[str, Any], prefix: str = ""
) -> Iterator[tuple[str, str]]:
    # pydantic reads true as 1 where a number belongs; here that is a mistake.
    for key, value in raw.items():
        field = model.model_fields.get(str(key))
        if field is None:
            continue
        path = f"{prefix}{key}"
        if isinstance(value, Mapping):
            inner = find_variant(field, value.get("name", _default_name(field)))
            if inner is not None:
                yield from _misused_booleans(inner, value, f"{path}.")
        elif field.annotation is not bool:
            items = value if isinstance(value, list | tuple) else [value]
            if any(isinstance(item, bool) for item in items):
                yield path, f"must be {expected(field.annotation)}, not {_shown(value)}"


def _default_name(field: FieldInfo) -> object:
    """Of the variant that a union has where none is named."""
    return getattr(field.get_default(call_default_factory=True, validated_data={}), "name", None)


def _literals(field: FieldInfo) -> list[str]:
    words = expected(field.annotation).removeprefix("one of ")
    return words.split(", ")


def _did_you_mean(given: str, names: Sequence[str]) -> str:
    near = get_close_matches(given.lower(), names, n=1)
    return f"; did you mean {near[0]}?" if near else ""


def _value_at(raw: Mapping[str, Any], path: str, otherwise: object) -> object:
    value: object = raw
    for name in path.split("."):
        if not isinstance(value, Mapping) or name not in value:
            return otherwise
        value = value[name]
    return value


def _shown(value: object) -> str:
    text = json.dumps(value, default=str, ensure_ascii=False)
    return text if len(text) <= 60 else f"{text[:57]}..."
