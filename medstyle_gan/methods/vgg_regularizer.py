"""The VGG-19 perceptual and Gram-style terms of a translator, applied lazily."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from medstyle_gan.config.schema import LossConfig
from medstyle_gan.losses import content_distance, gram_matrix, style_distance
from medstyle_gan.networks import VGG19Features

Grams = dict[str, Tensor]


@dataclass(frozen=True)
class Term:
    """A loss term of one step: its unweighted value and the weight it has in this step."""

    value: Tensor
    weight: float


def wanted_layers(loss: LossConfig) -> tuple[str, ...]:
    """The VGG-19 layers that the configured terms look at; empty when all are off."""
    layers: list[str] = []
    if loss.perceptual.weight or loss.perceptual.reconstruction_weight:
        layers += loss.perceptual.layers
    if loss.style.weight:
        layers += loss.style.layers
    return tuple(dict.fromkeys(layers))


def cadence(loss: LossConfig) -> int:
    """Steps after which the lazily applied terms repeat their pattern; 1 without them."""
    perceptual = loss.perceptual.weight or loss.perceptual.reconstruction_weight
    return math.lcm(
        loss.perceptual.every_n_steps if perceptual else 1,
        loss.style.every_n_steps if loss.style.weight else 1,
    )


@torch.no_grad()
def collection_grams(vgg: VGG19Features, samples: Iterable[Tensor], layers: Iterable[str]) -> Grams:
    """Mean Gram matrix of a collection at each layer.

    Args:
        vgg: the feature network.
        samples: batches `(B, C, H, W)` in [-1, 1].
        layers: which layers.

    Returns:
        layer → `(C, C)`, the mean over all images.
    """
    names = list(layers)
    sums: dict[str, Tensor] = {}
    count = 0
    for batch in samples:
        features = vgg(batch)
        count += len(batch)
        for name in names:
            total = gram_matrix(features[name]).sum(dim=0)
            sums[name] = sums[name] + total if name in sums else total
    return {name: total / count for name, total in sums.items()}


class VGGRegularizer:
    """Perceptual and style terms between real images, translations and reconstructions.

    A term with `every_n_steps` = n acts at every n-th step with n times its weight, so
    that its mean pull is the configured one at 1/n of the cost (the lazy regularisation
    of Karras et al. 2020).

    Both domains' images pass the network together, and no further than the deepest layer
    that is asked of them. Features of real images cannot be kept from step to step: each
    step's samples are drawn and augmented anew.

    Args:
        vgg: the feature network; must give all of `wanted_layers(loss)`.
        loss: the `loss` section.
        collection_targets: for `style.target: collection`, domain → layer → mean Gram.
    """

    def __init__(
        self,
        vgg: VGG19Features,
        loss: LossConfig,
        collection_targets: Mapping[str, Grams] | None = None,
    ) -> None:
        if loss.style.weight and loss.style.target == "collection" and not collection_targets:
            raise ValueError("style.target is collection, but no collection Grams were given")
        self.vgg = vgg
        self.loss = loss
        self.collection_targets = dict(collection_targets or {})

    def to(self, device: torch.device) -> None:
        """Move the feature network and the targets."""
        self.vgg.to(device)
        self.collection_targets = {
            domain: {name: gram.to(device) for name, gram in grams.items()}
            for domain, grams in self.collection_targets.items()
        }

    def __call__(
        self,
        step: int,
        real: Mapping[str, Tensor],
        translated: Mapping[str, Tensor],
        reconstructed: Mapping[str, Tensor],
    ) -> dict[str, Term]:
        """The terms that act at a step.

        Args:
            step: steps done before this one.
            real: domain → images `(B, C, H, W)` in [-1, 1].
            translated: domain → images translated *into* that domain.
            reconstructed: domain → that domain's images there and back.

        Returns:
            name → term; empty at steps between the applications.
        """
        perceptual, style = self.loss.perceptual, self.loss.style
        on_content = perceptual.weight > 0 and step % perceptual.every_n_steps == 0
        on_rebuilt = perceptual.reconstruction_weight > 0 and step % perceptual.every_n_steps == 0
        on_style = style.weight > 0 and step % style.every_n_steps == 0
        if not (on_content or on_rebuilt or on_style):
            return {}

        terms: dict[str, Term] = {}
        directions = (("scan", "style"), ("style", "scan"))
        content = perceptual.layers
        on_batch = on_style and style.target == "batch"
        with torch.no_grad():
            looked_at = (content if on_content or on_rebuilt else ()) + style.layers * on_batch
            real_features = self._features(real, looked_at)
        looked_at = content * on_content + style.layers * on_style
        translated_features = self._features(translated, looked_at)
        rebuilt_features = self._features(reconstructed, content * on_rebuilt)
        for source, target in directions:
            name = f"{source}_to_{target}"
            features = translated_features.get(target, {})
            if on_content:
                value = content_distance(features, real_features[source], perceptual.layers)
                weight = perceptual.weight * perceptual.every_n_steps
                terms[f"perceptual_{name}"] = Term(value, weight)
            if on_rebuilt:
                rebuilt = rebuilt_features[source]
                value = content_distance(rebuilt, real_features[source], perceptual.layers)
                weight = perceptual.reconstruction_weight * perceptual.every_n_steps
                terms[f"perceptual_reconstruction_{source}"] = Term(value, weight)
            if on_style:
                grams: Grams = (
                    self.collection_targets[target]
                    if style.target == "collection"
                    else {n: gram_matrix(real_features[target][n]) for n in style.layers}
                )
                value = style_distance(features, grams, style.layers)
                terms[f"style_{name}"] = Term(value, style.weight * style.every_n_steps)
        return terms

    def _features(
        self, images: Mapping[str, Tensor], layers: tuple[str, ...]
    ) -> dict[str, dict[str, Tensor]]:
        """Domain → layer → features, in one pass where the images' shapes allow it."""
        if not layers:
            return {}
        shapes = {x.shape for x in images.values()}
        if len(shapes) > 1:
            return {domain: self.vgg(x, layers) for domain, x in images.items()}
        together = self.vgg(torch.cat(list(images.values())), layers)
        parts = {name: f.chunk(len(images)) for name, f in together.items()}
        return {
            domain: {name: part[place] for name, part in parts.items()}
            for place, domain in enumerate(images)
        }
