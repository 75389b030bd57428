"""How near translations of held-out scans come to style volumes of others, registered to them.

What a pseudo-pair shows is not the truth, but it is wrong in the same places for every checkpoint:
the one that comes nearest is, among those of a training, the nearest to the truth too, or close to
it. No pair of one subject is needed.
"""

from __future__ import annotations

import math

import torch

from medstyle_gan.config.data_section import DataConfig
from medstyle_gan.data.pseudo_pairs import PseudoPairs
from medstyle_gan.data.sampling import fixed_pairs
from medstyle_gan.methods import TrainedMethod
from medstyle_gan.training.processes import gather_on_first, interleaved, own_part
from medstyle_gan.training.selection import body_of


class PseudoPairScore:
    """The PSNR of translations on pseudo-pairs, from scan to style.

    Args:
        pairs: of held-out scans.
        config: how samples are made.
        count: samples that are looked at.
        seed: of their choice.
    """

    def __init__(self, pairs: PseudoPairs, config: DataConfig, count: int, seed: int) -> None:
        samples = fixed_pairs(pairs, config, count, seed)
        self._scan, self._style = samples["scan"], samples["style"]
        self._mask = samples.get("mask")
        body = body_of(self._scan, config.sample_slices) if self._mask is None else self._mask
        self._believed = (samples["weight"] > 0.5) & body

    def psnr(self, method: TrainedMethod) -> float | None:
        """Peak signal-to-noise ratio (dB) over the body, where the pairs can be believed.

        10 log10(2² / mean squared error), of images in [-1, 1]; the mean is over all samples'
        pixels. All processes call it; None on all but the first.
        """
        errors: list[tuple[float, int]] = []
        for index in own_part(range(len(self._scan))):
            one = slice(index, index + 1)
            mask = None if self._mask is None else self._mask[one].to(method.device)
            made = method.translate(self._scan[one].to(method.device), "scan_to_style", mask=mask)
            squares = (made.cpu() - self._style[one]).square()
            believed = self._believed[one].expand_as(squares)
            errors.append((float(squares[believed].sum(dtype=torch.float64)), int(believed.sum())))
        parts = gather_on_first(errors)
        if parts is None:
            return None
        total, count = (sum(values) for values in zip(*interleaved(parts), strict=True))
        return 10 * math.log10(4 * count / max(total, 1e-12)) if count else -math.inf
