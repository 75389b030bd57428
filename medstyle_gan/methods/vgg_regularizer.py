"""The VGG-19 perceptual and Gram-style terms of a translator, applied lazily."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from medstyle_gan.config.loss_section import LossConfig
from medstyle_gan.data.words import OTHER
from medstyle_gan.losses import content_distance, gram_matrix, style_distance
from medstyle_gan.methods.vgg_views import Views
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
def collection_grams(
    vgg: VGG19Features,
    batches: Iterable[Mapping[str, Tensor]],
    layers: Iterable[str],
    views: Views | None = None,
    bins: int | None = None,
) -> dict[str, Grams]:
    """Mean Gram matrices of collections at each layer, or of each part of the body's height.

    Args:
        vgg: the feature network.
        batches: domain → images `(B, C, *spatial)` in [-1, 1]; with bins also their heights
            `(B,)` in [0, 1], as `scan_height` and `style_height`.
        layers: which layers.
        views: what is seen of the images; None is all of them. The mean over crops is not that
            over whole images, nor that over reduced ones: give those of the training.
        bins: parts of the body's height, equally high; None is one mean over all.

    Returns:
        domain → layer → `(C, C)`, the mean over all that is seen; with bins `(bins, C, C)`, where
        a part that none was drawn of has the mean of the nearest one.
    """
    names = tuple(layers)
    views = views or Views()
    sums: dict[str, Grams] = {}
    counts: dict[str, Tensor] = {}
    drawn = 0
    for batch in batches:
        view = None
        for domain in OTHER:
            if domain not in batch:
                continue
            images = batch[domain]
            view = view or views.choose(images.shape[2:], len(images), 0, drawn)
            own = torch.zeros(len(images), dtype=torch.long)
            if bins is not None:
                own = height_bins(batch[f"{domain}_height"], bins).cpu()
            for seen, which in zip(view(images), view.images, strict=True):
                features, places = vgg(seen, names), own[which]
                hits = torch.bincount(places, minlength=bins or 1)
                counts[domain] = counts[domain] + hits if domain in counts else hits
                mine = sums.setdefault(domain, {})
                for name in names:
                    gram = gram_matrix(features[name])
                    total = gram.sum(dim=0, keepdim=True)
                    if bins is not None:
                        total = gram.new_zeros(bins, *gram.shape[1:])
                        total.index_add_(0, places.to(gram.device), gram)
                    mine[name] = mine[name] + total if name in mine else total
        drawn += 0 if view is None else view.count
    means = {
        domain: {name: _binned_means(total, counts[domain]) for name, total in mine.items()}
        for domain, mine in sums.items()
    }
    if bins is not None:
        return means
    return {
        domain: {name: mean[0] for name, mean in mine.items()} for domain, mine in means.items()
    }


def height_bins(heights: Tensor, bins: int) -> Tensor:
    """Which of equally high parts of the body each height in [0, 1] is in: `(B,)` int64."""
    return (heights * bins).long().clamp(0, bins - 1)


def _binned_means(sums: Tensor, counts: Tensor) -> Tensor:
    """Means over each bin `(bins, C, C)`; an empty one takes the nearest that is not."""
    filled = counts.nonzero()[:, 0]
    distances = (torch.arange(len(counts))[:, None] - filled).abs()
    nearest = filled[distances.argmin(dim=1)].to(sums.device)
    return (sums / counts.clamp(min=1).to(sums)[:, None, None])[nearest]


class VGGRegularizer:
    """Perceptual and style terms between real images, translations and reconstructions.

    A term with `every_n_steps` = n acts at every n-th step with n times its weight, so
    that its mean pull is the configured one at 1/n of the cost (the lazy regularisation
    of Karras et al. 2020).

    Adam: there the regulariser has optimiser steps of its own, n + 1 for n batches, for which
    learning rate and betas are corrected by c = n / (n + 1). Here it is added to the step that
    there is anyway, n for n batches, so c = 1, and a period's first moments sum up to the same.
    What remains is the second moment. With m the gradient of all other terms and r that of the
    lazy one, it is E[m² + 2mr + nr²] in place of E[(m + r)²]: (n - 1)E[r²] more, over which
    Adam's memory averages (1000 steps at the default betas). All steps become shorter by about
    (n - 1)s²/2, s being the share of r in the gradient. `scripts/study_lazy_vgg.py`, default
    weights, n = 4, found s = 0.05 and by it steps 0.993 times as long, and after 600 steps
    VGG losses 0.96 to 1.01 times those of every step, means over three seeds. So nothing is
    corrected. Weights that make r most of the gradient would be another matter: up to 1/√n.

    Both domains' images pass the network together, and no further than the deepest layer
    that is asked of them. Real images pass it once for all terms that look at them, without
    gradients, and not at all where no term does: style.target `collection` has the mean Gram
    matrices, made once. Features of real images cannot be kept from step to step, as each
    step's samples are drawn and augmented anew.

    Args:
        vgg: the feature network; must give all of `wanted_layers(loss)`.
        loss: the `loss` section.
        collection_targets: for `style.target: collection`, domain → layer → mean Gram, of the
            same views; for `position`, `(bins, C, C)` of them, from the body's lowest part up.
        views: what the network sees of the images; None is all of them.
    """

    def __init__(
        self,
        vgg: VGG19Features,
        loss: LossConfig,
        collection_targets: Mapping[str, Grams] | None = None,
        views: Views | None = None,
    ) -> None:
        if loss.style.weight and loss.style.target != "batch" and not collection_targets:
            raise ValueError(f"style.target is {loss.style.target}, but no mean Grams were given")
        self.vgg = vgg
        self.loss = loss
        self.views = views or Views()
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
        position: int = 0,
        heights: Mapping[str, Tensor] | None = None,
    ) -> dict[str, Term]:
        """The terms that act at a step.

        Args:
            step: steps done before this one.
            real: domain → images `(B, C, *spatial)` in [-1, 1].
            translated: domain → images translated *into* that domain, where there are some.
            reconstructed: domain → that domain's images there and back, likewise.
            position: of the first image in the step's batch over all processes; what is seen of
                an image is keyed by it.
            heights: domain → `(B,)` relative heights of its images in the body, in [0, 1]; for
                `style.target: position`.

        Returns:
            name → term; empty at steps between the applications.
        """
        if not self._acting(step):
            return {}
        scans = real["scan"]
        view = self.views.choose(scans.shape[2:], len(scans), step, position)
        batches = (real, translated, reconstructed)
        seen = [{domain: view(images) for domain, images in batch.items()} for batch in batches]
        terms: dict[str, Term] = {}
        for number, share in enumerate(view.shares):
            ours, made, rebuilt = (
                {d: parts[number] for d, parts in batch.items()} for batch in seen
            )
            own = {d: of_images[view.images[number]] for d, of_images in (heights or {}).items()}
            for name, term in self._terms(step, ours, made, rebuilt, own).items():
                value = share * term.value
                value = terms[name].value + value if name in terms else value
                terms[name] = Term(value, term.weight)
        return terms

    def _acting(self, step: int) -> tuple[str, ...]:
        """Which of `content`, `rebuilt` and `style` act at a step."""
        perceptual, style = self.loss.perceptual, self.loss.style
        weights = {
            "content": (perceptual.weight, perceptual.every_n_steps),
            "rebuilt": (perceptual.reconstruction_weight, perceptual.every_n_steps),
            "style": (style.weight, style.every_n_steps),
        }
        return tuple(name for name, (weight, n) in weights.items() if weight and step % n == 0)

    def _terms(
        self,
        step: int,
        real: Mapping[str, Tensor],
        translated: Mapping[str, Tensor],
        reconstructed: Mapping[str, Tensor],
        heights: Mapping[str, Tensor],
    ) -> dict[str, Term]:
        """The terms between 2-D images `(N, C, h, w)` of one size."""
        perceptual, style = self.loss.perceptual, self.loss.style
        acting = self._acting(step)
        on_content, on_rebuilt, on_style = (
            name in acting for name in ("content", "rebuilt", "style")
        )
        terms: dict[str, Term] = {}
        # Of a method that translates one way alone, that one.
        directions = [(OTHER[target], target) for target in OTHER.values() if target in translated]
        content = perceptual.layers
        on_batch = on_style and style.target == "batch"
        compared: set[str] = set()
        compared |= {source for source, _ in directions} if on_content or on_rebuilt else set()
        compared |= {target for _, target in directions} if on_batch else set()
        with torch.no_grad():
            looked_at = (content if on_content or on_rebuilt else ()) + style.layers * on_batch
            shown = {domain: images for domain, images in real.items() if domain in compared}
            real_features = self._features(shown, looked_at)
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
                if style.target == "batch":
                    grams = {n: gram_matrix(real_features[target][n]) for n in style.layers}
                else:
                    grams = self.collection_targets[target]
                if style.target == "position":
                    # Of the style images where the translated one is in its own body.
                    grams = {n: g[height_bins(heights[source], len(g))] for n, g in grams.items()}
                value = style_distance(features, grams, style.layers, style.layer_weights)
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
