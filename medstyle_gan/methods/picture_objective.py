"""What Gatys et al. minimise, and its gradient, of a whole picture or tile by tile."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from medstyle_gan.config.loss_section import LossConfig
from medstyle_gan.losses import content_distance, gram_matrix, style_distance, total_variation
from medstyle_gan.methods.tiles import Tile, make_tiles, stride
from medstyle_gan.networks import VGG19Features, adapt_channels
from medstyle_gan.networks.precision import at_least_fp32

Grams = dict[str, Tensor]


@dataclass(frozen=True)
class Evaluation:
    """The loss at a picture.

    Attributes:
        loss: weighted sum of the parts.
        parts: name → unweighted loss.
        gradient: of `loss`, in the picture's shape.
    """

    loss: float
    parts: dict[str, float]
    gradient: Tensor

    @property
    def finite(self) -> bool:
        """Whether loss and gradient are."""
        return bool(torch.isfinite(torch.tensor(self.loss)) and torch.isfinite(self.gradient).all())


@dataclass(frozen=True)
class Region:
    """A style and where it goes.

    Attributes:
        grams: layer → `(C, C)`, what the region's Gram matrices should be.
        share: of this region in the style loss.
        mask: `(1, 1, H, W)` in [0, 1]; None is the whole picture.
    """

    grams: Grams
    share: float = 1.0
    mask: Tensor | None = None


def looked_at(loss: LossConfig) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The layers of the content and of the style term; none for a term without weight."""
    return (
        loss.perceptual.layers if loss.perceptual.weight else (),
        loss.style.layers if loss.style.weight else (),
    )


