"""The bundle: all that translation needs, as safetensors and YAML, without pickle or paths.

A bundle is a folder of two files. `generators.safetensors` holds the weights of both
generators; `model.yaml` holds the config, the intensity scales, what is known of the two
collections, versions, and the sha256 of the weights, which is checked at loading.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Protocol

import torch
import yaml
from pydantic import ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor

import medstyle_gan
from medstyle_gan.config import Config
from medstyle_gan.config.schema import DataConfig
from medstyle_gan.data.intensity import FittedScale
from medstyle_gan.errors import UserError
from medstyle_gan.volumes.atomic import atomic_file

FORMAT_VERSION = 1
WEIGHTS_FILE = "generators.safetensors"
MODEL_FILE = "model.yaml"
UNRECORDED_FILE = "(a local file, not recorded)"

_PACKAGES = ("torch", "monai", "nibabel", "numpy", "lightning")


class CollectionFacts(Protocol):
    """What a bundle keeps of a collection; `CachedCollection` has it."""

    channels: int
    scale: FittedScale
    integer: bool
    background: float

    def __iter__(self) -> Any: ...


@dataclass(frozen=True)
class Bundle:
    """A trained translator, apart from the code that runs it.

    Attributes:
        config: resolved settings of the training, local paths dropped on saving.
        state: weights, `scan_to_style.<parameter>` and `style_to_scan.<parameter>`.
        channels: domain → channels of its samples, 1 (grey) or 3 (colour).
        scales: domain → typical intensity scale, which gives translations native units.
        integer: domain → whether all its volumes hold integers.
        background: domain → native value outside the body.
        steps: steps of training behind the weights.
        pictures: domain → whether the collection is pictures instead of volumes.
        fingerprint: what the training data looked like (no paths, no names).
        versions: package → version at training.
        folder: where it was read from; None where it was made in memory. Never written.
    """

    config: Config
    state: dict[str, Tensor]
    channels: dict[str, int]
    scales: dict[str, FittedScale]
    integer: dict[str, bool]
    background: dict[str, float]
    steps: int
    pictures: dict[str, bool] = field(default_factory=lambda: {"scan": False, "style": False})
    fingerprint: dict[str, Any] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=lambda: package_versions())
    folder: Path | None = field(default=None, compare=False)

    def generator_state(self, direction: str) -> dict[str, Tensor]:
        """Weights of one direction's generator, named as its own `state_dict` names them."""
        prefix = f"{direction}."
        return {
            name.removeprefix(prefix): tensor
            for name, tensor in self.state.items()
            if name.startswith(prefix)
        }


def describe_collections(scan: CollectionFacts, style: CollectionFacts) -> dict[str, Any]:
    """What translation must know of the two prepared collections.

    Returns:
        the arguments `channels`, `scales`, `integer`, `background` and `pictures` of
        `Bundle` and of `Translator.from_generators`.
    """
    both = {"scan": scan, "style": style}
    return {
        "channels": {name: int(c.channels) for name, c in both.items()},
        "scales": {name: c.scale for name, c in both.items()},
        "integer": {name: bool(c.integer) for name, c in both.items()},
        "background": {name: float(c.background) for name, c in both.items()},
        "pictures": {name: all(item.is_picture for item in c) for name, c in both.items()},
    }


def package_versions() -> dict[str, str]:
    """Installed versions of this package and of those that shape a translation."""
    versions = {"medstyle_gan": medstyle_gan.__version__}
    for name in _PACKAGES:
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            continue
    return versions


def model_hash(state: Mapping[str, Tensor]) -> str:
    """The sha256 over all tensors' names, types, shapes and values, in order of name."""
    digest = hashlib.sha256()
    for name in sorted(state):
        tensor = state[name].detach().cpu().contiguous()
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def without_local_paths(config: Config) -> Config:
    """The same settings without this machine's paths, and without names of files or subjects."""
    data, default = config.data, DataConfig()
    update: dict[str, Any] = {
        "data": data.model_copy(
            update={
                "scans": None,
                "style": None,
                "pairs": default.pairs,
                "subject_pattern": default.subject_pattern,
                "cache": data.cache.model_copy(update={"folder": None}),
            }
        )
    }
    weights = config.vgg.weights
    if weights != "imagenet" and not weights.startswith("random:"):
        update["vgg"] = config.vgg.model_copy(update={"weights": UNRECORDED_FILE})
    return config.model_copy(update=update)


