"""The JSON beside every translation, which says that it is synthetic and how it was made.

It holds neither a path nor any text of the input's header.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from medstyle_gan.errors import UserError
from medstyle_gan.inference.bundles.bundle import package_versions
from medstyle_gan.inference.outputs.record import Record
from medstyle_gan.inference.translation import Translation
from medstyle_gan.inference.translator import Translator
from medstyle_gan.volumes import atomic_file

NOTE = "Made by a generative model, not acquired; not for diagnosis."
PNG_TEXT = "Synthetic"  # the keyword that a PNG's metadata has it under


def describe_translation(
    translator: Translator,
    translation: Translation[Any],
    dtype: str,
    record: Record,
    seconds: float,
    warnings: Sequence[str] = (),
) -> dict[str, Any]:
    """What a sidecar says of one translation.

    Args:
        translator: what made it.
        translation: the translation.
        dtype: type of the voxels as written.
        record: hashes of the input, the model and the settings.
        seconds: time of reading and translating.
        warnings: what is noteworthy, without names or paths.
    """
    facts: dict[str, Any] = {
        "synthetic": True,
        "note": NOTE,
        "direction": translation.direction,
        "model": {
            "hash": record.model,
            "method": translator.config.method.name,
            "steps": translator.steps,
        },
        "settings_sha256": record.settings,
        "input_sha256": record.input,
        "intensity": {
            "input_scale": translation.input_scale.as_dict(),
            "output_scale": translation.output_scale.as_dict(),
            "background": translation.background,
            "dtype": dtype,
        },
        "clipped_voxels": asdict(translation.clipped),
        "precision": translator.precision,
        "device": translator.device.type,
        "seconds": round(seconds, 3),
        "warnings": list(warnings),
        "versions": package_versions(),
    }
    if translation.gradient_correlation is not None:
        facts["structure"] = {
            "what": "a local affine map of the input (guided filter); least correlation of a "
            "slice's gradients with the input's",
            "gradient_correlation": round(translation.gradient_correlation, 4),
        }
    if translation.uncertainty is not None:
        facts["uncertainty"] = {
            "what": "standard deviation (of a sample, over n - 1) of n translations of the input, "
            "each voxel's; 0 outside the body; of colour the root mean square over channels",
            "unit": "that of the translation",
            "over": translator.uncertainty_over(translation.direction),
        }
    return facts


def refuse_other_json(path: Path) -> None:
    """Refuse to replace what is no sidecar.

    Raises:
        UserError: a file of that name is someone else's.
    """
    if path.exists() and not is_sidecar(path):
        raise UserError(
            f"{path}: a JSON file that is no sidecar of ours stands where the sidecar "
            "goes; choose another output folder"
        )


def write_sidecar(path: Path, facts: dict[str, Any]) -> None:
    """Write a sidecar, whole or not at all.

    Raises:
        UserError: where a file of that name is someone else's, and when it cannot be written.
    """
    refuse_other_json(path)
    with atomic_file(path) as file:
        file.write((json.dumps(facts, indent=2) + "\n").encode())


def is_sidecar(path: Path) -> bool:
    """Whether a file is a sidecar that this product wrote, of whatever it made."""
    return bool(read_facts(path))


def read_facts(path: Path) -> dict[str, Any]:
    """What a sidecar of ours says, of whatever it is; nothing where there is none."""
    facts = _read(path)
    return facts if facts.get("synthetic") is True and "note" in facts else {}


def read_sidecar(path: Path) -> dict[str, Any]:
    """What a translation's sidecar says; nothing where there is none, or another file."""
    facts = _read(path)
    return facts if facts.get("synthetic") is True and "direction" in facts else {}


def _read(path: Path) -> dict[str, Any]:
    try:
        facts = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return facts if isinstance(facts, dict) else {}
