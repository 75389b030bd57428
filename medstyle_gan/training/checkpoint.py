"""Checkpoints: all that a training needs to go on as if it had never stopped."""

from __future__ import annotations

import pickle
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from medstyle_gan.errors import UserError
from medstyle_gan.methods import TrainedMethod
from medstyle_gan.methods.image_pool import merge_states
from medstyle_gan.volumes import atomic_file

# Raise it when the contents change so that older ones cannot be gone on from.
FORMAT_VERSION = 4
# What each holds; `training_state` says what it is.
PARTS = {"method", "step", "counters", "config", "networks", "ema", "optimizers", "precision"}
PARTS |= {"pools", "ranks", "best", "guards", "fingerprint", "vgg", "made_with"}


class DamagedCheckpoint(UserError):
    """A file that is cut short or whose bytes are not those that were written.

    Attributes:
        in_short: the message without the folder.
    """

    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(f"{path}: {reason}")
        self.in_short = f"{path.name}: {reason}"


@dataclass(frozen=True)
class Circumstances:
    """What a checkpoint holds of its run besides the training's own state.

    Attributes:
        fingerprint: of the data (no path, no name), to notice that a collection has changed.
        vgg: what the VGG-19's weights are known by; None without one.
        made_with: versions and machine, to notice that they have.
        intensity_map: the values of what was learned from pseudo-pairs of intensities alone;
            None without such a warm start.
    """

    fingerprint: dict[str, Any]
    vgg: str | None
    made_with: dict[str, Any]
    intensity_map: list[float] | None = None


def training_state(
    method: TrainedMethod,
    optimizers: list[torch.optim.Optimizer],
    ranks: list[dict[str, Any]],
    best: dict[str, Any] | None,
    guards: dict[str, Any],
    precision: dict[str, Any],
    samples: int,
    circumstances: Circumstances,
) -> dict[str, Any]:
    """The contents of a checkpoint.

    They are plain tensors, numbers and text only, so that the file loads with
    `torch.load(weights_only=True)` and can carry no code. Samples, augmentations and choices
    of the pools are keyed by (seed, step), and the learning rates follow from the step: they
    have no state, nor have loader processes.

    Args:
        method: the method with its networks, moving average and counters.
        optimizers: in the method's order.
        ranks: of each process the state that is its own, as `own_state` gives it.
        best: score and step of the best validation so far.
        guards: what the guards have told and measured.
        precision: state of the arithmetic; empty but for a gradient scaler's, which neither
            fp32 nor bf16 has.
        samples: samples of each domain drawn so far, by all processes together.
        circumstances: of the run.
    """
    return {
        "format_version": FORMAT_VERSION,
        "method": method.config.method.name,
        "step": method.step,
        "counters": method.counters(),
        "samples": samples,
        "config": method.config.model_dump(mode="json"),
        "channels": method.channels,
        "networks": {
            name: module.state_dict() for name, module in method.trained_networks().items()
        },
        "ema": method.ema.state_dict(),
        "optimizers": [optimizer.state_dict() for optimizer in optimizers],
        "precision": precision,
        "pools": {
            domain: merge_states(rank["pools"][domain] for rank in ranks) for domain in method.pools
        },
        "ranks": [{k: v for k, v in rank.items() if k != "pools"} for rank in ranks],
        "best": best,
        "guards": guards,
        "fingerprint": circumstances.fingerprint,
        "vgg": circumstances.vgg,
        "made_with": circumstances.made_with,
        "intensity_map": circumstances.intensity_map,
    }


def own_state(method: TrainedMethod, metrics: dict[str, Any]) -> dict[str, Any]:
    """What only this process has: random numbers, pooled images, the metrics' interval.

    All on the CPU, so that it can be sent to the first process.
    """
    device = method.device
    return {
        "rng": torch.get_rng_state(),
        "cuda_rng": torch.cuda.get_rng_state(device) if device.type == "cuda" else None,
        "pools": {domain: _on_cpu(pool.state_dict()) for domain, pool in method.pools.items()},
        "metrics": metrics,
    }


