"""Samples of declared pairs: the same place of a scan and of its subject's style volume."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch.utils.data import Dataset

from medstyle_gan.config.data_section import DataConfig
from medstyle_gan.data.cached_volume import CachedVolume
from medstyle_gan.data.drawing import keyed_bits
from medstyle_gan.data.sampling import UnpairedDataset, make_samples, with_random_gamma
from medstyle_gan.data.subject_pairs import SubjectPair, SubjectPairs

# Places that are tried for one that shows the body.
_TRIES = 16


class PairedDataset(Dataset[dict[str, Any]]):
    """Sample `index` of the global batch sequence, as of `UnpairedDataset`, with a `"pair_weight"`.

    Scan and style are one subject's, at the same place, changed alike; the weight is 1 where the
    style volume is and 0 elsewhere, interpolated where samples are.

    Args:
        unpaired: gives the first `warm_samples`, which are of pseudo-pairs.
        pairs: what the others are of.
        config: dims, sampler, augmentation, sample size and plane.
        seed: of every random choice.
        warm_samples: how many the first ones are.
        masks: as of `UnpairedDataset`.
        heights: as of `UnpairedDataset`; both are the scan's.
    """

    def __init__(
        self,
        unpaired: UnpairedDataset,
        pairs: SubjectPairs,
        config: DataConfig,
        seed: int,
        warm_samples: int = 0,
        masks: bool = False,
        heights: bool = False,
    ) -> None:
        self._unpaired = unpaired
        self._kept, self._by_subject = pairs.kept, pairs.by_subject
        self._gamma = config.augmentation.gamma
        self._balanced = config.sampler.subject_balanced
        self._samples = make_samples(config)
        self._seed = seed
        self._warm_samples = warm_samples
        self._masks = masks
        self._heights = heights

    def __len__(self) -> int:
        return len(self._unpaired)

    def __getitem__(self, index: int) -> dict[str, Any]:
        """`scan`, `style` (C, *sample_size) float32, `pair_weight` in [0, 1] and `index`."""
        if index < self._warm_samples:
            return self._unpaired[index]
        rng = np.random.Generator(keyed_bits(self._seed, index))
        pair = self._draw(rng)
        place, seed = self._place(pair.scan, rng), int(rng.integers(2**32))

        def changed(volume: CachedVolume | None) -> torch.Tensor:
            assert volume is not None
            # Each with a state of its own, from one seed: all are changed alike.
            return self._samples.augmented(volume, place, np.random.RandomState(seed))

        sample: dict[str, Any] = {
            "index": index,
            "scan": changed(pair.scan),
            "style": changed(pair.style),
            "pair_weight": changed(pair.weight),
        }
        if self._masks:
            sample["scan_mask"] = changed(pair.scan.mask) > 0.5
            sample["style_mask"] = changed(pair.style.mask) > 0.5
        if self._heights:
            height = torch.tensor(self._samples.height(pair.scan, place), dtype=torch.float32)
            sample |= {"scan_height": height, "style_height": height.clone()}
        return with_random_gamma(sample, self._gamma, rng)

    def _draw(self, rng: np.random.Generator) -> SubjectPair:
        """An even draw of a subject then of its pairs, or an even draw of pairs."""
        if not self._balanced:
            return self._kept[int(rng.integers(len(self._kept)))]
        pairs = self._by_subject[int(rng.integers(len(self._by_subject)))]
        return pairs[int(rng.integers(len(pairs)))]

    def _place(self, scan: CachedVolume, rng: np.random.Generator) -> Any:
        """A place of the scan, not beyond the style volume's first or last slice.

        A style volume that is shorter than its scan would have nothing to show there but its
        background, which discriminators would take for real.
        """
        for _ in range(_TRIES):
            place = self._samples.place(scan, rng)
            if not isinstance(place, int) or scan.foreground_share[place] > 0:
                break
        return place
