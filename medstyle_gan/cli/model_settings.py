"""Settings of a trained model: its own, of which only the section `inference` can be changed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from medstyle_gan.errors import UserError

if TYPE_CHECKING:
    from medstyle_gan.config import Config


def resolve_inference(config: Config, file: str | None, overrides: list[str]) -> Config:
    """The model's config with the inference section of a file, or its own, overridden.

    Args:
        config: the model's.
        file: a YAML file that takes the place of the model's inference section; None for none.
        overrides: `inference.KEY=VALUE`.

    Raises:
        UserError: for other settings, and for weights that the model does not hold.
    """
    from medstyle_gan.config import load_config

    foreign = [o for o in overrides if not o.startswith("inference.")]
    if foreign:
        raise UserError(
            f"{', '.join(foreign)}: a trained model brings its own settings; of these only "
            "inference.KEY=VALUE can be changed"
        )
    own = {f"inference.{key}": value for key, value in config.inference.model_dump().items()}
    if file:  # in place of the model's settings, but for which weights the model holds
        own = {"inference.ema": config.inference.ema}
    inference = load_config(file, overrides, options=own).inference
    if inference.ema != config.inference.ema:
        raise UserError(
            f"inference.ema={str(inference.ema).lower()}: the model was saved with "
            f"{str(config.inference.ema).lower()} and holds only those weights; leave it out"
        )
    return config.model_copy(update={"inference": inference})
