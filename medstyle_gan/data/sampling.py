"""Unpaired samples whose every random choice is keyed by (seed, index of the sample)."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Protocol

import numpy as np
import torch
from torch.utils.data import Dataset, Sampler

from medstyle_gan.config.data_section import DataConfig
from medstyle_gan.data.augmentation import with_gamma
from medstyle_gan.data.cached_volume import CachedCollection, CachedVolume
from medstyle_gan.data.drawing import keyed_bits
from medstyle_gan.data.patch_samples import PatchSamples
from medstyle_gan.data.pseudo_pairs import PseudoPair, PseudoPairs
from medstyle_gan.data.slice_samples import SliceSamples

# Panels show the middle of the body, where there is most to see.
_PANEL_HEIGHTS = (0.35, 0.75)


class Samples(Protocol):
    """Draws and makes the samples of one kind; a place is whatever it knows them by."""

    def draw(
        self, scan: CachedCollection, style: CachedCollection, rng: np.random.Generator
    ) -> tuple[tuple[CachedVolume, Any], tuple[CachedVolume, Any]]:
        """A scan and a style volume, drawn independently, with a place in each."""
        ...

    def draw_style(
        self, scan: tuple[CachedVolume, Any], style: CachedCollection, rng: np.random.Generator
    ) -> tuple[CachedVolume, Any]:
        """A style volume drawn independently of a scan, with a place as `draw` gives it."""
        ...

    def place(self, volume: CachedVolume, rng: np.random.Generator) -> Any:
        """A place in a volume, drawn as a scan's is."""
        ...

    def augmented(
        self, volume: CachedVolume, place: Any, state: np.random.RandomState
    ) -> torch.Tensor:
        """The sample at a place, randomly changed: (C, *sample_size) float32."""
        ...

    def fixed(self, volume: CachedVolume, height: float) -> torch.Tensor:
        """A sample at a relative height of the body, never changed."""
        ...

    def height(self, volume: CachedVolume, place: Any) -> float:
        """A place's relative height in the body: 0 at its first slice, 1 at its last."""
        ...


def make_samples(config: DataConfig) -> Samples:
    """What makes the samples of a config: slices or patches, by its `dims`."""
    return PatchSamples(config) if config.dims == 3 else SliceSamples(config)


class UnpairedDataset(Dataset[dict[str, Any]]):
    """Sample `index` of the global batch sequence: `{"scan", "style", "index"}`.

    The first `warm_samples` are of pseudo-pairs, with a `"weight"`: the same place of both, changed
    alike, a subject of scans drawn evenly and then one of its pairs.

    Args:
        scan: the scans.
        style: the style collection; drawn independently of the scans.
        config: dims, sampler, augmentation, sample size and plane.
        seed: of every random choice.
        length: number of samples.
        pseudo_pairs: what the first samples are of; needed where `warm_samples` is above 0.
        warm_samples: how many those are.
        masks: whether the others come with `"scan_mask"` and `"style_mask"`, which the volumes
            must have: bool (1 or as many slices, *sample_size), where the body is.
        heights: whether they come with `"scan_height"` and `"style_height"`, their relative
            heights in the body, in [0, 1].
        kept: whether the scans of the others are those of pseudo-pairs too, which come as
            `"pseudo_style"` with a `"weight"`, changed as their scan is.
    """

    def __init__(
        self,
        scan: CachedCollection,
        style: CachedCollection,
        config: DataConfig,
        seed: int,
        length: int,
        pseudo_pairs: PseudoPairs | None = None,
        warm_samples: int = 0,
        masks: bool = False,
        heights: bool = False,
        kept: bool = False,
    ) -> None:
        if (warm_samples or kept) and pseudo_pairs is None:
            raise ValueError("samples are to be of pseudo-pairs, and there are none")
        self._by_subject = () if pseudo_pairs is None else pseudo_pairs.by_subject
        self._warm_samples = warm_samples
        self._scan = scan
        self._style = style
        self._samples = make_samples(config)
        self._seed = seed
        self._length = length
        self._masks = masks
        self._heights = heights
        self._kept = kept
        self._gamma = config.augmentation.gamma

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, index: int) -> dict[str, Any]:
        """`scan` and `style`, each (C, *sample_size) float32, and `index`."""
        bits = keyed_bits(self._seed, index)
        rng = np.random.Generator(bits)
        sample: dict[str, Any]
        if index < self._warm_samples:
            pair, place = self._draw_pseudo_pair(rng)
            parts = {"scan": pair.scan, "style": pair.style, "weight": pair.weight}
            state = np.random.RandomState(int(rng.integers(2**32)))
            sample = {**self._changed_alike(parts, place, state), "index": index}
            return with_random_gamma(sample, self._gamma, rng)
        partners: dict[str, CachedVolume] = {}
        if self._kept:
            pair, place = self._draw_pseudo_pair(rng)
            partners = {"pseudo_style": pair.style, "weight": pair.weight}
            scan = pair.scan, place
            drawn = scan, self._samples.draw_style(scan, self._style, rng)
        else:
            drawn = self._samples.draw(self._scan, self._style, rng)
        state = np.random.RandomState(bits)  # MONAI's kind; goes on in the same stream
        sample = {"index": index}
        # Before the state goes on: as the scan is changed, which comes first.
        sample |= self._changed_alike(partners, drawn[0][1], state)
        for domain, (volume, place) in zip(("scan", "style"), drawn, strict=True):
            # The mask is changed as its image is, and the image as if there were no mask.
            same = copy.deepcopy(state) if self._masks else state
            sample[domain] = self._samples.augmented(volume, place, state)
            if self._masks:
                assert volume.mask is not None
                sample[f"{domain}_mask"] = self._samples.augmented(volume.mask, place, same) > 0.5
            if self._heights:
                height = self._samples.height(volume, place)
                sample[f"{domain}_height"] = torch.tensor(height, dtype=torch.float32)
        return with_random_gamma(sample, self._gamma, rng)

    def _draw_pseudo_pair(self, rng: np.random.Generator) -> tuple[PseudoPair, Any]:
        """A subject of scans, one of its pairs, and a place in both."""
        pairs = self._by_subject[int(rng.integers(len(self._by_subject)))]
        pair = pairs[int(rng.integers(len(pairs)))]
        return pair, self._samples.place(pair.scan, rng)

    def _changed_alike(
        self, parts: Mapping[str, CachedVolume], place: Any, state: np.random.RandomState
    ) -> dict[str, torch.Tensor]:
        """Name → the sample at a place, all changed as the first after this state would be."""
        return {
            name: self._samples.augmented(volume, place, copy.deepcopy(state))
            for name, volume in parts.items()
        }


