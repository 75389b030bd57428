"""The bundle: all that translation needs, apart from the code that runs it."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor

import medstyle_gan
from medstyle_gan.config import Config
from medstyle_gan.config.data_section import DataConfig
from medstyle_gan.data.intensity import FittedScale
from medstyle_gan.data.intensity_map import IntensityMap
from medstyle_gan.data.words import DIRECTIONS, Direction

SHARED = "shared"

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
class Graph:
    """One direction's generator as an ONNX graph.

    Attributes:
        model: the serialised graph.
        divisor: spatial sizes must be multiples of this.
        minimum_size: smallest spatial size.
        parameters: weights that it was exported with.
    """

    model: bytes
    divisor: int
    minimum_size: int
    parameters: int


@dataclass(frozen=True)
class Bundle:
    """A trained translator, apart from the code that runs it.

    Attributes:
        config: resolved settings of the training, local paths dropped on saving.
        state: weights, `<network>.<parameter>`, a network that translates by itself being named
            as its direction, and `shared.<parameter>` for those that both directions have; empty
            where the generators are ONNX graphs.
        channels: domain → channels of its samples, 1 (grey) or 3 (colour).
        scales: domain → typical intensity scale, which gives translations native units.
        integer: domain → whether all its volumes hold integers.
        background: domain → native value outside the body.
        steps: steps of training behind the weights.
        pictures: domain → whether the collection is pictures instead of volumes.
        fingerprint: what the training data looked like (no paths, no names).
        versions: package → version at training.
        folder: where it was read from; None where it was made in memory. Never written.
        graphs: direction → ONNX graph, where the generators are graphs.
        weights_hash: `model_hash` of the weights that graphs were exported from; None computes
            it from `state`.
        vgg: what the weights of the training's VGG-19 are known by; None without one.
        intensity_map: what the training's pseudo-pairs told of intensities alone, for `evaluate`;
            None without a warm start on them.
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
    graphs: dict[str, Graph] = field(default_factory=dict)
    weights_hash: str | None = None
    vgg: str | None = None
    intensity_map: IntensityMap | None = None

    @cached_property
    def hash(self) -> str:
        """The sha256 of the trained weights, the same in every format of a bundle."""
        return self.weights_hash or model_hash(self.state)

    @property
    def parameters(self) -> dict[str, int]:
        """Network → numbers that it learned."""
        if self.graphs:
            return {direction: graph.parameters for direction, graph in self.graphs.items()}
        return {
            name: sum(tensor.numel() for tensor in self.generator_state(name).values())
            for name in self.network_names
        }

    @property
    def shared_parameters(self) -> int:
        """How many of those numbers are the same ones in both directions."""
        return sum(tensor.numel() for tensor in self._state_of(SHARED).values())

    @property
    def network_names(self) -> tuple[str, ...]:
        """Of its networks: directions, or `decoder`."""
        if self.graphs:
            return tuple(self.graphs)
        owners = dict.fromkeys(name.partition(".")[0] for name in self.state)
        return tuple(owner for owner in owners if owner != SHARED)

    @property
    def directions(self) -> tuple[Direction, ...]:
        """The ways that it translates by itself."""
        names = self.network_names
        return tuple(direction for direction in DIRECTIONS if direction in names)

    def generator_state(self, name: str) -> dict[str, Tensor]:
        """Weights of one network, named as its own `state_dict` names them."""
        return self._state_of(SHARED) | self._state_of(name)

    def _state_of(self, owner: str) -> dict[str, Tensor]:
        prefix = f"{owner}."
        return {
            name.removeprefix(prefix): tensor
            for name, tensor in self.state.items()
            if name.startswith(prefix)
        }


def joined_state(networks: Mapping[str, Mapping[str, Tensor]]) -> dict[str, Tensor]:
    """The `state` of a bundle: what two directions have in the same memory is in it once.

    Args:
        networks: name → state dict of that network.
    """
    first, second = (networks.get(direction, {}) for direction in DIRECTIONS)
    shared = [n for n in first if n in second and _is_same_memory(first[n], second[n])]
    state = {f"{SHARED}.{name}": first[name] for name in shared}
    for network, own in networks.items():
        state |= {f"{network}.{n}": tensor for n, tensor in own.items() if n not in shared}
    return state


def _is_same_memory(first: Tensor, second: Tensor) -> bool:
    return first.data_ptr() == second.data_ptr() and first.shape == second.shape


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
