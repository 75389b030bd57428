"""CycleGAN (Zhu et al. 2017) with VGG-19 perceptual and Gram-style regularisers.

Two generators translate between the domains, two discriminators judge each domain, and
an image translated there and back must come back. The generators may share their layers
(`generator.name=switchable`): the losses of both directions then reach the same weights.

One joint backward serves generators and discriminators: the generators' loss passes through
the discriminators with their parameters detached, and the discriminators' loss sees detached
translations, so that each network gets exactly the gradient that it gets in the alternating
form.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from medstyle_gan.config import Config
from medstyle_gan.config.method_section import CycleGANConfig
from medstyle_gan.data.words import DIRECTIONS, INTO, OTHER
from medstyle_gan.losses import total_variation
from medstyle_gan.methods.adversarial_method import AdversarialMethod
from medstyle_gan.methods.batch_facts import NOTHING, BatchFacts
from medstyle_gan.methods.vgg_regularizer import Term, VGGRegularizer
from medstyle_gan.networks import (
    adapt_channels,
    build_discriminator,
    build_generators,
    middle_slice,
)


class CycleGAN(AdversarialMethod):
    """CycleGAN over batches `{"scan": (B, C, *spatial), "style": (B, C', *spatial)}`.

    2.5-D samples are translated with their neighbours, stack to stack, so that a translation can
    be translated back; discriminators judge stacks, and with them how slices follow each other.
    The VGG-19, panels and guards see the slice in the middle.

    Args:
        config: all settings.
        scan_channels: channels of a scan's sample, all slices' of a 2.5-D one.
        style_channels: channels of a style image's sample.
        regularizer: the VGG-19 terms; None trains without them.
    """

    directions = DIRECTIONS

    def __init__(
        self,
        config: Config,
        scan_channels: int = 1,
        style_channels: int = 1,
        regularizer: VGGRegularizer | None = None,
    ) -> None:
        super().__init__(config, scan_channels, style_channels, regularizer)
        dims = config.data.spatial_dims
        self.scan_to_style, self.style_to_scan = build_generators(
            config.generator, scan_channels, style_channels, dims
        )
        self.scan_discriminator = build_discriminator(config.discriminator, scan_channels, dims)
        self.style_discriminator = build_discriminator(config.discriminator, style_channels, dims)
        self.begin()
        self.begin_game()

    @property
    def settings(self) -> CycleGANConfig:
        """The `method` section."""
        assert isinstance(self.config.method, CycleGANConfig)
        return self.config.method

    # ------------------------------------------------------------------------- networks

    @property
    def generators(self) -> dict[str, nn.Module]:
        """Both generators by direction."""
        return {"scan_to_style": self.scan_to_style, "style_to_scan": self.style_to_scan}

    @property
    def discriminators(self) -> dict[str, nn.Module]:
        """Both discriminators by the domain that they judge."""
        return {"scan": self.scan_discriminator, "style": self.style_discriminator}

    def panel(self, batch: Mapping[str, Tensor]) -> dict[str, list[Tensor]]:
        """What a sample panel shows of each domain's images.

        Args:
            batch: domain → images `(B, C, *spatial)`, and facts as `BatchFacts` finds them.

        Returns:
            domain → [image, translation, reconstruction, identity], each `(B, C, *spatial)`.
        """
        masks = BatchFacts.of(batch).masks
        rows: dict[str, list[Tensor]] = {}
        for domain, other in OTHER.items():
            image = batch[domain]
            mask = masks.get(domain)
            translation = self.translate(image, INTO[other], mask=mask)
            reconstruction = self.translate(translation, INTO[domain], mask=mask)
            own = adapt_channels(image, self.channels[other])
            identity = self.translate(own, INTO[domain], mask=mask)
            stages = [image, translation, reconstruction, identity]
            rows[domain] = [middle_slice(s, self.config.data.sample_slices) for s in stages]
        return rows

    # --------------------------------------------------------------------------- losses

    def generator_terms(
        self, real: Mapping[str, Tensor], position: int = 0, facts: BatchFacts = NOTHING
    ) -> tuple[dict[str, Term], dict[str, Tensor]]:
        """All terms of the generators' loss, and the translations by the domain they're in.

        Args:
            real: domain → images `(B, C, *spatial)`.
            position: of the first image in the step's batch over all processes, as in
                `discriminator_terms`.
            facts: what is known of the images.
        """
        loss, masks = self.config.loss, facts.masks
        terms: dict[str, Term] = {}
        translated: dict[str, Tensor] = {}
        for domain, other in OTHER.items():
            generator, mask = self.generators[INTO[domain]], masks.get(domain)
            if loss.identity.weight:
                # One batch for both passes: exact, as instance norm sees each image alone.
                own = adapt_channels(real[domain], self.channels[other])
                both = generator(torch.cat([real[other], own]))
                made, same = both.split(len(real[domain]))
                value = self.body.l1(self.body.translation(same, domain, mask), real[domain], mask)
                terms[f"identity_{domain}"] = Term(value, loss.identity.weight)
            else:
                made = generator(real[other])
            translated[domain] = self.body.translation(made, domain, masks.get(other))
        reconstructed: dict[str, Tensor] = {}
        for domain, other in OTHER.items():
            if loss.cycle.weight or loss.perceptual.reconstruction_weight:
                back = self.generators[INTO[domain]](translated[other])
                reconstructed[domain] = self.body.translation(back, domain, masks.get(domain))
        # Where a gradient has come through all that judges these, the generators' begins.
        self.step_clock.backward("generators", [*translated.values(), *reconstructed.values()])
        judged: list[Tensor] = []
        for domain, into in INTO.items():
            if loss.cycle.weight:
                value = self.body.l1(reconstructed[domain], real[domain], masks.get(domain))
                terms[f"cycle_{domain}"] = Term(value, loss.cycle.weight)
            if loss.adversarial.weight:
                with self.step_clock.part("discriminators"):
                    mask = masks.get(OTHER[domain])
                    value = self.adversarial_value(domain, translated[domain], position, mask)
                terms[f"adversarial_{into}"] = Term(value, loss.adversarial.weight)
                judged.append(value)
            if loss.total_variation.weight:
                value = total_variation(translated[domain])
                terms[f"total_variation_{into}"] = Term(value, loss.total_variation.weight)
        self.step_clock.backward("discriminators", judged)
        if self.regularizer is not None:
            with self.step_clock.part("vgg"):
                seen = self.regularizer(
                    self.step, real, translated, reconstructed, position, facts.heights
                )
            self.step_clock.backward("vgg", (term.value for term in seen.values()))
            terms |= seen
        return terms, translated
