"""Bundles out of runs: of their model, or of one of their checkpoints."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from medstyle_gan.config import Config
from medstyle_gan.config.inference_sections import InferenceConfig
from medstyle_gan.data.intensity import FittedScale
from medstyle_gan.data.intensity_map import IntensityMap
from medstyle_gan.data.words import OTHER
from medstyle_gan.errors import UserError
from medstyle_gan.inference import (
    Bundle,
    BundleFormat,
    export_bundle,
    joined_state,
    load_bundle,
)
from medstyle_gan.inference.bundles.generators import generators_of_checkpoint
from medstyle_gan.training.checkpoint import load_checkpoint
from medstyle_gan.training.run_folder import RunFolder


def export(
    model: str | Path,
    out: str | Path,
    format: BundleFormat = "safetensors",
    checkpoint: str | Path | None = None,
    inference: InferenceConfig | None = None,
) -> Path:
    """Write a bundle that holds all that translation needs, apart from this package.

    Args:
        model: a run folder, or a bundle with weights.
        out: the new bundle's folder; must not exist, or be empty.
        format: `safetensors` (weights and YAML), `onnx` (graphs and YAML, extra `onnx`) or
            `monai` (a MONAI bundle around the weights).
        checkpoint: `last` or `best` of the run, or a checkpoint's file, in place of its model.
        inference: settings of translation to put in place of the model's own.

    Returns:
        the folder.

    Raises:
        UserError: for what is no model, a checkpoint that is missing or damaged, a folder that
            is in use, and `onnx` where the extra is missing.
    """
    bundle = load_bundle(model) if checkpoint is None else checkpoint_bundle(model, checkpoint)
    if inference is not None:
        config = bundle.config.model_copy(update={"inference": inference})
        bundle = replace(bundle, config=config)
    return export_bundle(bundle, out, format)


def has_model(model: str | Path) -> bool:
    """Whether a MODEL argument is more than a run that holds checkpoints only.

    True also for what is nothing at all, which `load_bundle` then explains.
    """
    run = RunFolder(Path(model))
    return run.model.is_dir() or not run.checkpoints.any()


def checkpoint_bundle(run: str | Path, checkpoint: str | Path = "last") -> Bundle:
    """The bundle that a run would have left, had it ended at a checkpoint.

    Args:
        run: the run folder.
        checkpoint: `last` (the newest that is intact), `best`, or a file.

    Raises:
        UserError: for a folder without checkpoints, and one that is missing or damaged.
    """
    folder = RunFolder(Path(run))
    if checkpoint in ("last", "best") and not folder.checkpoints.folder.is_dir():
        raise UserError(
            f"{run}: no run with checkpoints; give the run folder that medstyle train wrote"
        )
    if checkpoint == "last":
        state = folder.checkpoints.newest_intact().state
    elif checkpoint == "best":
        if not folder.checkpoints.best.exists():
            raise UserError(
                f"{run}: has no best.ckpt, as nothing was validated yet (training.validate_every) "
                "or nothing was held out; take the checkpoint last"
            )
        state = load_checkpoint(folder.checkpoints.best)
    else:
        state = load_checkpoint(Path(checkpoint))
    return _bundle(state)


def _bundle(state: dict[str, Any]) -> Bundle:
    config = Config.model_validate(state["config"])
    generators = generators_of_checkpoint(state, config.inference.ema)
    known = {domain: state["fingerprint"][domain] for domain in OTHER}
    return Bundle(
        config=config,
        state=joined_state(generators),
        channels={domain: int(facts["channels"]) for domain, facts in known.items()},
        scales={domain: FittedScale.from_dict(facts["scale"]) for domain, facts in known.items()},
        integer={domain: bool(facts["integer"]) for domain, facts in known.items()},
        background={domain: float(facts["background"]) for domain, facts in known.items()},
        pictures={domain: facts["orientations"] == ["picture"] for domain, facts in known.items()},
        steps=int(state["step"]),
        fingerprint=state["fingerprint"],
        versions=_versions(state),
        vgg=state["vgg"],
        intensity_map=IntensityMap.read(state.get("intensity_map")),  # older ones have none
    )


def _versions(state: dict[str, Any]) -> dict[str, str]:
    """Of what made the weights, less of the machine's Python."""
    versions = dict(state["made_with"]["versions"])
    versions.pop("python", None)
    return versions
