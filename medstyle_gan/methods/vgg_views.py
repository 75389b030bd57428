"""What the VGG-19 sees of a step's images: all, a crop, a reduction, or slices of volumes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from medstyle_gan.config.network_sections import VGGConfig
from medstyle_gan.networks.channels import middle_slice
from medstyle_gan.networks.precision import at_least_fp32

_PLANES = 3
# Where this stream of random numbers begins: image pools with the same key begin at 0.
_COUNTER = 1 << 192


@dataclass(frozen=True)
class _Cut:
    """A part of one image of a batch: its slice at `index` along `axis` (3-D), from a corner on."""

    image: int
    axis: int | None
    index: int
    corner: tuple[int, int]


@dataclass(frozen=True)
class View:
    """The same parts of any batch of images of one shape, as 2-D images for the VGG-19.

    Attributes:
        cuts: size (h, w) before the reduction → parts of that size, in order.
        count: images in a batch.
        scale: reduction of each part.
        whole: whether nothing is cut at all.
        slices: that an image has as channels, of which the middle one is seen.
    """

    cuts: dict[tuple[int, int], tuple[_Cut, ...]]
    count: int
    scale: float
    whole: bool
    slices: int = 1

    @property
    def shares(self) -> list[float]:
        """Of the parts of each size among all parts, in the order in which calling gives them."""
        total = sum(len(cuts) for cuts in self.cuts.values())
        return [len(cuts) / total for cuts in self.cuts.values()]

    @property
    def images(self) -> list[list[int]]:
        """Which image of the batch each part is of, those of a size together."""
        return [[cut.image for cut in cuts] for cuts in self.cuts.values()]

    def __call__(self, images: Tensor) -> list[Tensor]:
        """The parts of `(B, C, *spatial)`, those of a size together: each `(N, C, h, w)`."""
        if len(images) != self.count:
            raise ValueError(f"a view of {self.count} images was given {len(images)}")
        images = middle_slice(images, self.slices)
        if self.whole:
            return [_reduced(images, self.scale)]
        return [
            _reduced(torch.stack([_part(images, cut, size) for cut in cuts]), self.scale)
            for size, cuts in self.cuts.items()
        ]


class Views:
    """Chooses what the VGG-19 sees, one choice for an image and all that is made of it.

    Whole 2-D images by default; a random square of side `vgg.crop`; either one reduced by
    `vgg.scale` (bilinear, after the filter that its size asks for: no aliasing). Of a 3-D image
    `vgg.slices` random slices, whose planes take turns from a random one on, as if neighbouring
    voxels were equally far apart in all directions.

    A crop costs less, but shows Gram matrices and deep features less context; a reduction loses
    the finest texture. Choices are keyed by (seed, step, place in the global batch): they do
    not depend on how many processes share a batch or how it is cut, and a resumed training
    makes the same ones.

    Args:
        config: the `vgg` section; None sees whole images, and three slices of volumes.
        seed: key of the choices.
        slices: that a 2.5-D image has as channels; the middle one is seen.
    """

    def __init__(self, config: VGGConfig | None = None, seed: int = 0, slices: int = 1) -> None:
        self.config = config or VGGConfig()
        self.seed = seed
        self.slices = slices

    def choose(self, size: Sequence[int], count: int, step: int, position: int = 0) -> View:
        """A view for the images of a step.

        Args:
            size: (H, W) or (D, H, W) of the images.
            count: images in the batch.
            step: the training step, part of the key.
            position: of the first image in the step's batch over all processes, part of the
                key; the others follow it.

        Raises:
            ValueError: for a crop that is larger than the images.
        """
        sides = [self._cropped(face) for face in _faces(size)]
        if len(size) == 2 and self.config.crop is None:
            every = tuple(_Cut(image, None, 0, (0, 0)) for image in range(count))
            return View({sides[0]: every}, count, self.config.scale, True, self.slices)
        cuts: dict[tuple[int, int], list[_Cut]] = {}
        for image in range(count):
            key = [self.seed, (step << 16) + position + image]
            rng = np.random.Generator(np.random.Philox(counter=_COUNTER, key=key))
            for axis, index, face in self._slices(size, rng):
                side = self._cropped(face)
                corner = tuple(
                    int(rng.integers(length - shown + 1))
                    for length, shown in zip(face, side, strict=True)
                )
                cuts.setdefault(side, []).append(_Cut(image, axis, index, (corner[0], corner[1])))
        return View(
            {side: tuple(found) for side, found in cuts.items()},
            count,
            self.config.scale,
            whole=False,
            slices=self.slices,
        )

    def smallest(self, size: Sequence[int]) -> tuple[int, int]:
        """(height, width) of the smallest 2-D image that is seen of images of a size."""
        seen = [_reduced_size(self._cropped(face), self.config.scale) for face in _faces(size)]
        return min(seen, key=min)

    def fields(self) -> str:
        """The settings that decide how large the seen images are, in words."""
        names = ["data.sample_size"]
        names += ["vgg.crop"] if self.config.crop is not None else []
        names += ["vgg.scale"] if self.config.scale < 1 else []
        return " or ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)

    def _cropped(self, face: tuple[int, int]) -> tuple[int, int]:
        crop = self.config.crop
        if crop is None:
            return face
        if crop > min(face):
            raise ValueError(f"vgg.crop {crop} is larger than images of {face[0]}x{face[1]}")
        return crop, crop

    def _slices(
        self, size: Sequence[int], rng: np.random.Generator
    ) -> Iterator[tuple[int | None, int, tuple[int, int]]]:
        """Axis, index along it and size of each slice of an image."""
        faces = _faces(size)
        if len(size) == 2:
            yield None, 0, faces[0]
            return
        first = int(rng.integers(_PLANES))
        for number in range(self.config.slices):
            axis = (first + number) % _PLANES
            yield axis, int(rng.integers(size[axis])), faces[axis]


def _faces(size: Sequence[int]) -> list[tuple[int, int]]:
    """(h, w) of a 2-D image, or of the slices across each axis of a 3-D one."""
    if len(size) == 2:
        return [(size[0], size[1])]
    depth, height, width = size
    return [(height, width), (depth, width), (depth, height)]


def _part(images: Tensor, cut: _Cut, size: tuple[int, int]) -> Tensor:
    image = images[cut.image]
    if cut.axis is not None:
        image = image.select(1 + cut.axis, cut.index)
    return image.narrow(-2, cut.corner[0], size[0]).narrow(-1, cut.corner[1], size[1])


def _reduced(images: Tensor, scale: float) -> Tensor:
    if scale == 1:
        return images
    size = _reduced_size((images.shape[-2], images.shape[-1]), scale)
    images = at_least_fp32(images)
    return F.interpolate(images, size, mode="bilinear", align_corners=False, antialias=True)


def _reduced_size(size: tuple[int, int], scale: float) -> tuple[int, int]:
    return max(1, round(size[0] * scale)), max(1, round(size[1] * scale))
