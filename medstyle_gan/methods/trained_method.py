"""What every method that is trained has: counters, a moving average, and the step around its loss.

A method names its networks and the terms of its loss. A step is one joint backward of all of
them, on the `training.accumulate` parts of a batch one by one, then a step of each optimiser.

A step whose loss or gradients are not finite is skipped: it counts, but leaves weights,
optimisers and moving average as they were. That is decided on the device, from gradients
that all processes share already, so that it costs neither a wait nor a message.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any, ClassVar

import lightning as L
import torch
from torch import Tensor, nn

from medstyle_gan.config import Config
from medstyle_gan.config.loss_section import LossConfig
from medstyle_gan.config.method_section import TrainedConfig
from medstyle_gan.data.words import DOMAINS, Direction
from medstyle_gan.methods.batch_facts import NOTHING, BatchFacts
from medstyle_gan.methods.body_region import BodyRegion
from medstyle_gan.methods.ema import GeneratorEMA
from medstyle_gan.methods.image_pool import ImagePool
from medstyle_gan.methods.inpainting_start import InpaintingStart, make_start
from medstyle_gan.methods.registration import registration_terms
from medstyle_gan.methods.schedule import constant_then_linear
from medstyle_gan.methods.step_clock import StepClock
from medstyle_gan.methods.structure_terms import StructureTerms
from medstyle_gan.methods.vgg_regularizer import Term, VGGRegularizer, wanted_layers
from medstyle_gan.methods.warm_start import WarmStart
from medstyle_gan.networks import DeformationNetwork, parameters_of

# Share of a start's steps before its learning rate falls.
_START_CONSTANT = 0.5


class TrainedMethod(L.LightningModule, ABC):
    """A method that learns from batches `{"scan": (B, C, *spatial), "style": (B, C', *spatial)}`.

    A subclass makes its networks, then calls `begin`.

    Args:
        config: all settings.
        scan_channels: channels of a scan's sample, all slices' of a 2.5-D one.
        style_channels: channels of a style image's sample.
        regularizer: the VGG-19 terms; None trains without them.

    Attributes:
        warm_start: the terms of the first steps, where there is a warm start.
        structure: the terms of structure, which act on any method's translations.
        registration_network: what deforms translations of pairs that do not align, where the loss
            asks for it.
        body: what outside of the body is left of images.
        directions: ways that it translates by itself, without being shown a style.
        step: steps done, however many optimisers each has.
        logged: detached scalars of the latest step, `loss/<name>` unweighted.
        ema: the moving average of `generators`.
        pools: past translations by domain, of a method whose discriminators are shown some.
        step_clock: tells generators', discriminators' and VGG-19's time apart, where it is started.
    """

    directions: ClassVar[tuple[Direction, ...]]
    ema: GeneratorEMA

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
        self.regularizer = regularizer
        self.structure = StructureTerms(
            config.loss.structure, config.training.steps, config.data.sample_slices
        )
        self.warm_start = make_start(config, self.channels)
        self.registration_network: DeformationNetwork | None = None
        self.body = BodyRegion(config)
        self.pools: dict[str, ImagePool] = {}
        self.step = 0
        # Skipped steps in all and in a row, on the device: only their readers wait for it.
        self._skips = torch.zeros(2, dtype=torch.int64)
        self.step_clock = StepClock()
        self.logged: dict[str, Tensor] = {}
        # What the terms of a step tell besides their values, by the name that it is logged by.
        self._told: dict[str, Tensor] = {}

    def begin(self) -> None:
        """Start the moving average, of networks that are as they begin."""
        assert isinstance(self.config.method, TrainedConfig)
        self.ema = GeneratorEMA(self.generators, self.config.method.ema_decay)
        registration = self.config.loss.registration
        if registration.weight and registration.deform:
            # After all others, whose start is the same with it and without.
            self.registration_network = DeformationNetwork(
                2 * self.channels["style"],
                **self.config.registration.model_dump(),
                dims=self.config.data.spatial_dims,
            )

    @staticmethod
    def layers(loss: LossConfig) -> tuple[str, ...]:
        """The VGG-19 layers that a loss needs; none where it needs no VGG-19."""
        return wanted_layers(loss)

    # ------------------------------------------------------------------ what a method is

    @property
    @abstractmethod
    def generators(self) -> dict[str, nn.Module]:
        """What gives images: the networks of the model that is left, by name.

        Those that translate by themselves are named as their direction.
        """

    @property
    def discriminators(self) -> dict[str, nn.Module]:
        """Discriminators by the domain that they judge."""
        return {}

    @property
    def helpers(self) -> dict[str, nn.Module]:
        """What is trained with the generators and needed by no model, by its attribute's name."""
        network = self.registration_network
        return {} if network is None else {"registration_network": network}

    @property
    @abstractmethod
    def learning_rates(self) -> dict[str, float]:
        """Base learning rate of each optimiser, in their order, by what it trains."""

    @abstractmethod
    def generator_terms(
        self, real: Mapping[str, Tensor], position: int = 0, facts: BatchFacts = NOTHING
    ) -> tuple[dict[str, Term], dict[str, Tensor]]:
        """The method's own terms of the generators' loss, and the translations by domain.

        Those of `structure` come on top.

        Args:
            real: domain → images `(B, C, *spatial)`.
            position: of the first image in the step's batch over all processes: random
                choices are keyed by it, so that they do not depend on how a batch is cut.
            facts: what is known of the images.
        """

    def registration_terms(
        self, real: Mapping[str, Tensor], translated: Mapping[str, Tensor], facts: BatchFacts
    ) -> dict[str, Term]:
        """What declared pairs add to the generators' loss; see `methods.registration`.

        Args:
            real: domain → images `(B, C, *spatial)`.
            translated: domain → images translated into it.
            facts: what is known of the images.
        """
        config, network = self.config.loss.registration, self.registration_network
        return registration_terms(config, network, real, translated, facts.pair_weight)

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
            position: as in `generator_terms`.
            facts: likewise.
        """
        return {}

    def held_out_terms(self, real: Mapping[str, Tensor]) -> dict[str, Term]:
        """The terms of images that are not trained on, by the moving average.

        What a method that has no `directions` is validated by.

        Args:
            real: domain → images `(B, C, *spatial)`.
        """
        raise NotImplementedError(f"{type(self).__name__} is validated by its translations")

    @abstractmethod
    def panel(self, batch: Mapping[str, Tensor]) -> dict[str, list[Tensor]]:
        """What a sample panel shows of each domain's images.

        Returns:
            domain → the image, then as many of [translation, reconstruction, identity] as the
            method has, each `(B, C, *spatial)`.
        """

    def trained_networks(self) -> dict[str, nn.Module]:
        """Every network that is trained, by its attribute's name."""
        return {
            **self.generators,
            **{f"{domain}_discriminator": d for domain, d in self.discriminators.items()},
            **self.helpers,
        }

    def translate(
        self,
        images: Tensor,
        direction: Direction,
        ema: bool = True,
        mask: Tensor | None = None,
    ) -> Tensor:
        """Translate images, without gradients.

        Args:
            images: `(B, C, *spatial)` in [-1, 1].
            direction: which way.
            ema: by the moving average.
            mask: bool `(B, 1 or slices, *spatial)`, their body, where translations are clamped.
        """
        generators = self.ema.generators if ema else self.generators
        with torch.no_grad():
            translated = generators[direction](images).float()
            return self.body.translation(translated, DOMAINS[direction][1], mask)

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

    # ------------------------------------------------------------------------- training

    def configure_optimizers(self) -> list[torch.optim.Optimizer]:
        """One Adam for the generators and one for the discriminators, where there are some."""
        betas = self._settings.betas
        trained = {
            "generator": {**self.generators, **self.helpers},
            "discriminator": self.discriminators,
        }
        return [
            torch.optim.Adam(
                parameters_of(trained[name].values()), lr=rate, betas=betas, fused=True
            )
            for name, rate in self.learning_rates.items()
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
        """One step of all networks, on the `accumulate` parts of a batch one by one."""
        accumulate = self.config.training.accumulate
        given = self.optimizers()
        optimizers = given if isinstance(given, list) else [given]
        factor = constant_then_linear(
            self.step, self.config.training.steps, self._settings.constant_fraction
        )
        rates = dict(self.learning_rates)
        if self.warm_start.acts(self.step):
            # Discriminators have nothing to learn from yet.
            start = self.warm_start.config
            rates = {n: start.learning_rate * (n == "generator") for n in rates}
            # Falling, as at the end of a training: what it ends with is as sharp as it gets.
            factor = constant_then_linear(self.step, start.steps, _START_CONSTANT)
        elif self.warm_start.ends(self.step):
            for optimizer in optimizers:  # moments of other losses would lead astray
                getattr(optimizer, "optimizer", optimizer).state.clear()
            # With a decay of 0.999 a game of 700 steps would be left half blurred by the start.
            self.ema.begin_again()
        for optimizer, rate in zip(optimizers, rates.values(), strict=True):
            for group in optimizer.param_groups:
                group["lr"] = rate * factor
            optimizer.zero_grad()

        images = len(batch["scan"])
        position = self.global_rank * images
        self.logged = {}
        names = [name for name, values in batch.items() if isinstance(values, Tensor)]
        chunks = [batch[name].chunk(accumulate) for name in names]
        for number, part in enumerate(zip(*chunks, strict=True), start=1):
            # Gradients are exchanged between processes once, when all parts are in them.
            with nullcontext() if number == len(chunks[0]) else self._gradients_kept_here():
                self._add_gradients(dict(zip(names, part, strict=True)), images, position)
            position += len(part[0])
        self._update(optimizers)

        for name, rate in rates.items():
            self.logged[f"learning_rate/{name}"] = torch.tensor(rate * factor)
        self.step += 1

    @property
    def _settings(self) -> TrainedConfig:
        assert isinstance(self.config.method, TrainedConfig)
        return self.config.method

    def _add_gradients(self, batch: dict[str, Tensor], images: int, position: int) -> None:
        """Add a part's gradients and losses, weighted by its share of the step's images."""
        judged: dict[str, Term] = {}
        warm = self.warm_start.acts(self.step)
        real = {domain: batch[domain] for domain in self.channels}
        share = len(real["scan"]) / images
        if warm:
            with self.step_clock.part("generators"):
                terms = self._warm_terms(batch, real, position)
        else:
            facts = BatchFacts.of(batch)
            with self.step_clock.part("generators"):
                terms, translated = self.generator_terms(real, position, facts)
                if isinstance(self.warm_start, WarmStart):
                    terms |= self.warm_start.kept_terms(
                        self.generators, self.directions, real, translated, batch
                    )
            terms |= self.structure(self.step, real, translated, facts.masks)
            terms |= self.registration_terms(real, translated, facts)
            with self.step_clock.part("discriminators"):
                judged = self.discriminator_terms(real, translated, position, facts)
        generator_loss = torch.stack([t.weight * t.value for t in terms.values()]).sum()
        self.step_clock.backward("discriminators", (term.value for term in judged.values()))
        total = generator_loss
        if judged:
            total = total + torch.stack([t.weight * t.value for t in judged.values()]).sum()
        if warm and self.config.training.world_size > 1:
            # Processes wait for a gradient of every parameter that wants one: here it is 0.
            idle = parameters_of(self.trained_networks().values())
            total = total + 0.0 * torch.stack([p.sum() for p in idle if p.requires_grad]).sum()
        # An infinite loss can have finite gradients (that of |x| is ±1), and only gradients
        # reach the other processes: NaN ones tell them all to skip.
        scale = torch.where(total.detach().isfinite(), share, torch.nan)
        # Lightning's autocast surrounds the whole step; inside it, the backward of matrix
        # products that were kept in fp32 (Gram matrices) would run in bf16.
        with torch.autocast(self.device.type, enabled=False), self.step_clock.part("rest"):
            self.manual_backward(total * scale)

        values = {f"loss/{name}": t.value.detach() for name, t in (terms | judged).items()}
        if not warm:
            values |= self._told
        values["loss/generator"] = generator_loss.detach()
        for name, value in values.items():
            part = value * share
            self.logged[name] = self.logged[name] + part if name in self.logged else part

    def _warm_terms(
        self, batch: Mapping[str, Tensor], real: Mapping[str, Tensor], position: int
    ) -> dict[str, Term]:
        """What generators learn from before there is a game."""
        start, ways = self.warm_start, self.directions
        if isinstance(start, InpaintingStart):
            return start.terms(self.generators, ways, real, self.step, position)
        return start.terms(self.generators, ways, real, batch["weight"])

    def _update(self, optimizers: list[Any]) -> None:
        """Step the optimisers and the moving average, or neither."""
        clip = self._settings.gradient_clip
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
