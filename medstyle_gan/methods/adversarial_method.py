"""The game with discriminators, for the methods that have some."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from medstyle_gan.config.method_section import AdversarialConfig
from medstyle_gan.losses import AdversarialLoss
from medstyle_gan.methods.batch_facts import NOTHING, BatchFacts
from medstyle_gan.methods.image_pool import ImagePool
from medstyle_gan.methods.score_augmentation import ScoreAugmentation
from medstyle_gan.methods.trained_method import TrainedMethod
from medstyle_gan.methods.vgg_regularizer import Term
from medstyle_gan.networks.precision import at_least_fp32


class AdversarialMethod(TrainedMethod):
    """A method some of whose domains have a discriminator.

    A subclass makes its networks, calls `begin`, then `begin_game`.

    Attributes:
        adversarial: what the players pay.
    """

    adversarial: AdversarialLoss

    def begin_game(self) -> None:
        """Make what the discriminators are shown images through."""
        config, settings = self.config, self.game_settings
        self.adversarial = AdversarialLoss(config.loss.adversarial.name)
        seeds = {
            domain: 2 * config.training.seed + (domain == "style") for domain in ("scan", "style")
        }
        domains = [domain for domain in seeds if domain in self.discriminators]
        self.pools = {
            domain: ImagePool(settings.pool_size, seeds[domain], config.training.global_batch_size)
            for domain in domains
        }
        self._shown = {
            domain: ScoreAugmentation(config.discriminator.augmentation, seeds[domain])
            for domain in domains
        }
        if not config.loss.adversarial.weight:
            # DDP waits for a gradient of every parameter that wants one.
            for discriminator in self.discriminators.values():
                discriminator.requires_grad_(False)

    @property
    def game_settings(self) -> AdversarialConfig:
        """The `method` section."""
        assert isinstance(self.config.method, AdversarialConfig)
        return self.config.method

    @property
    def learning_rates(self) -> dict[str, float]:
        """Of all generators and of all discriminators."""
        method = self.game_settings
        return {
            "generator": method.generator_learning_rate,
            "discriminator": method.discriminator_learning_rate,
        }

    def adversarial_value(
        self, domain: str, images: Tensor, position: int, mask: Tensor | None = None
    ) -> Tensor:
        """What a generator pays for its translations; no gradient reaches the discriminator.

        Args:
            domain: that they are translated into.
            images: translations `(B, C, *spatial)`.
            position: of the first one in the step's batch over all processes.
            mask: the body of what they were translated from, where it is known.
        """
        images = self.body.shown(images, domain, mask)
        discriminator = self.discriminators[domain]
        frozen = {name: p.detach() for name, p in discriminator.named_parameters()}
        seen = self._shown[domain](images, self.step, position, "translation")
        scores: list[Tensor] = torch.func.functional_call(discriminator, frozen, (seen,))
        return self.adversarial.generator(scores)

    def discriminator_terms(
        self,
        real: Mapping[str, Tensor],
        translated: Mapping[str, Tensor],
        position: int = 0,
        facts: BatchFacts = NOTHING,
    ) -> dict[str, Term]:
        """The discriminators' losses; no gradient reaches the generators.

        Args:
            real: domain → images `(B, C, *spatial)`.
            translated: domain → as many images translated into it.
            position: of the first image in the step's batch over all processes: random
                choices are keyed by it, so that they do not depend on how a batch is cut.
            facts: what is known of the real images.
        """
        terms: dict[str, Term] = {}
        if not self.config.loss.adversarial.weight:
            return terms
        for domain, discriminator in self.discriminators.items():
            images = at_least_fp32(translated[domain].detach())
            source = "scan" if domain == "style" else "style"
            images = self.body.shown(images, domain, facts.masks.get(source))
            past = self.pools[domain].exchange(images, self.step, position)
            show = self._shown[domain]
            bodies = self.body.shown(real[domain], domain, facts.masks.get(domain))
            seen = show(bodies, self.step, position, "real")
            fake = show(past, self.step, position, "fake")
            scores = discriminator(torch.cat([seen, fake]))
            halves = [score.chunk(2) for score in scores]
            on_real, on_fake = [half[0] for half in halves], [half[1] for half in halves]
            value = self.adversarial.discriminator(on_real, on_fake)
            if self.config.guards.enabled:
                advantage = self.adversarial.advantage(on_real, on_fake)
                self._told[f"guard/advantage_{domain}"] = advantage
            terms[f"discriminator_{domain}"] = Term(value, 1.0)
            terms |= self._penalties(domain, seen, fake, position)
        return terms

    def _penalties(self, domain: str, real: Tensor, fake: Tensor, position: int) -> dict[str, Term]:
        """What a discriminator pays for its slopes, at what it has seen."""
        config, discriminator = self.config.loss.adversarial, self.discriminators[domain]
        terms: dict[str, Term] = {}
        rng = torch.Generator().manual_seed((self.pools[domain].seed << 32) + self.step)
        torch.rand(position, generator=rng)  # the places of the images before these
        if config.name == "wgan_gp" and config.gradient_penalty:
            value = self.adversarial.gradient_penalty(discriminator, real, fake, rng)
            terms[f"gradient_penalty_{domain}"] = Term(value, config.gradient_penalty)
        centred = config.zero_centred_penalty
        if centred.weight and self.step % centred.every_n_steps == 0:
            value = self.adversarial.zero_centred_penalty(
                discriminator, real, fake, centred.at, rng
            )
            # As often as that less: the mean over all steps is the configured weight.
            weight = centred.weight * centred.every_n_steps
            terms[f"zero_centred_penalty_{domain}"] = Term(value, weight)
        return terms