def with_random_gamma(
    sample: dict[str, Any], largest: float, rng: np.random.Generator
) -> dict[str, Any]:
    """The sample with its scan's intensities changed, by the last number that is drawn.

    Args:
        sample: has a `"scan"`.
        largest: of the exponent's logarithm; 0 draws nothing.
        rng: of the sample.
    """
    if largest:
        sample["scan"] = with_gamma(sample["scan"], math.exp(rng.uniform(-largest, largest)))
    return sample


class GlobalIndexSampler(Sampler[int]):
    """The part of the global batch sequence that one rank sees.

    Step s of the run is the samples s·B·R to (s+1)·B·R - 1, B the batch size and R the
    ranks; rank r takes the B consecutive ones from s·B·R + r·B. So the union over ranks
    does not depend on how many there are, for the same global batch.

    Args:
        steps: steps of the whole run.
        batch_size: samples in a step, a rank.
        rank: this process.
        world_size: processes.
        start_step: first step to give, when a run is resumed.
    """

    def __init__(
        self,
        steps: int,
        batch_size: int,
        rank: int = 0,
        world_size: int = 1,
        start_step: int = 0,
    ) -> None:
        if not 0 <= rank < world_size:
            raise ValueError(f"rank {rank} is not in a world of {world_size}")
        self._steps = range(start_step, steps)
        self._batch_size = batch_size
        self._rank = rank
        self._world_size = world_size

    def __len__(self) -> int:
        return len(self._steps) * self._batch_size

    def __iter__(self) -> Iterator[int]:
        for step in self._steps:
            first = (step * self._world_size + self._rank) * self._batch_size
            yield from range(first, first + self._batch_size)


def fixed_samples(
    collection: CachedCollection, config: DataConfig, count: int, seed: int
) -> torch.Tensor:
    """Samples to look at again and again: different subjects first, central, spread in height.

    The heights depend on `count` alone, so that a scan and a style panel of the same count
    show the same levels of the body.

    Returns:
        (count, C, *sample_size) float32, not augmented.
    """
    maker = make_samples(config)
    return torch.stack([maker.fixed(v, h) for v, h in _fixed_places(collection, count, seed)])


def fixed_masks(
    collection: CachedCollection, config: DataConfig, count: int, seed: int
) -> torch.Tensor | None:
    """Where the body is in the samples that `fixed_samples` gives.

    Returns:
        bool (count, 1 or as many slices, *sample_size); None where the volumes have no masks.
    """
    return _masks_at(_fixed_places(collection, count, seed), make_samples(config))


def fixed_pairs(
    pairs: PseudoPairs, config: DataConfig, count: int, seed: int
) -> dict[str, torch.Tensor]:
    """The same places of both images of pseudo-pairs: all pairs, central, spread in height.

    Returns:
        `scan` and `style` (count, C, *sample_size) float32, not augmented; `weight` (count, 1 or
        as many slices, *sample_size), 1 where the pair can be believed; and `mask`, bool of the
        same shape, where the body is, unless a scan has none.
    """
    maker = make_samples(config)
    order = np.random.Generator(keyed_bits(seed, 0)).permutation(len(pairs.kept))
    places = [(pairs.kept[order[n % len(order)]], h) for n, h in enumerate(_heights(count))]
    samples = {
        "scan": torch.stack([maker.fixed(pair.scan, h) for pair, h in places]),
        "style": torch.stack([maker.fixed(pair.style, h) for pair, h in places]),
        "weight": torch.stack([maker.fixed(pair.weight, h) for pair, h in places]),
    }
    mask = _masks_at([(pair.scan, h) for pair, h in places], maker)
    return samples if mask is None else {**samples, "mask": mask}


def _masks_at(places: Sequence[tuple[CachedVolume, float]], maker: Samples) -> torch.Tensor | None:
    masks = [maker.fixed(v.mask, h) for v, h in places if v.mask is not None]
    return torch.stack(masks) > 0.5 if len(masks) == len(places) else None


def _heights(count: int) -> list[float]:
    low, high = _PANEL_HEIGHTS
    return [(low + high) / 2] if count == 1 else np.linspace(low, high, count).tolist()


def _fixed_places(
    collection: CachedCollection, count: int, seed: int
) -> list[tuple[CachedVolume, float]]:
    """Volumes, and relative heights in their bodies."""
    order = np.random.Generator(keyed_bits(seed, 0)).permutation(len(collection.by_subject))
    places = []
    for number, height in enumerate(_heights(count)):
        turn, place = divmod(number, len(order))
        _, positions = collection.by_subject[order[place]]
        volume = collection[positions[turn % len(positions)]]
        places.append((volume, height))
    return places