def save_bundle(bundle: Bundle, folder: str | Path) -> Path:
    """Write a bundle; each file under a temporary name first.

    Args:
        bundle: what to write.
        folder: the bundle's folder, made where missing; a bundle in it is replaced.

    Returns:
        the folder.

    Raises:
        UserError: when the folder cannot be written.
    """
    folder = Path(folder)
    state = {name: t.detach().cpu().contiguous() for name, t in bundle.state.items()}
    facts = {
        "format_version": FORMAT_VERSION,
        "hash": model_hash(state),
        "steps": int(bundle.steps),
        "channels": bundle.channels,
        "scales": {name: scale.as_dict() for name, scale in bundle.scales.items()},
        "integer": bundle.integer,
        "background": bundle.background,
        "pictures": bundle.pictures,
        "versions": bundle.versions,
        "fingerprint": bundle.fingerprint,
        "config": without_local_paths(bundle.config).model_dump(mode="json"),
    }
    text = yaml.safe_dump(_plain(facts), sort_keys=False)
    with atomic_file(folder / WEIGHTS_FILE) as file:
        file.write(save(state))
    # The description last: with a hash that fits, or the bundle does not load.
    with atomic_file(folder / MODEL_FILE) as file:
        file.write(text.encode())
    return folder


def find_bundle(model: str | Path) -> Path:
    """The bundle folder that a MODEL argument means.

    Args:
        model: a bundle's folder, or a run folder with a `model/` in it.

    Raises:
        UserError: when it is neither.
    """
    path = Path(model)
    if not path.exists():
        raise UserError(
            f"{path}: no such model folder; give a run folder of medstyle train or an exported "
            "bundle"
        )
    if not path.is_dir():
        raise UserError(
            f"{path}: a model is a folder: give the run folder that medstyle train wrote"
        )
    for folder in (path, path / "model"):
        if (folder / MODEL_FILE).is_file() and (folder / WEIGHTS_FILE).is_file():
            return folder
    if (path / "checkpoints").is_dir():
        raise UserError(
            f"{path}: this run has no model/ yet, its training did not end; finish it with "
            "medstyle train --resume"
        )
    raise UserError(
        f"{path}: not a model folder (no {MODEL_FILE} with {WEIGHTS_FILE}, and no model/ with "
        "them); give a run folder of medstyle train or an exported bundle"
    )


def load_bundle(model: str | Path) -> Bundle:
    """Read a bundle and check that its weights are the ones that were written.

    Args:
        model: a bundle's folder, or a run folder with a `model/` in it.

    Raises:
        UserError: for a folder that is no model, one written by a newer format, and one
            whose files are damaged.
    """
    folder = find_bundle(model)
    facts = _read_facts(folder / MODEL_FILE)
    try:
        state = load_file(folder / WEIGHTS_FILE)
    except (OSError, SafetensorError) as error:
        raise UserError(
            f"{folder / WEIGHTS_FILE}: not readable ({error}); the file is damaged: copy the "
            "model folder again"
        ) from error
    try:
        bundle = Bundle(
            config=Config.model_validate(facts["config"]),
            state=state,
            channels={name: int(n) for name, n in facts["channels"].items()},
            scales={name: FittedScale.from_dict(s) for name, s in facts["scales"].items()},
            integer={name: bool(i) for name, i in facts["integer"].items()},
            background={name: float(b) for name, b in facts["background"].items()},
            steps=int(facts["steps"]),
            pictures={name: bool(p) for name, p in facts["pictures"].items()},
            fingerprint=dict(facts["fingerprint"]),
            versions=dict(facts["versions"]),
            folder=folder,
        )
        expected = facts["hash"]
    except (KeyError, TypeError, AttributeError, ValueError, ValidationError) as error:
        reason = f"missing {error}" if isinstance(error, KeyError) else str(error)
        raise UserError(
            f"{folder / MODEL_FILE}: not what medstyle train writes ({reason}); copy the model "
            "folder again"
        ) from error
    if model_hash(state) != expected:
        raise UserError(
            f"{folder}: the weights in {WEIGHTS_FILE} are not those that {MODEL_FILE} was "
            "written with; copy the model folder again"
        )
    return bundle


def _read_facts(path: Path) -> dict[str, Any]:
    try:
        facts = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise UserError(f"{path}: not readable ({error}); copy the model folder again") from error
    found = facts.get("format_version") if isinstance(facts, dict) else None
    if not isinstance(found, int):
        raise UserError(f"{path}: not the description of a model (no format_version)")
    if found > FORMAT_VERSION:
        raise UserError(
            f"{path}: model format {found} is newer than this medstyle_gan "
            f"{medstyle_gan.__version__} knows ({FORMAT_VERSION}); update medstyle-gan"
        )
    return dict(facts)


def _plain(facts: Mapping[str, Any]) -> Any:
    """The same facts in types that YAML knows: numpy numbers, arrays and tuples turned."""

    def turn(value: Any) -> Any:
        if hasattr(value, "tolist"):
            return value.tolist()
        raise TypeError(f"a bundle cannot hold a {type(value).__name__}")

    return json.loads(json.dumps(facts, default=turn))
