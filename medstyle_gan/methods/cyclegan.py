"""CycleGAN (Zhu et al. 2017) with VGG-19 perceptual and Gram-style regularisers.

Two generators translate between the domains, two discriminators judge each domain, and
an image translated there and back must come back. One joint backward serves generators
and discriminators: the generators' loss passes through the discriminators with their
parameters detached, and the discriminators' loss sees detached translations, so that each
network gets exactly the gradient that it gets in the alternating form.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import lightning as L
import torch
from torch import Tensor, nn

from medstyle_gan.config import Config
from medstyle_gan.data.words import INTO, OTHER, Direction
from medstyle_gan.losses import AdversarialLoss, l1, total_variation
from medstyle_gan.methods.ema import GeneratorEMA
from medstyle_gan.methods.image_pool import ImagePool
from medstyle_gan.methods.schedule import constant_then_linear
from medstyle_gan.methods.vgg_regularizer import Term, VGGRegularizer
from medstyle_gan.networks import adapt_channels, build_discriminator, build_generator


class CycleGAN(L.LightningModule):
    """CycleGAN over batches `{"scan": (B, C, *spatial), "style": (B, C', *spatial)}`.

    Args:
        config: all settings.
        scan_channels: channels of the scans.
        style_channels: channels of the style images.
        regularizer: the VGG-19 terms; None trains without them.

    Attributes:
        step: steps done, however many optimisers each has.
        logged: detached scalars of the latest step, `loss/<name>` unweighted.
        skipped: steps whose update was left out, its loss or gradients not being finite.
        skipped_in_a_row: how many of the latest steps those are.
        ema: the generators' moving average.
    """

    def __init__(
        self,
        config: Config,
        scan_channels: int = 1,
        style_channels: int = 1,
        regularizer: VGGRegularizer | None = None,
    ) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.config = config
        self.channels = {"scan": scan_channels, "style": style_channels}
        dims = config.data.dims
        self.scan_to_style = build_generator(config.generator, scan_channels, style_channels, dims)
        self.style_to_scan = build_generator(config.generator, style_channels, scan_channels, dims)
        self.scan_discriminator = build_discriminator(config.discriminator, scan_channels, dims)
        self.style_discriminator = build_discriminator(config.discriminator, style_channels, dims)
        self.adversarial = AdversarialLoss(config.loss.adversarial.name)
        self.regularizer = regularizer
        self.ema = GeneratorEMA(self.generators, config.method.ema_decay)
        seed = config.training.seed
        self.pools = {
            "scan": ImagePool(config.method.pool_size, 2 * seed),
            "style": ImagePool(config.method.pool_size, 2 * seed + 1),
        }
        self.step = self.skipped = self.skipped_in_a_row = 0
        self.logged: dict[str, Tensor] = {}
        self._advantages: dict[str, Tensor] = {}

    # ------------------------------------------------------------------------- networks

    @property
    def generators(self) -> dict[str, nn.Module]:
        """Both generators by direction."""
        return {"scan_to_style": self.scan_to_style, "style_to_scan": self.style_to_scan}

    @property
    def discriminators(self) -> dict[str, nn.Module]:
        """Both discriminators by the domain that they judge."""
        return {"scan": self.scan_discriminator, "style": self.style_discriminator}

    def trained_networks(self) -> dict[str, nn.Module]:
        """Every network that is trained, by its attribute's name."""
        return {
            **self.generators,
            **{f"{domain}_discriminator": d for domain, d in self.discriminators.items()},
        }

    def translate(self, images: Tensor, direction: Direction, ema: bool = True) -> Tensor:
        """Translate images `(B, C, *spatial)` in [-1, 1], without gradients."""
        generators = self.ema.generators if ema else self.generators
        with torch.no_grad():
            return generators[direction](images).float()

    def panel(self, batch: Mapping[str, Tensor]) -> dict[str, list[Tensor]]:
        """What a sample panel shows of each domain's images.

        Returns:
            domain → [image, translation, reconstruction, identity], each `(B, C, *spatial)`.
        """
        rows: dict[str, list[Tensor]] = {}
        for domain, other in OTHER.items():
            image = batch[domain]
            translation = self.translate(image, INTO[other])
            reconstruction = self.translate(translation, INTO[domain])
            identity = self.translate(adapt_channels(image, self.channels[other]), INTO[domain])
            rows[domain] = [image, translation, reconstruction, identity]
        return rows

    # --------------------------------------------------------------------------- losses

    def generator_terms(
        self, real: Mapping[str, Tensor]
    ) -> tuple[dict[str, Term], dict[str, Tensor]]:
        """All terms of the generators' loss, and the translations by the domain they're in."""
        loss = self.config.loss
        terms: dict[str, Term] = {}
        translated: dict[str, Tensor] = {}
        for domain, other in OTHER.items():
            generator = self.generators[INTO[domain]]
            if loss.identity.weight:
                # One batch for both passes: exact, as instance norm sees each image alone.
                own = adapt_channels(real[domain], self.channels[other])
                both = generator(torch.cat([real[other], own]))
                translated[domain], same = both.split(len(real[domain]))
                terms[f"identity_{domain}"] = Term(l1(same, real[domain]), loss.identity.weight)
            else:
                translated[domain] = generator(real[other])
        reconstructed: dict[str, Tensor] = {
            domain: self.generators[INTO[domain]](translated[other])
            for domain, other in OTHER.items()
            if loss.cycle.weight or loss.perceptual.reconstruction_weight
        }
        for domain, into in INTO.items():
            if loss.cycle.weight:
                value = l1(reconstructed[domain], real[domain])
                terms[f"cycle_{domain}"] = Term(value, loss.cycle.weight)
            if loss.adversarial.weight:
                scores = self._score_detached(domain, translated[domain])
                value = self.adversarial.generator(scores)
                terms[f"adversarial_{into}"] = Term(value, loss.adversarial.weight)
            if loss.total_variation.weight:
                value = total_variation(translated[domain])
                terms[f"total_variation_{into}"] = Term(value, loss.total_variation.weight)
        if self.regularizer is not None:
            terms |= self.regularizer(self.step, real, translated, reconstructed)
        return terms, translated

    def discriminator_terms(
        self, real: Mapping[str, Tensor], translated: Mapping[str, Tensor]
    ) -> dict[str, Term]:
        """The discriminators' losses; no gradient reaches the generators."""
        terms: dict[str, Term] = {}
        adversarial = self.config.loss.adversarial
        if not adversarial.weight:
            return terms
        for domain, discriminator in self.discriminators.items():
            fake = self.pools[domain].exchange(translated[domain].detach().float(), self.step)
            scores = discriminator(torch.cat([real[domain], fake]))
            halves = [score.chunk(2) for score in scores]
            on_real, on_fake = [half[0] for half in halves], [half[1] for half in halves]
            value = self.adversarial.discriminator(on_real, on_fake)
            if self.config.guards.enabled:
                advantage = self.adversarial.advantage(on_real, on_fake)
                self._advantages[f"guard/advantage_{domain}"] = advantage
            terms[f"discriminator_{domain}"] = Term(value, 1.0)
            if adversarial.name == "wgan_gp" and adversarial.gradient_penalty:
                rng = torch.Generator().manual_seed((self.pools[domain].seed << 32) + self.step)
                penalty = self.adversarial.gradient_penalty(discriminator, real[domain], fake, rng)
                terms[f"gradient_penalty_{domain}"] = Term(penalty, adversarial.gradient_penalty)
        return terms

    def _score_detached(self, domain: str, images: Tensor) -> list[Tensor]:
        discriminator = self.discriminators[domain]
        frozen = {name: p.detach() for name, p in discriminator.named_parameters()}
        scores: list[Tensor] = torch.func.functional_call(discriminator, frozen, (images,))
        return scores

    # ------------------------------------------------------------------------- training

    def configure_optimizers(self) -> list[torch.optim.Optimizer]:
        """One Adam for the generators, one for the discriminators."""
        method = self.config.method
        generators = [p for g in self.generators.values() for p in g.parameters()]
        discriminators = [p for d in self.discriminators.values() for p in d.parameters()]
        return [
            torch.optim.Adam(
                generators, lr=method.generator_learning_rate, betas=method.betas, fused=True
            ),
            torch.optim.Adam(
                discriminators,
                lr=method.discriminator_learning_rate,
                betas=method.betas,
                fused=True,
            ),
        ]

    def on_fit_start(self) -> None:
        """Move what is not part of the module tree to the device."""
        self.ema.to(self.device)
        if self.regularizer is not None:
            self.regularizer.to(self.device)

    def training_step(self, batch: dict[str, Any], batch_index: int) -> None:
        """One step of all four networks."""
        method = self.config.method
        optimizers = self.optimizers()
        assert isinstance(optimizers, list)
        factor = constant_then_linear(
            self.step, self.config.training.steps, method.constant_fraction
        )
        rates = (method.generator_learning_rate, method.discriminator_learning_rate)
        for optimizer, rate in zip(optimizers, rates, strict=True):
            for group in optimizer.param_groups:
                group["lr"] = rate * factor
            optimizer.zero_grad()

        real = {"scan": batch["scan"], "style": batch["style"]}
        terms, translated = self.generator_terms(real)
        generator_loss = torch.stack([t.weight * t.value for t in terms.values()]).sum()
        judged = self.discriminator_terms(real, translated)
        total = generator_loss
        if judged:
            total = total + torch.stack([t.weight * t.value for t in judged.values()]).sum()
        # Lightning's autocast surrounds the whole step; inside it, the backward of matrix
        # products that were kept in fp32 (Gram matrices) would run in bf16.
        with torch.autocast(self.device.type, enabled=False):
            self.manual_backward(total)
        for optimizer in optimizers if judged else optimizers[:1]:
            if method.gradient_clip:
                # Not Lightning's own clipping: under bf16 it refuses fused optimisers.
                weights = [p for group in optimizer.param_groups for p in group["params"]]
                torch.nn.utils.clip_grad_norm_(weights, method.gradient_clip)
            optimizer.step()
        self.ema.update(self.generators)

        self.logged = {f"loss/{name}": t.value.detach() for name, t in (terms | judged).items()}
        self.logged |= self._advantages
        self.logged["loss/generator"] = generator_loss.detach()
        self.logged["learning_rate/generator"] = torch.tensor(rates[0] * factor)
        self.logged["learning_rate/discriminator"] = torch.tensor(rates[1] * factor)
        self.step += 1
