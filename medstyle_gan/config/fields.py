"""Questions about the config models: which fields are sections, what a field accepts."""

from __future__ import annotations

from collections.abc import Iterator
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

Model = type[BaseModel]

_PLAIN: dict[Any, tuple[str, str]] = {  # type → (one of them, several of them)
    NoneType: ("null", "nulls"),
    bool: ("true or false", "true or false values"),
    int: ("a whole number", "whole numbers"),
    float: ("a number", "numbers"),
    str: ("text", "texts"),
}


def section_models(field: FieldInfo) -> tuple[Model, ...]:
    """Returns the models a field's value may be: none for a plain value, several for a union."""
    annotation = field.annotation
    options = get_args(annotation) if _is_union(annotation) else (annotation,)
    return tuple(o for o in options if isinstance(o, type) and issubclass(o, BaseModel))


def variant_name(model: Model) -> str | None:
    """Returns the value of `name` that selects a model, or None where it has no such field."""
    field = model.model_fields.get("name")
    if field is None or get_origin(field.annotation) is not Literal:
        return None
    names = get_args(field.annotation)
    return str(names[0]) if len(names) == 1 else None


def find_variant(field: FieldInfo, name: object) -> Model | None:
    """Returns the field's model that `name` selects; with a single model, that one."""
    models = section_models(field)
    if len(models) == 1:
        return models[0]
    return next((m for m in models if variant_name(m) == name), None)


def setting_paths(model: Model, prefix: str = "") -> Iterator[str]:
    """Yields the dotted path of every section and setting below a model, unions' all variants."""
    for name, field in model.model_fields.items():
        path = f"{prefix}{name}"
        yield path
        for inner in section_models(field):
            yield from setting_paths(inner, f"{path}.")


def expected(annotation: Any) -> str:
    """Says in words what a field of this type accepts, such as `a list of 2 whole numbers`."""
    origin, args = get_origin(annotation), get_args(annotation)
    if annotation in _PLAIN:
        return _PLAIN[annotation][0]
    if origin is Annotated:
        return expected(args[0])
    if origin is Literal:
        names = ", ".join(str(a) for a in args)
        return names if len(args) == 1 else f"one of {names}"
    if _is_union(annotation):
        return " or ".join(expected(a) for a in args)
    if origin in (list, tuple):
        open_ended = origin is list or args[-1] is Ellipsis
        count = "" if open_ended else f"{len(args)} "
        return f"a list of {count}{_several(args[0])}"
    if origin is dict:
        return f"a mapping of {_several(args[0])} to {_several(args[1])}"
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return "a section"
    return str(annotation)


def _several(annotation: Any) -> str:
    if get_origin(annotation) is Annotated:
        return _several(get_args(annotation)[0])
    if _is_union(annotation):
        return " or ".join(_several(a) for a in get_args(annotation))
    return _PLAIN[annotation][1] if annotation in _PLAIN else "values"


def _is_union(annotation: Any) -> bool:
    return get_origin(annotation) in (Union, UnionType)
