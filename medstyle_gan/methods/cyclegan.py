"""CycleGAN (Zhu et al. 2017) with VGG-19 perceptual and Gram-style regularisers.

Two generators translate between the domains, two discriminators judge each domain, and
an image translated there and back must come back. The generators may share their layers
(`generator.name=switchable`): the losses of both directions then reach the same weights.

One joint backward serves generators and discriminators: the generators' loss passes through
the discriminators with their parameters detached, and the discriminators' loss sees detached
translations, so that each network gets exactly the gradient that it gets in the alternating
form.

A step whose loss or gradients are not finite is skipped: it counts, but leaves weights,
optimisers and moving average as they were. That is decided on the device, from gradients
that all processes share already, so that it costs neither a wait nor a message.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import lightning as L
import torch
from torch import Tensor, nn

from medstyle_gan.config import Config
from medstyle_gan.config.method_section import CycleGANConfig
from medstyle_gan.data.words import INTO, OTHER, Direction
from medstyle_gan.losses import AdversarialLoss, l1, total_variation
from medstyle_gan.methods.ema import GeneratorEMA
from medstyle_gan.methods.image_pool import ImagePool
from medstyle_gan.methods.schedule import constant_then_linear
from medstyle_gan.methods.step_clock import StepClock
from medstyle_gan.methods.vgg_regularizer import Term, VGGRegularizer
from medstyle_gan.networks import (
    adapt_channels,
    build_discriminator,
    build_generators,
    middle_slice,
    parameters_of,
)
from medstyle_gan.networks.precision import at_least_fp32


class CycleGAN(L.LightningModule):
    """CycleGAN over batches `{"scan": (B, C, *spatial), "style": (B, C', *spatial)}`.

    2.5-D samples are translated with their neighbours, stack to stack, so that a translation can
    be translated back; discriminators judge stacks, and with them how slices follow each other.
    The VGG-19, panels and guards see the slice in the middle.

    Args:
        config: all settings.
        scan_channels: channels of a scan's sample, all slices' of a 2.5-D one.
        style_channels: channels of a style image's sample.
        regularizer: the VGG-19 terms; None trains without them.

    Attributes:
        step: steps done, however many optimisers each has.
        logged: detached scalars of the latest step, `loss/<name>` unweighted.
        ema: the generators' moving average.
        step_clock: tells generators', discriminators' and VGG-19's time apart, where it is started.
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
        dims = config.data.spatial_dims
        self.scan_to_style, self.style_to_scan = build_generators(
            config.generator, scan_channels, style_channels, dims
        )
        self.scan_discriminator = build_discriminator(config.discriminator, scan_channels, dims)
        self.style_discriminator = build_discriminator(config.discriminator, style_channels, dims)
        self.adversarial = AdversarialLoss(config.loss.adversarial.name)
        self.regularizer = regularizer
        self.ema = GeneratorEMA(self.generators, self.settings.ema_decay)
        seed = config.training.seed
        self.pools = {
            domain: ImagePool(
                self.settings.pool_size, 2 * seed + i, config.training.global_batch_size
            )
            for i, domain in enumerate(("scan", "style"))
        }
        if not config.loss.adversarial.weight:
            # DDP waits for a gradient of every parameter that wants one.
            for discriminator in self.discriminators.values():
                discriminator.requires_grad_(False)
        self.step = 0
        # Skipped steps in all and in a row, on the device: only their readers wait for it.
        self._skips = torch.zeros(2, dtype=torch.int64)
        self.step_clock = StepClock()
        self.logged: dict[str, Tensor] = {}
        self._advantages: dict[str, Tensor] = {}

    @property
    def settings(self) -> CycleGANConfig:
        """The `method` section."""
        assert isinstance(self.config.method, CycleGANConfig)
        return self.config.method

    # ------------------------------------------------------------------------- counters

    @property
    def skipped(self) -> int:
        """Steps left out for values that were not finite; reading it waits for the device."""
        return int(self._skips[0])

    @property
    def skipped_in_a_row(self) -> int:
        """How many of the latest steps were skipped; reading it waits for the device."""
        return int(self._skips[1])

    def counters(self) -> dict[str, int]:
        """`step`, `skipped` and `skipped_in_a_row`, for a checkpoint."""
        total, in_a_row = self._skips.tolist()
        return {"step": self.step, "skipped": total, "skipped_in_a_row": in_a_row}

    def load_counters(self, counters: Mapping[str, int]) -> None:
        """Take over what `counters` gave."""
        self.step = counters["step"]
        counted = [counters["skipped"], counters["skipped_in_a_row"]]
        self._skips = torch.tensor(counted, dtype=torch.int64, device=self._skips.device)

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
            stages = [image, translation, reconstruction, identity]
            rows[domain] = [middle_slice(s, self.config.data.sample_slices) for s in stages]
        return rows

    # --------------------------------------------------------------------------- losses

    def generator_terms(
        self, real: Mapping[str, Tensor], position: int = 0
    ) -> tuple[dict[str, Term], dict[str, Tensor]]:
        """All terms of the generators' loss, and the translations by the domain they're in.

        Args:
            real: domain → images `(B, C, *spatial)`.
            position: of the first image in the step's batch over all processes, as in
                `discriminator_terms`.
        """
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
        # Where a gradient has come through all that judges these, the generators' begins.
        self.step_clock.backward("generators", [*translated.values(), *reconstructed.values()])
        judged: list[Tensor] = []
        for domain, into in INTO.items():
            if loss.cycle.weight:
                value = l1(reconstructed[domain], real[domain])
                terms[f"cycle_{domain}"] = Term(value, loss.cycle.weight)
            if loss.adversarial.weight:
                with self.step_clock.part("discriminators"):
                    scores = self._score_detached(domain, translated[domain])
                value = self.adversarial.generator(scores)
                terms[f"adversarial_{into}"] = Term(value, loss.adversarial.weight)
                judged.append(value)
            if loss.total_variation.weight:
                value = total_variation(translated[domain])
                terms[f"total_variation_{into}"] = Term(value, loss.total_variation.weight)
        self.step_clock.backward("discriminators", judged)
        if self.regularizer is not None:
            with self.step_clock.part("vgg"):
                seen = self.regularizer(self.step, real, translated, reconstructed, position)
            self.step_clock.backward("vgg", (term.value for term in seen.values()))
            terms |= seen
        return terms, translated

    def discriminator_terms(
        self, real: Mapping[str, Tensor], translated: Mapping[str, Tensor], position: int = 0
    ) -> dict[str, Term]:
        """The discriminators' losses; no gradient reaches the generators.

        Args:
            real: domain → images `(B, C, *spatial)`.
            translated: domain → as many images translated into it.
            position: of the first image in the step's batch over all processes: random
                choices are keyed by it, so that they do not depend on how a batch is cut.
        """
        terms: dict[str, Term] = {}
        adversarial = self.config.loss.adversarial
        if not adversarial.weight:
            return terms
        for domain, discriminator in self.discriminators.items():
            images = at_least_fp32(translated[domain].detach())
            fake = self.pools[domain].exchange(images, self.step, position)
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
                torch.rand(position, generator=rng)  # the places of the images before these
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
        method = self.settings
        generators = parameters_of(self.generators.values())
        discriminators = parameters_of(self.discriminators.values())
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
        self._skips = self._skips.to(self.device)
        samples = self.config.training.process_batch_size
        for pool in self.pools.values():
            pool.keep(range(self.global_rank * samples, (self.global_rank + 1) * samples))
        if self.regularizer is not None:
            self.regularizer.to(self.device)

    def training_step(self, batch: dict[str, Any], batch_index: int) -> None:
        """One step of all four networks, on the `accumulate` parts of a batch one by one."""
        method, accumulate = self.settings, self.config.training.accumulate
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

        images = len(batch["scan"])
        position = self.global_rank * images
        self.logged = {}
        scans, styles = batch["scan"].chunk(accumulate), batch["style"].chunk(accumulate)
        for number, (scan, style) in enumerate(zip(scans, styles, strict=True), start=1):
            # Gradients are exchanged between processes once, when all parts are in them.
            with nullcontext() if number == len(scans) else self._gradients_kept_here():
                self._add_gradients({"scan": scan, "style": style}, len(scan) / images, position)
            position += len(scan)
        self._update(optimizers)

        self.logged["learning_rate/generator"] = torch.tensor(rates[0] * factor)
        self.logged["learning_rate/discriminator"] = torch.tensor(rates[1] * factor)
        self.step += 1

    def _add_gradients(self, real: dict[str, Tensor], share: float, position: int) -> None:
        """Add a part's gradients and losses, weighted by its share of the step's images."""
        with self.step_clock.part("generators"):
            terms, translated = self.generator_terms(real, position)
        generator_loss = torch.stack([t.weight * t.value for t in terms.values()]).sum()
        with self.step_clock.part("discriminators"):
            judged = self.discriminator_terms(real, translated, position)
        self.step_clock.backward("discriminators", (term.value for term in judged.values()))
        total = generator_loss
        if judged:
            total = total + torch.stack([t.weight * t.value for t in judged.values()]).sum()
        # An infinite loss can have finite gradients (that of |x| is ±1), and only gradients
        # reach the other processes: NaN ones tell them all to skip.
        scale = torch.where(total.detach().isfinite(), share, torch.nan)
        # Lightning's autocast surrounds the whole step; inside it, the backward of matrix
        # products that were kept in fp32 (Gram matrices) would run in bf16.
        with torch.autocast(self.device.type, enabled=False), self.step_clock.part("rest"):
            self.manual_backward(total * scale)

        values = {f"loss/{name}": t.value.detach() for name, t in (terms | judged).items()}
        values |= self._advantages
        values["loss/generator"] = generator_loss.detach()
        for name, value in values.items():
            part = value * share
            self.logged[name] = self.logged[name] + part if name in self.logged else part

    def _update(self, optimizers: list[Any]) -> None:
        """Step the optimisers and the moving average, or neither."""
        clip = self.settings.gradient_clip
        weights = [[p for g in o.param_groups for p in g["params"]] for o in optimizers]
        gradients = [p.grad for mine in weights for p in mine if p.grad is not None]
        skip = _not_finite(gradients)
        for optimizer, mine in zip(optimizers, weights, strict=True):
            if all(p.grad is None for p in mine):
                continue  # discriminators of a training without a game
            if clip:
                # Not Lightning's own clipping: under bf16 it refuses fused optimisers.
                torch.nn.utils.clip_grad_norm_(mine, clip)
            # Where it holds 1, torch's fused optimisers change nothing: what GradScaler uses.
            getattr(optimizer, "optimizer", optimizer).found_inf = skip
            optimizer.step()
        self.ema.update(self.generators, skip)
        skipped, in_a_row = self._skips
        now = skip.to(torch.int64)
        self._skips = torch.stack([skipped + now, (in_a_row + now) * now])

    def _gradients_kept_here(self) -> AbstractContextManager[None]:
        """Inside, a backward does not exchange gradients with other processes."""
        strategy = None if self._trainer is None else self._trainer.strategy
        block = getattr(strategy, "block_backward_sync", None)
        return nullcontext() if block is None else block()


def _not_finite(gradients: list[Tensor]) -> Tensor:
    """1 where any gradient holds NaN or infinity, else 0: a float32 scalar on their device.

    Squares are summed up, many times faster than a largest value is found: gradients of over
    1e19 count as infinite.
    """
    norms = torch.stack(torch._foreach_norm(gradients))
    return (~norms.isfinite().all()).to(torch.float32)