class FeaturesInTiles:
    """VGG-19 features of pictures of one size, tile by tile.

    Args:
        vgg: the network.
        size: (H, W) of the pictures.
        layers: the layers that are looked at.
        side: of a tile; None sees the picture at once.
        bf16: whether the network computes in bfloat16.
    """

    def __init__(
        self,
        vgg: VGG19Features,
        size: tuple[int, int],
        layers: Sequence[str],
        side: int | None = None,
        bf16: bool = False,
    ) -> None:
        self.layers = tuple(dict.fromkeys(layers))
        self.tiles = make_tiles(size, side, self.layers) if self.layers else []
        self._vgg, self._bf16 = vgg, bf16

    def of(self, part: Tensor, tile: Tile) -> dict[str, Tensor]:
        """Layer → features of a tile's core, from the tile with its margin."""
        # Channels last: oneDNN and the sums of Winograd's filtering are fastest with them.
        part = adapt_channels(part, 3).contiguous(memory_format=torch.channels_last)
        with torch.autocast(part.device.type, torch.bfloat16, enabled=self._bf16):
            features = self._vgg(part, self.layers)
        if len(self.tiles) == 1:
            return features
        return {name: tile.core(whole, name) for name, whole in features.items()}

    @torch.no_grad()
    def of_whole(self, picture: Tensor) -> dict[str, Tensor]:
        """Layer → features of the whole picture, put together from its tiles."""
        wholes: dict[str, Tensor] = {}
        for tile in self.tiles:
            features = self.of(tile.of_picture(picture), tile)
            if len(self.tiles) == 1:
                return features
            for name, core in features.items():
                if name not in wholes:
                    cells = [n // stride(name) for n in tile.size]
                    wholes[name] = core.new_empty(*core.shape[:2], *cells)
                tile.core_of_whole(wholes[name], name).copy_(core)
        return wholes

    @torch.no_grad()
    def grams(self, picture: Tensor, mask: Tensor | None = None) -> Grams:
        """Layer → `(1, C, C)`, the Gram matrices of a picture, or of a region of it."""
        masks = None if mask is None else masks_at(mask, self.layers)
        sums: Grams = {}
        for tile in self.tiles:
            features = self.of(tile.of_picture(picture), tile)
            for name in self.layers:
                part = partial_gram(features[name], tile, name, masks)
                sums[name] = sums[name] + part if name in sums else part
        return sums


def masks_at(mask: Tensor, layers: Sequence[str]) -> Grams:
    """Layer → how much of each feature's own pixels lies in a mask, `(1, 1, h, w)`."""
    return {name: F.avg_pool2d(mask, stride(name)) for name in layers}


def partial_gram(
    features: Tensor, tile: Tile, layer: str, masks: Mapping[str, Tensor] | None = None
) -> Tensor:
    """What a tile's core adds to the Gram matrix of a picture, or of a region of it.

    A region's Gram matrix is that of the features times the mask, divided by C·ΣT² in place of
    C·H·W, T being the mask at the layer (Gatys et al. 2017, "Controlling perceptual factors in
    neural style transfer", guided Gram matrices).

    Args:
        features: `(1, C, h, w)` of the core.
        tile: the tile.
        layer: the features' layer.
        masks: layer → `(1, 1, h, w)` of the whole picture; None is everywhere.
    """
    here = features.shape[2] * features.shape[3]
    if masks is None:
        height, width = (n // stride(layer) for n in tile.size)
        return gram_matrix(features) * (here / (height * width))
    weight = masks[layer]
    masked = at_least_fp32(features) * tile.core_of_whole(weight, layer)
    # A mask that lies in a row that pooling leaves out has no feature at all.
    return gram_matrix(masked) * (here / weight.square().sum().clamp_min(1e-12))


class PictureObjective:
    """The weighted sum of content, style, total variation and continuity, with its gradient.

    Args:
        features: of pictures of this size, in tiles.
        loss: the `loss` section; `perceptual` is the content term.
        content: layer → features of the content, of the whole picture.
        regions: the styles and where they go.
        continued: what `continuity` holds the picture to, `(1, C, H, W)`.
    """

    def __init__(
        self,
        features: FeaturesInTiles,
        loss: LossConfig,
        content: Mapping[str, Tensor],
        regions: Sequence[Region],
        continued: Tensor | None = None,
    ) -> None:
        self._features = features
        self._loss = loss
        self._content = content
        self._regions = regions
        self._continued = continued
        self._content_layers, style_layers = looked_at(loss)
        self._style_layers = style_layers if regions else ()
        self._masks = [
            None if region.mask is None else masks_at(region.mask, self._style_layers)
            for region in regions
        ]
        self.weights = {"content": loss.perceptual.weight, "style": loss.style.weight}
        self.weights["total_variation"] = loss.total_variation.weight
        self.weights["continuity"] = loss.continuity.weight if continued is not None else 0.0

    def __call__(self, picture: Tensor) -> Evaluation:
        """Evaluate at `(1, C, H, W)` in [-1, 1]."""
        x = picture.detach().requires_grad_()
        parts = self._of_pixels(x)
        tiled = len(self._features.tiles) > 1
        gradient = torch.zeros_like(picture)
        if tiled:
            seen, gradient = self._in_two_passes(picture)
        else:
            seen = self._of_features(x)
        everything = {**seen, **parts}
        with_gradient = parts if tiled else everything
        if with_gradient:
            total = torch.stack([self.weights[n] * v for n, v in with_gradient.items()]).sum()
            gradient = gradient + torch.autograd.grad(total, x)[0]
        values = {name: float(value.detach()) for name, value in everything.items()}
        loss = sum(self.weights[name] * value for name, value in values.items())
        return Evaluation(loss, {n: values[n] for n in self.weights if n in values}, gradient)

    def _of_pixels(self, x: Tensor) -> dict[str, Tensor]:
        """The terms that need no VGG-19."""
        parts = {}
        if self.weights["total_variation"]:
            parts["total_variation"] = total_variation(x)
        if self.weights["continuity"]:
            assert self._continued is not None
            parts["continuity"] = (x - self._continued).square().mean()
        return parts

    def _of_features(self, x: Tensor) -> dict[str, Tensor]:
        """The VGG-19's terms of a picture that is seen at once."""
        if not self._features.tiles:
            return {}
        (tile,) = self._features.tiles
        features = self._features.of(x, tile)
        parts = {}
        if self._content_layers:
            parts["content"] = self._content_part(features, tile)
        if self._style_layers:
            parts["style"] = self._style_part(self._grams(features, tile))
        return parts

    def _in_two_passes(self, picture: Tensor) -> tuple[dict[str, Tensor], Tensor]:
        """The VGG-19's terms, and their weighted gradient."""
        parts: dict[str, Tensor] = {}
        sums: list[Grams] = []
        with torch.no_grad():
            for tile in self._features.tiles:
                features = self._features.of(tile.of_picture(picture), tile)
                if self._content_layers:
                    part = self._content_part(features, tile)
                    parts["content"] = parts["content"] + part if "content" in parts else part
                if self._style_layers:
                    sums = _added(sums, self._grams(features, tile))
        pulls: list[Grams] = []
        if self._style_layers:
            leaves = [{n: g.requires_grad_() for n, g in grams.items()} for grams in sums]
            parts["style"] = self._style_part(leaves)
            flat = [gram for grams in leaves for gram in grams.values()]
            pulled = iter(torch.autograd.grad(self.weights["style"] * parts["style"], flat))
            pulls = [{name: next(pulled) for name in grams} for grams in leaves]
        gradient = torch.zeros_like(picture)
        for tile in self._features.tiles:
            part = tile.of_picture(picture).detach().requires_grad_()
            features = self._features.of(part, tile)
            # Linear in the Gram matrices, with the same gradient as the loss at this picture.
            total = part.new_zeros(())
            for pull, grams in zip(pulls, self._grams(features, tile), strict=True):
                for name, gram in grams.items():
                    total = total + (pull[name] * gram).sum()
            if self._content_layers:
                total = total + self.weights["content"] * self._content_part(features, tile)
            tile.of_picture(gradient).add_(torch.autograd.grad(total, part)[0])
        return {name: value.detach() for name, value in parts.items()}, gradient

    def _content_part(self, features: Mapping[str, Tensor], tile: Tile) -> Tensor:
        """What a tile adds to the content term."""
        terms = []
        for name in self._content_layers:
            target = self._content[name]
            core = tile.core_of_whole(target, name)
            share = core[0, 0].numel() / target[0, 0].numel()
            terms.append(share * content_distance(features, {name: core}, [name]))
        return torch.stack(terms).mean()

    def _grams(self, features: Mapping[str, Tensor], tile: Tile) -> list[Grams]:
        """Region → layer → what a tile adds to the Gram matrix."""
        if not self._style_layers:
            return []
        return [
            {name: partial_gram(features[name], tile, name, masks) for name in self._style_layers}
            for masks in self._masks
        ]

    def _style_part(self, grams: Sequence[Grams]) -> Tensor:
        weights = self._loss.style.layer_weights
        terms = [
            region.share * style_distance(own, region.grams, self._style_layers, weights)
            for region, own in zip(self._regions, grams, strict=True)
        ]
        return torch.stack(terms).sum()


def _added(sums: list[Grams], more: list[Grams]) -> list[Grams]:
    if not sums:
        return more
    return [
        {name: gram + other[name] for name, gram in grams.items()}
        for grams, other in zip(sums, more, strict=True)
    ]
