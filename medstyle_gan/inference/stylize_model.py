"""The trained model of a style transfer, and what can be set where it is used."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from medstyle_gan.config import Config
from medstyle_gan.config.method_section import AdainConfig
from medstyle_gan.config.schema import default_config
from medstyle_gan.errors import UserError
from medstyle_gan.inference.bundles.bundle import Bundle
from medstyle_gan.inference.bundles.bundle_files import load_bundle
from medstyle_gan.methods import STYLE_TRANSFERS


def find_model(config: Config, model: str | Path | Bundle | None, styles: int) -> Bundle | None:
    """The trained model of a style transfer, checked against what it is to be used for.

    Args:
        config: its `method.name` is used.
        model: what was given with `--model`: a run, or a bundle.
        styles: how many were given.

    Returns:
        None for a method that learns nothing.

    Raises:
        UserError: the method is none that stylises; a model is missing, of another method, or
            given to a method that learns nothing; styles are missing, or given to a method
            whose model has one.
    """
    name = config.method.name
    if name not in STYLE_TRANSFERS:
        raise UserError(
            f"method.name={name} learns a translator and stylises no single picture; use "
            f"medstyle train and translate, or one of {', '.join(STYLE_TRANSFERS)}"
        )
    kind = STYLE_TRANSFERS[name]
    if kind.takes_style and not styles:
        raise UserError("no style given; say what it is to look like with --style STYLE")
    if not kind.takes_style and styles:
        raise UserError(
            f"--style: a model of {name} has the style that it was trained on; leave --style out, "
            "or choose another --method"
        )
    if not kind.learned:
        if model is not None:
            shown = "" if isinstance(model, Bundle) else f" {model}"
            raise UserError(f"--model{shown}: {name} learns nothing, so it has no model")
        return None
    if model is None:
        raise UserError(
            f"{name} needs a trained model; give the run or the bundle with --model (medstyle "
            f"train method.name={name} makes one)"
        )
    bundle = model if isinstance(model, Bundle) else load_bundle(model)
    what = "the model" if isinstance(model, Bundle) else f"--model {model}"
    trained_by = bundle.config.method.name
    if trained_by != name:
        raise UserError(f"{what}: is of {trained_by}, not of {name}; choose another, or --method")
    if bundle.graphs:
        raise UserError(
            f"{what}: is an ONNX bundle, which holds no weights; give the run or the safetensors "
            "bundle that it was made from"
        )
    return bundle


def settings_for_model(config: Config, bundle: Bundle) -> Config:
    """The settings of a trained model, with those that can be others where it is used.

    Args:
        config: what was asked for: of it `stylize`, `inference`, `method.alpha` and `vgg.weights`
            count; weights that have their default are the model's.
        bundle: the model.

    Raises:
        UserError: for other settings that are neither the defaults nor the model's.
    """
    default, own = default_config(config.method.name), bundle.config
    weights = config.vgg.weights
    known = own.vgg.weights if weights == default.vgg.weights else weights
    merged = _with(own, config, known)
    plain = _with(default, config, weights)
    foreign = [
        name
        for name in type(config).model_fields
        if getattr(config, name) not in (getattr(plain, name), getattr(merged, name))
    ]
    if foreign:
        raise UserError(
            f"{', '.join(foreign)}: a trained model brings its own settings; only stylize, "
            "inference, method.alpha (adain) and vgg.weights can be changed"
        )
    return merged


def _with(base: Config, config: Config, weights: str) -> Config:
    """Settings with what may be changed of them taken from a config."""
    alpha: dict[str, Any] = {}
    if isinstance(config.method, AdainConfig):
        alpha = {"alpha": config.method.alpha}
    return base.model_copy(
        update={
            "stylize": config.stylize,
            "inference": config.inference,
            "method": base.method.model_copy(update=alpha),
            "vgg": base.vgg.model_copy(update={"weights": weights}),
        }
    )
