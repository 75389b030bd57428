"""What generators learn in a training's first steps where no scans are registered: filling holes.

Torbunov et al. 2023, "UVCGAN: UNet Vision Transformer cycle-consistent GAN for unpaired
image-to-image translation" (WACV). As there, a generator is given images of both domains with
random blocks at the lowest value, and learns to give them back whole, under a plain L1 over all
pixels: it learns what anatomy looks like in either contrast, and to leave what it sees in place.
The paper trains one network so, which both generators then start from; here both learn, on the
same images with the same holes, as they may differ in channels or share their layers. The number
of blocks that are masked is exact, where the paper tosses a coin for each.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from medstyle_gan.config import Config
from medstyle_gan.config.inpainting_section import InpaintingStartConfig
from medstyle_gan.data.words import DOMAINS, OTHER, Direction
from medstyle_gan.methods.vgg_regularizer import Term
from medstyle_gan.methods.warm_start import Start, WarmStart
from medstyle_gan.networks.channels import adapt_channels

# Where these streams of random numbers begin: those of what discriminators see end far below.
_COUNTER = 1 << 194
# What masked blocks hold: the lowest value, as the paper's 0 in [0, 1].
_FILL = -1.0


class InpaintingStart(Start):
    """The terms of the start, for any method whose generators translate by themselves.

    Holes are keyed by (seed, step, place in the global batch, domain): they do not depend on how a
    batch is cut, and a resumed training makes the same ones.

    Args:
        config: the `training.warm_start` section.
        seed: of the training.
        channels: domain → channels of its samples.
    """

    def __init__(
        self, config: InpaintingStartConfig, seed: int, channels: Mapping[str, int]
    ) -> None:
        super().__init__(config.steps)
        self.config = config
        self._seed = seed
        self._channels = channels

    def terms(
        self,
        generators: Mapping[str, nn.Module],
        directions: Sequence[Direction],
        real: Mapping[str, Tensor],
        step: int,
        position: int,
    ) -> dict[str, Term]:
        """How far each generator is from giving back the images of both domains.

        Args:
            generators: by direction.
            directions: that they translate in.
            real: domain → images `(B, C, *spatial)` in [-1, 1].
            step: the training step, part of the key.
            position: of the first image in the step's batch over all processes, part of the key.
        """
        with_holes = {
            domain: torch.where(self.holes(images, domain, step, position), _FILL, images)
            for domain, images in real.items()
        }
        terms: dict[str, Term] = {}
        for direction in directions:
            source, target = DOMAINS[direction]
            # Of another number of channels, where grey is translated into colour or back.
            given, wanted = (
                torch.cat([adapt_channels(images[d], self._channels[own]) for d in OTHER])
                for images, own in ((with_holes, source), (real, target))
            )
            filled = generators[direction](given).float()
            terms[f"inpainting_{direction}"] = Term(F.l1_loss(filled, wanted), 1.0)
        return terms

    def holes(self, images: Tensor, domain: str, step: int, position: int) -> Tensor:
        """Where images are masked: the same in all channels, which may be neighbouring slices.

        Args:
            images: `(B, C, *spatial)`.
            domain: part of the key, as are
            step: and
            position: see `terms`.

        Returns:
            bool `(B, 1, *spatial)`.
        """
        place = list(OTHER).index(domain)  # type: ignore[arg-type]
        masks = []
        for number in range(position, position + len(images)):
            key = [self._seed, (step << 16) + number]
            counter = _COUNTER + (place << 64)
            rng = np.random.Generator(np.random.Philox(counter=counter, key=key))
            masks.append(block_mask(images.shape[2:], self.config.blocks, self.config.masked, rng))
        return torch.from_numpy(np.stack(masks)[:, None]).to(images.device)


def block_mask(
    size: Sequence[int], blocks: int, share: float, rng: np.random.Generator
) -> NDArray[np.bool_]:
    """A random mask of whole blocks.

    Args:
        size: of the image (pixels).
        blocks: along each side; a side with fewer pixels has one a pixel.
        share: of the blocks that are masked, rounded to a whole number of them, neither none nor
            all.
        rng: draws them.

    Returns:
        bool, of that size. Where blocks do not divide a side, they differ by a pixel.
    """
    counts = [min(blocks, side) for side in size]
    total = int(np.prod(counts))
    masked = np.zeros(total, bool)
    masked[rng.permutation(total)[: min(max(round(share * total), 1), total - 1)]] = True
    owners = [np.arange(side) * count // side for side, count in zip(size, counts, strict=True)]
    return masked.reshape(counts)[np.ix_(*owners)]


def make_start(config: Config, channels: Mapping[str, int]) -> WarmStart | InpaintingStart:
    """The start that a config asks for.

    Args:
        config: all settings.
        channels: domain → channels of its samples, all slices' of 2.5-D ones.
    """
    start = config.training.warm_start
    if isinstance(start, InpaintingStartConfig):
        return InpaintingStart(start, config.training.seed, channels)
    return WarmStart(start, config.training.steps, config.data.sample_slices)
