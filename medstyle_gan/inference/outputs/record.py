"""What a translation was made of: the hashes of its input, its model and its settings."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from medstyle_gan.data.words import Direction
from medstyle_gan.inference.bundles.bundle import joined_state, model_hash
from medstyle_gan.inference.outputs.hashing import hash_facts
from medstyle_gan.inference.translator import Translator


@dataclass(frozen=True)
class Record:
    """The three that decide every voxel.

    Attributes:
        input: sha256 of the input's bytes.
        model: hash of the weights.
        settings: hash of all else.
    """

    input: str
    model: str
    settings: str


def hash_of_model(translator: Translator) -> str:
    """The hash of the weights, also of a translator that came from no bundle."""
    if translator.model_hash is not None:
        return translator.model_hash
    return model_hash(joined_state({d: g.state_dict() for d, g in translator.generators.items()}))


def hash_of_settings(
    translator: Translator, direction: Direction, uncertainty: bool = False
) -> str:
    """The hash of all that shapes a translation beside the weights and the input.

    How many slices go at once is not among it, nor which of two devices computed in the same
    precision, nor the versions of the software (the sidecar tells both).

    Args:
        translator: the model.
        direction: which way.
        uncertainty: whether the uncertainty is asked for, which other checkpoints change.
    """
    config = translator.config
    names = {"dims", "plane", "neighbours", "spacing", "sample_size", "intensity"}
    facts: dict[str, Any] = {
        "direction": direction,
        "precision": translator.precision,
        "data": config.data.model_dump(mode="json", include=names),
        "inference": config.inference.model_dump(mode="json", exclude={"batch_size", "ema"}),
        "channels": translator.channels,
        "scales": {name: scale.as_dict() for name, scale in translator.scales.items()},
        "integer": translator.integer,
        "background": translator.background,
    }
    if uncertainty:
        facts["uncertainty"] = translator.uncertainty_over(direction)
    return hash_facts(facts)
