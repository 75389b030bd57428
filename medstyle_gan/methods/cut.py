"""CUT and FastCUT (Park et al. 2020): one way, each patch held to its own place by contrast.

"Contrastive learning for unpaired image-to-image translation". There is no way back: a patch of a
translation must be more like the scan's patch at its place than like those at other places, by
features of the generator's own layers. `cut` does so for style images and their identity too;
`fastcut` leaves that out and translates half of the scans flipped.

It has half of CycleGAN's networks, and no cycle in which a generator could hide a scan. But
nothing else holds a translation to its scan: where the collections differ in content (more tumours
in one of them) the discriminator asks for what it knows, and a generator gives it by hallucination.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from medstyle_gan.config import Config
from medstyle_gan.config.method_section import CutConfig
from medstyle_gan.losses import patch_nce, total_variation
from medstyle_gan.methods.adversarial_method import AdversarialMethod
from medstyle_gan.methods.batch_facts import NOTHING, BatchFacts
from medstyle_gan.methods.structure_terms import foreground
from medstyle_gan.methods.vgg_regularizer import Term, VGGRegularizer
from medstyle_gan.networks import (
    ProjectionHeads,
    ResNetGenerator,
    adapt_channels,
    build_discriminator,
    build_generator,
    middle_slice,
)

# Where this stream of random numbers begins: those of the discriminators' images end far below.
_COUNTER = 1 << 194
_FLIPS, _SCAN, _STYLE = 0, 1, 2
Features = Mapping[str, Tensor]


class CUT(AdversarialMethod):
    """CUT over batches `{"scan": (B, C, *spatial), "style": (B, C', *spatial)}`; FastCUT too.

    What the two are is in their settings. 2.5-D samples are translated stack to stack.

    Args:
        config: all settings.
        scan_channels: channels of a scan's sample, all slices' of a 2.5-D one.
        style_channels: channels of a style image's sample.
        regularizer: the VGG-19 terms; None trains without them.
    """

    directions = ("scan_to_style",)

    def __init__(
        self,
        config: Config,
        scan_channels: int = 1,
        style_channels: int = 1,
        regularizer: VGGRegularizer | None = None,
    ) -> None:
        super().__init__(config, scan_channels, style_channels, regularizer)
        dims = config.data.spatial_dims
        generator = build_generator(config.generator, scan_channels, style_channels, dims)
        assert isinstance(generator, ResNetGenerator)  # the config has made sure of it
        self.scan_to_style = generator
        self.style_discriminator = build_discriminator(config.discriminator, style_channels, dims)
        channels = self.scan_to_style.feature_channels(self.settings.layers)
        self.projection_heads = ProjectionHeads(channels, self.settings.projection_width)
        self.begin()
        self.begin_game()

    @property
    def settings(self) -> CutConfig:
        """The `method` section."""
        assert isinstance(self.config.method, CutConfig)
        return self.config.method

    @property
    def generators(self) -> dict[str, nn.Module]:
        """The one generator, by its direction."""
        return {"scan_to_style": self.scan_to_style}

    @property
    def discriminators(self) -> dict[str, nn.Module]:
        """The one discriminator."""
        return {"style": self.style_discriminator}

    @property
    def helpers(self) -> dict[str, nn.Module]:
        """What features are compared through."""
        return {"projection_heads": self.projection_heads, **super().helpers}

    def panel(self, batch: Mapping[str, Tensor]) -> dict[str, list[Tensor]]:
        """Scans with their translations, and what the style is like.

        Returns:
            `{"scan": [scan, translation], "style": [style]}`, each `(B, C, *spatial)`.
        """
        slices = self.config.data.sample_slices
        mask = BatchFacts.of(batch).masks.get("scan")
        stages = [batch["scan"], self.translate(batch["scan"], "scan_to_style", mask=mask)]
        return {
            "scan": [middle_slice(stage, slices) for stage in stages],
            "style": [middle_slice(batch["style"], slices)],
        }

    # --------------------------------------------------------------------------- losses

    def generator_terms(
        self, real: Mapping[str, Tensor], position: int = 0, facts: BatchFacts = NOTHING
    ) -> tuple[dict[str, Term], dict[str, Tensor]]:
        """All terms of the generator's loss but those of structure, and the translations.

        Args:
            real: domain → images `(B, C, *spatial)`.
            position: of the first image in the step's batch over all processes; flips and
                patches are keyed by it.
            facts: what is known of the images.
        """
        masks = facts.masks
        loss, scan = self.config.loss, real["scan"]
        flips = self._flips(len(scan), position)
        images = [flipped(scan, flips)]
        if loss.contrastive.identity_weight or loss.identity.weight:
            images.append(adapt_channels(real["style"], self.channels["scan"]))
        # One batch for both passes: exact, as instance norm sees each image alone.
        made = list(self.scan_to_style(torch.cat(images)).split(len(scan)))
        kept = self.body.translation(flipped(made[0], flips), "style", masks.get("scan"))
        translated = {"style": kept}
        made = [
            flipped(kept, flips),
            *(self.body.translation(same, "style", masks.get("style")) for same in made[1:]),
        ]
        self.step_clock.backward("generators", [*made, *translated.values()])
        terms = self._contrastive_terms(real, made, flips, position, masks)
        self.step_clock.backward("generators", (term.value for term in terms.values()))
        if loss.identity.weight:
            value = self.body.l1(made[1], real["style"], masks.get("style"))
            terms["identity_style"] = Term(value, loss.identity.weight)
        if loss.adversarial.weight:
            with self.step_clock.part("discriminators"):
                mask = masks.get("scan")
                value = self.adversarial_value("style", translated["style"], position, mask)
            self.step_clock.backward("discriminators", [value])
            terms["adversarial_scan_to_style"] = Term(value, loss.adversarial.weight)
        if loss.total_variation.weight:
            value = total_variation(translated["style"])
            terms["total_variation_scan_to_style"] = Term(value, loss.total_variation.weight)
        if self.regularizer is not None:
            with self.step_clock.part("vgg"):
                seen = self.regularizer(self.step, real, translated, {}, position, facts.heights)
            self.step_clock.backward("vgg", (term.value for term in seen.values()))
            terms |= seen
        return terms, translated

    def _contrastive_terms(
        self,
        real: Mapping[str, Tensor],
        made: Sequence[Tensor],
        flips: Sequence[bool],
        position: int,
        masks: Mapping[str, Tensor],
    ) -> dict[str, Term]:
        """The contrast of translations, and of style images through the generator."""
        config, channels = self.config.loss.contrastive, self.channels["scan"]
        sources = {"scan": real["scan"]}
        if config.identity_weight:
            sources["style"] = adapt_channels(real["style"], channels)
        count, layers = len(real["scan"]), self.settings.layers
        queries: Features = self.scan_to_style.features(
            torch.cat([adapt_channels(x, channels) for x in made[: len(sources)]]), layers
        )
        with torch.no_grad():
            keys: Features = self.scan_to_style.features(torch.cat(list(sources.values())), layers)
        values = {}
        for number, (domain, source) in enumerate(sources.items()):
            part = slice(number * count, (number + 1) * count)
            of_made = {name: x[part] for name, x in queries.items()}
            if domain == "scan":
                of_made = {name: flipped(x, flips) for name, x in of_made.items()}
            stream = _SCAN if domain == "scan" else _STYLE
            places = self._places(source, keys, position, stream, masks.get(domain))
            values[domain] = self._contrast(of_made, {n: x[part] for n, x in keys.items()}, places)
        terms = {"contrastive_scan_to_style": Term(values["scan"], config.weight)}
        if config.identity_weight:
            terms["contrastive_identity_style"] = Term(values["style"], config.identity_weight)
        return terms

    def _contrast(
        self, queries: Features, keys: Features, places: Mapping[str, Sequence[Tensor]]
    ) -> Tensor:
        """Mean over layers and images of PatchNCE at these places."""
        projected = self.projection_heads({n: _rows(x, places[n]) for n, x in queries.items()})
        with torch.no_grad():
            wanted = self.projection_heads({n: _rows(x, places[n]) for n, x in keys.items()})
        values = []
        for name, chosen in places.items():
            counts = [len(of_image) for of_image in chosen]
            pairs = zip(projected[name].split(counts), wanted[name].split(counts), strict=True)
            temperature = self.config.loss.contrastive.temperature
            values += [patch_nce(query, key, temperature) for query, key in pairs]
        return torch.stack(values).mean()

    # -------------------------------------------------------------------------- choices

    def _rng(self, stream: int, place: int) -> np.random.Generator:
        """Random numbers of one image of the global batch at this step."""
        key = [self.config.training.seed, (self.step << 16) + place]
        return np.random.Generator(np.random.Philox(counter=_COUNTER + (stream << 64), key=key))

    def _flips(self, count: int, position: int) -> list[bool]:
        if not self.settings.flip_equivariance:
            return [False] * count
        return [self._rng(_FLIPS, position + i).random() < 0.5 for i in range(count)]

    def _places(
        self,
        images: Tensor,
        features: Features,
        position: int,
        stream: int,
        mask: Tensor | None = None,
    ) -> dict[str, list[Tensor]]:
        """Layer → the places in each image that are contrasted, as indices of its positions."""
        config = self.config.loss.contrastive
        masks: dict[torch.Size, Tensor] = {}
        if config.region == "foreground":
            body = self._body(images, mask)
            masks = {x.shape[2:]: _reduced(body, x.shape[2:]) for x in features.values()}
        chosen: dict[str, list[Tensor]] = {name: [] for name in features}
        for image in range(len(images)):
            rng = self._rng(stream, position + image)
            for name, x in features.items():
                size = x.shape[2:]
                allowed = int(np.prod(size))
                inside = None
                if masks:
                    inside = masks[size][image].flatten().nonzero().flatten()
                    # Two places at least, to be told from one another.
                    inside = inside if len(inside) > 1 else None
                    allowed = allowed if inside is None else len(inside)
                drawn = rng.choice(allowed, min(config.patches, allowed), replace=False)
                indices = torch.tensor(drawn.tolist(), device=x.device)
                chosen[name].append(indices if inside is None else inside[indices])
        return chosen

    def _body(self, images: Tensor, known: Tensor | None) -> Tensor:
        """Where any slice of a sample shows the body, `(B, 1, *spatial)` of 0 and 1."""
        if known is not None:
            return known.float().amax(dim=1, keepdim=True)
        slices = self.config.data.sample_slices
        each = images.unflatten(1, (slices, -1)).flatten(0, 1)
        mask = foreground(adapt_channels(each, 1)).float()
        return mask.unflatten(0, (len(images), slices)).amax(dim=1)


def flipped(x: Tensor, flips: Sequence[bool]) -> Tensor:
    """Those images of `(B, C, *spatial)` turned over along their first axis that are to be."""
    if not any(flips):
        return x
    return torch.stack(
        [image.flip(1) if flip else image for image, flip in zip(x, flips, strict=True)]
    )


def _rows(x: Tensor, places: Sequence[Tensor]) -> Tensor:
    """Features `(B, C, *spatial)` at each image's places, one after the other: `(N, C)`."""
    return torch.cat([image.flatten(1)[:, at].mT for image, at in zip(x, places, strict=True)])


def _reduced(mask: Tensor, size: torch.Size) -> Tensor:
    pool = F.adaptive_max_pool2d if len(size) == 2 else F.adaptive_max_pool3d
    return pool(mask, list(size))