def restore_own_state(method: TrainedMethod, own: dict[str, Any]) -> None:
    """Go on with this process's generators of random numbers, on the method's device."""
    for pool in method.pools.values():
        pool.to(method.device)
    torch.set_rng_state(own["rng"])
    if own["cuda_rng"] is not None and method.device.type == "cuda":
        torch.cuda.set_rng_state(own["cuda_rng"], method.device)


def restore_networks(method: TrainedMethod, state: dict[str, Any]) -> None:
    """Take over what exists before the training starts: networks, average, pools and counters."""
    for name, module in method.trained_networks().items():
        module.load_state_dict(state["networks"][name])
    method.ema.load_state_dict(state["ema"])
    for domain, pool in method.pools.items():
        pool.load_state_dict(state["pools"][domain])  # of all processes; each keeps its own
    method.load_counters(state["counters"])


def save_checkpoint(path: Path, state: dict[str, Any]) -> None:
    """Write a checkpoint under a temporary name, then rename it: never half a file.

    Args:
        path: the file to write.
        state: as `training_state` makes it.

    Raises:
        UserError: when the disk refuses the file; what stood at `path` stays.
    """
    with atomic_file(path) as file:
        try:
            torch.save(state, file)
        except RuntimeError as error:
            # Closing its archive, torch stumbles over what the disk refused and hides it.
            if isinstance(error.__context__, OSError):
                raise error.__context__ from None
            raise


def load_checkpoint(path: Path) -> dict[str, Any]:
    """Read a checkpoint's contents, once every byte has been found to be as written.

    Raises:
        DamagedCheckpoint: for a file that is cut short or damaged.
        UserError: for one that is missing, a folder, of another format, or that holds objects,
            which could run code.
    """
    if path.is_dir():
        raise UserError(
            f"{path}: is a folder, not a checkpoint; move it away and put the file back, or "
            "start a new run in another folder"
        )
    if not path.exists():
        raise UserError(
            f"{path}: there is none, the run stopped before its first checkpoint; remove its "
            "folder and start again without --resume"
        )
    _refuse_damaged(path)
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise UserError(
            f"{path}: holds more than tensors, numbers and text, which could run code and is "
            "never loaded; medstyle train did not write it: put back a checkpoint of this run"
        ) from error
    except (OSError, RuntimeError) as error:
        raise DamagedCheckpoint(path, f"not readable ({type(error).__name__})") from error
    version = state.get("format_version") if isinstance(state, dict) else None
    if not isinstance(version, int):
        raise _not_ours(path)
    if version != FORMAT_VERSION:
        newer = version > FORMAT_VERSION
        raise UserError(
            f"{path}: written by {'a newer' if newer else 'an older'} medstyle_gan (checkpoint "
            f"format {version}, this one's is {FORMAT_VERSION}); "
            + ("update medstyle_gan" if newer else "go on with that version")
            + ", or start a new run in another folder"
        )
    if PARTS - state.keys():
        raise _not_ours(path)
    return dict(state)


def step_of_checkpoint(path: Path) -> int | None:
    """The step of a checkpoint, without reading its tensors; None where it cannot be told."""
    try:
        # Mapped, so that only the table of contents is read.
        state = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
        return int(state["step"])
    except Exception:  # missing, damaged or something else: loading it will say what
        return None


def _not_ours(path: Path) -> UserError:
    return UserError(f"{path}: not a checkpoint of medstyle train; put back one of this run")


def _refuse_damaged(path: Path) -> None:
    """Compares every record with its checksum; torch does not do it when it loads."""
    try:
        with zipfile.ZipFile(path) as archive:
            bad = archive.testzip()
    except (zipfile.BadZipFile, EOFError, NotImplementedError, ValueError, zlib.error) as error:
        raise DamagedCheckpoint(
            path, "damaged: cut short, or not a checkpoint of medstyle train"
        ) from error
    except OSError as error:
        raise DamagedCheckpoint(path, f"not readable ({error.strerror})") from error
    if bad is not None:
        raise DamagedCheckpoint(path, "damaged: its checksum does not fit its contents")


def _on_cpu(tree: Any) -> Any:
    if isinstance(tree, torch.Tensor):
        return tree.cpu()
    if isinstance(tree, dict):
        return {key: _on_cpu(value) for key, value in tree.items()}
    return tree
