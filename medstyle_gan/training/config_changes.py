"""What a resumed run may change in its config, and why the rest must stay."""

from __future__ import annotations

from typing import Any

from medstyle_gan.config import Config
from medstyle_gan.config.method_section import TrainedConfig
from medstyle_gan.errors import UserError
from medstyle_gan.methods.schedule import constant_then_linear, weight_factor

# Fields whose change leaves the run what it would have been; everything else must stay.
CHANGEABLE = (
    "data.cache.",
    "data.pairs.folder",
    # Files may move; the collections' contents are compared instead.
    "data.scans",
    "data.style",
    "data.workers",
    # Computes the same values again instead of keeping them.
    "generator.checkpoint_activations",
    "guards.",
    "inference.",
    "logging.",
    "panel.",
    "stylize.",
    "training.checkpoint_every",
    "training.keep_checkpoints",
    "training.max_time",
    "training.validate_every",
    # The file may move; the weights themselves are compared instead.
    "vgg.weights",
)

# Fields that name files, which each machine may have in a place of its own.
PLACES = ("data.scans", "data.style", "data.pairs.folder", "data.cache.folder", "vgg.weights")

_NETWORKS = "the saved weights are those of other networks"
_DEALT = "each process has its own part of every batch"
# The first prefix that fits a refused field gives the reason.
REASONS = (
    ("generator.", _NETWORKS),
    ("discriminator.", _NETWORKS),
    ("registration.", _NETWORKS),
    ("data.dims", _NETWORKS),
    ("data.", "the run would go on with other samples"),
    ("method.name", "another method has other networks and optimisers"),
    ("method.", "the run would go on by other rules than it began with"),
    ("loss.", "the run would go on by other rules than it began with"),
    ("vgg.", "the perceptual and style losses would be measured differently"),
    ("training.warm_start.", "the run would go on with other samples"),
    ("training.validate_on", "scores of two kinds cannot be compared"),
    ("training.seed", "every random choice depends on it"),
    ("training.batch_size", "a step would be other samples"),
    ("training.accumulate", "a step would be other samples"),
    ("training.devices", _DEALT),
    ("training.nodes", _DEALT),
    ("training.accelerator", "another device computes other roundings"),
    ("training.precision", "another arithmetic computes other roundings"),
    ("training.compile", "compiled networks compute other roundings"),
)


def changed_fields(old: Config, new: Config) -> dict[str, tuple[Any, Any]]:
    """Dotted names of fields that differ, with the old and the new value."""
    before, after = (flat_fields(config.model_dump(mode="json")) for config in (old, new))
    keys = dict.fromkeys([*before, *after])
    return {
        key: (before.get(key), after.get(key)) for key in keys if before.get(key) != after.get(key)
    }


def refuse_changes(old: Config, new: Config, step: int) -> dict[str, tuple[Any, Any]]:
    """The changed fields that a resumed run may change, with the old and the new value.

    Args:
        old: of the run so far.
        new: asked for.
        step: steps done.

    Raises:
        UserError: naming every field that must not change, with both values and the reason,
            and those that may.
    """
    changed = changed_fields(old, new)
    refused: dict[str, str] = {}
    for key in changed:
        if key == "training.steps":
            reason = _against_steps(old, new, step)
        elif key.startswith(CHANGEABLE):
            reason = None
        else:
            reason = next((r for prefix, r in REASONS if key.startswith(prefix)), "")
        if reason is not None:
            refused[key] = f" ({reason})" if reason else ""
    if refused:
        lines = [f"  {k}: was {changed[k][0]}, now {changed[k][1]}{r}" for k, r in refused.items()]
        allowed = {key: values for key, values in changed.items() if key not in refused}
        raise UserError(
            "--resume: these fields are not as the run began with and cannot change:\n"
            + "\n".join(lines)
            + "\nput them back (in config.yaml, where it was edited), leave them out, or start a "
            "new run in another folder"
            + (f"; these may change: {_in_short(allowed)}" if allowed else "")
        )
    return changed


def describe_changes(changed: dict[str, tuple[Any, Any]]) -> str:
    """One line on what a resumed run does otherwise than before.

    The paths of collections are left out but for the fact: a line may end in a log.
    """
    return f"changed since the run's checkpoint: {_in_short(changed)}"


def _in_short(changed: dict[str, tuple[Any, Any]]) -> str:
    parts = []
    for key, (was, now) in changed.items():
        parts.append(f"{key} (another place)" if key in PLACES else f"{key} {was} → {now}")
    return ", ".join(parts)


def flat_fields(tree: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """The values of nested dicts by their dotted names."""
    flat: dict[str, Any] = {}
    for key, value in tree.items():
        if isinstance(value, dict):
            flat |= flat_fields(value, f"{prefix}{key}.")
        else:
            flat[prefix + key] = value
    return flat


def _against_steps(old: Config, new: Config, step: int) -> str | None:
    """Why a run at `step` cannot get another length; None where it can.

    The learning rates fall towards `training.steps`. A run may become longer or shorter
    as long as all its steps so far had the rates that they have in a run of the new length.
    """
    if new.training.steps < step:
        return f"the run has done {step} already"
    if not isinstance(old.method, TrainedConfig):
        return None
    fraction = old.method.constant_fraction
    for earlier in range(step):
        was = constant_then_linear(earlier, old.training.steps, fraction)
        if was != constant_then_linear(earlier, new.training.steps, fraction):
            return (
                f"the learning rates fall towards training.steps, and from step {earlier} on they "
                "had other values than in a run of the new length"
            )
        for name, term in old.loss.structure.terms.items():
            was, now = (weight_factor(earlier, c.training.steps, term) for c in (old, new))
            if term.weight and was != now:
                return (
                    f"loss.structure.{name}.weight falls towards training.steps, and from step "
                    f"{earlier} on it had other values than in a run of the new length"
                )
    return None
