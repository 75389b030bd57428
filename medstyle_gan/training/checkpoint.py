"""Checkpoints: all that a training needs to go on as if it had never stopped."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from medstyle_gan.config import Config
from medstyle_gan.errors import UserError
from medstyle_gan.methods import CycleGAN
from medstyle_gan.volumes import atomic_file

FORMAT_VERSION = 1


def save_checkpoint(
    path: Path,
    method: CycleGAN,
    optimizers: list[torch.optim.Optimizer],
    metrics: dict[str, Any],
    best: dict[str, Any] | None,
    guards: dict[str, Any],
) -> None:
    """Write a checkpoint under a temporary name, then rename it: never half a file.

    It holds plain tensors, numbers and strings only, so that it loads with
    `torch.load(weights_only=True)` and can carry no code.

    Args:
        path: the file to write.
        method: the method with its networks, moving average, pools and step count.
        optimizers: in the method's order.
        metrics: the interval of `metrics.csv` that is under way.
        best: score and step of the best validation so far.
        guards: what the guards have told and measured.

    Raises:
        UserError: when the disk refuses the file; what stood at `path` stays.
    """
    state = {
        "format_version": FORMAT_VERSION,
        "method": method.config.method.name,
        "step": method.step,
        "config": method.config.model_dump(mode="json"),
        "channels": method.channels,
        "networks": {
            name: module.state_dict() for name, module in method.trained_networks().items()
        },
        "ema": method.ema.state_dict(),
        "optimizers": [optimizer.state_dict() for optimizer in optimizers],
        "pools": {domain: pool.state_dict() for domain, pool in method.pools.items()},
        "torch_rng": torch.get_rng_state(),
        "metrics": metrics,
        "best": best,
        "guards": guards,
    }
    with atomic_file(path) as file:
        try:
            torch.save(state, file)
        except RuntimeError as error:
            # Closing its archive, torch stumbles over what the disk refused and hides it.
            if isinstance(error.__context__, OSError):
                raise error.__context__ from None
            raise


def load_checkpoint(path: Path) -> dict[str, Any]:
    """Read a checkpoint's contents.

    Raises:
        UserError: for a file that is missing, damaged, or from another format.
    """
    if not path.exists():
        raise UserError(
            f"{path}: there is none, the run stopped before its first checkpoint; remove its "
            "folder and start again without --resume"
        )
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        raise UserError(
            f"{path}: not a readable checkpoint ({type(error).__name__}); it is damaged or "
            "was not written by medstyle train"
        ) from error
    version = state.get("format_version") if isinstance(state, dict) else None
    if version != FORMAT_VERSION:
        raise UserError(
            f"{path}: checkpoint format {version} is not this version's ({FORMAT_VERSION})"
        )
    return dict(state)


def restore_networks(method: CycleGAN, state: dict[str, Any]) -> None:
    """Take over all but the optimisers, which do not exist before the training starts."""
    for name, module in method.trained_networks().items():
        module.load_state_dict(state["networks"][name])
    method.ema.load_state_dict(state["ema"])
    for domain, pool in method.pools.items():
        pool.load_state_dict(state["pools"][domain])
    method.step = state["step"]


# Fields whose change leaves the run comparable; everything else must stay as it was.
CHANGEABLE = (
    "data.cache.",
    "data.pairs.folder",
    "data.scans",
    "data.style",
    "data.workers",
    "guards.",
    "inference.",
    "logging.",
    "training.checkpoint_every",
    "training.max_time",
    "training.validate_every",
)


_ON_STEPS = (
    "; the learning rates fall towards training.steps from the first step on, so that a run "
    "made longer is another run"
)


def changed_fields(old: Config, new: Config) -> dict[str, tuple[Any, Any]]:
    """Dotted names of fields that differ, with the old and the new value."""
    before, after = _flat(old.model_dump(mode="json")), _flat(new.model_dump(mode="json"))
    keys = dict.fromkeys([*before, *after])
    return {
        key: (before.get(key), after.get(key)) for key in keys if before.get(key) != after.get(key)
    }


def refuse_changes(old: Config, new: Config) -> list[str]:
    """Names of the changed fields that a resumed run may change.

    Raises:
        UserError: naming every field that must not change, with both values.
    """
    changed = changed_fields(old, new)
    refused = {key: pair for key, pair in changed.items() if not key.startswith(CHANGEABLE)}
    if refused:
        lines = [f"  {key}: was {was}, now {now}" for key, (was, now) in refused.items()]
        raise UserError(
            "--resume: these fields differ from the run's config.yaml and cannot change:\n"
            + "\n".join(lines)
            + "\nleave them out, or start a new run in another folder"
            + (_ON_STEPS if "training.steps" in refused else "")
        )
    return list(changed)


def _flat(tree: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in tree.items():
        if isinstance(value, dict):
            flat |= _flat(value, f"{prefix}{key}.")
        else:
            flat[prefix + key] = value
    return flat
