"""A trained model in memory: its generators, its scales, and how they are run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, Self, get_args

import torch
from torch import nn

from medstyle_gan.config import Config
from medstyle_gan.config.inference_sections import Flip, InferenceConfig, path_fault
from medstyle_gan.data.intensity import FittedScale
from medstyle_gan.data.words import Direction, domains_of
from medstyle_gan.errors import UserError
from medstyle_gan.inference.bundles.bundle import Bundle
from medstyle_gan.inference.bundles.bundle_files import load_bundle
from medstyle_gan.inference.bundles.loading import load_networks
from medstyle_gan.inference.network.network import Network
from medstyle_gan.inference.uncertainty import restore_earlier, ways_to_see
from medstyle_gan.networks.precision import Precision, resolve_precision
from medstyle_gan.networks.winograd import with_fewer_multiplications


class LoadedModel:
    """The generators of a model with all that decides how they are run.

    Args:
        config: settings of the training; of these `data` and `inference` are used.
        generators: direction → generator in evaluation mode, with its `divisor`.
        channels: domain → channels that the generators take and give.
        scales: domain → intensity scale that gives translations their native units.
        integer: domain → whether its collection holds integers.
        background: domain → native value outside the body.
        pictures: domain → whether its collection is pictures.
        device: where the generators are.
        precision: arithmetic of the generators.
        model_hash: the weights' sha256, for sidecars.
        steps: steps of training, for sidecars.
        bundle: what the model was loaded from, whose run may have earlier checkpoints for the
            uncertainty.
        fingerprint: domain → what its collection was like, for `check_scope`.
        strict: refuse volumes that are out of the model's scope, or cannot be checked.
    """

    def __init__(
        self,
        config: Config,
        generators: Mapping[str, nn.Module],
        *,
        channels: Mapping[str, int],
        scales: Mapping[str, FittedScale],
        integer: Mapping[str, bool],
        background: Mapping[str, float],
        pictures: Mapping[str, bool],
        device: torch.device,
        precision: Precision,
        model_hash: str | None = None,
        steps: int | None = None,
        bundle: Bundle | None = None,
        fingerprint: Mapping[str, Any] | None = None,
        strict: bool = False,
    ) -> None:
        self.config = config
        self.generators = dict(generators)
        self.channels = dict(channels)
        self.scales = dict(scales)
        self.integer = dict(integer)
        self.background = dict(background)
        self.pictures = dict(pictures)
        self.device = device
        self.precision = precision
        self.model_hash = model_hash
        self.steps = steps
        self._bundle = bundle
        self._earlier: dict[Direction, dict[int, nn.Module]] = {}
        self.fingerprint = dict(fingerprint or {})
        self.strict = strict

    @classmethod
    def load(
        cls,
        model: str | Path | Bundle,
        device: str = "auto",
        precision: Literal["auto", "fp32", "bf16"] = "auto",
        inference: InferenceConfig | None = None,
        strict: bool = False,
    ) -> Self:
        """Load a trained model.

        Args:
            model: a run folder, the folder of a bundle of any format, or a bundle.
            device: `auto` (a GPU where there is one), `cpu`, `cuda`, `cuda:1`, ...
            precision: `auto` takes bf16 where the hardware multiplies it natively.
            inference: settings to use in place of the bundle's own.
            strict: refuse volumes that are out of the model's scope, or cannot be checked.

        Raises:
            UserError: for a folder that is no model, damaged files, an unknown device, and
                settings that a network of these dimensions cannot follow.
        """
        bundle = model if isinstance(model, Bundle) else load_bundle(model)
        config = bundle.config
        if inference is not None:
            if fault := path_fault(inference, config.data):
                raise UserError(fault)
            config = config.model_copy(update={"inference": inference})
        networks = load_networks(bundle, device, precision)
        loaded = cls(
            config,
            networks.generators,
            channels=bundle.channels,
            scales=bundle.scales,
            integer=bundle.integer,
            background=bundle.background,
            pictures=bundle.pictures,
            device=networks.device,
            precision=networks.precision,
            model_hash=bundle.hash,
            steps=bundle.steps,
            # Without the weights: the generators have them.
            bundle=replace(bundle, state={}, graphs={}, weights_hash=bundle.hash),
            fingerprint=bundle.fingerprint,
            strict=strict,
        )
        loaded.generators = {
            direction: loaded._ready(generator)
            for direction, generator in loaded.generators.items()
        }
        return loaded

    @classmethod
    def from_generators(
        cls,
        config: Config,
        generators: Mapping[str, nn.Module],
        *,
        scales: Mapping[str, FittedScale],
        channels: Mapping[str, int],
        integer: Mapping[str, bool],
        background: Mapping[str, float],
        pictures: Mapping[str, bool] | None = None,
        precision: Literal["auto", "fp32", "bf16"] = "auto",
    ) -> Self:
        """Take generators in memory, as validation does while training.

        The generators are used as and where they are: put them in evaluation mode first.
        `describe_collections` gives all arguments but the first two.
        """
        first = next((p for g in generators.values() for p in g.parameters()), None)
        device = torch.device("cpu") if first is None else first.device
        return cls(
            config,
            generators,
            channels=channels,
            scales=scales,
            integer=integer,
            background=background,
            pictures=pictures or {"scan": False, "style": False},
            device=device,
            precision=resolve_precision(precision, device),
        )

    def refuse_direction(self, direction: Direction) -> None:
        """Refuse a direction that this model has no generator for.

        Raises:
            UserError: it has none, or there is no such direction.
        """
        domains_of(direction)  # raises for one that is none
        if direction not in self.generators:
            raise UserError(
                f"{direction}: a model of {self.config.method.name} translates one way; choose "
                f"{' or '.join(self.generators)} (--direction)"
            )

    def network(self, direction: Direction) -> Network:
        """A direction's generator with all that decides how it is run.

        Raises:
            UserError: the model has none.
        """
        self.refuse_direction(direction)
        return self._network(self.generators[direction], direction)

    def networks(self, direction: Direction) -> list[Network]:
        """All of a direction's generators that the uncertainty is over, the model's own first.

        Raises:
            UserError: for a file that is no checkpoint of this model.
        """
        earlier = self._earlier_generators(direction).values()
        return [self.network(direction), *(self._network(g, direction) for g in earlier)]

    def uncertainty_over(self, direction: Direction) -> dict[str, Any]:
        """Which translations the uncertainty is the spread of, in plain values.

        Returns:
            `flips`, the sets of axes that the volume is mirrored along; their
            `phases` on the generators' grid with `cycle_spinning`; `steps` of the generators, the
            model's own first; and the number of `translations`.

        Raises:
            UserError: where there is only one translation, and for a file that is no
                checkpoint of this model.
        """
        steps = [self.steps, *self._earlier_generators(direction)]
        seen = ways_to_see(self.network(direction), len(steps))
        names = get_args(Flip)
        return {
            "flips": [[names[axis] for axis in way.mirrored] for way in seen],
            **({"phases": phases} if any(phases := [way.phase for way in seen]) else {}),
            "steps": steps,
            "translations": len(steps) * len(seen),
        }

    def _network(self, generator: nn.Module, direction: Direction) -> Network:
        source, target = domains_of(direction)
        return Network(
            generator=generator,
            in_channels=self.channels[source],
            out_channels=self.channels[target],
            data=self.config.data,
            inference=self.config.inference,
            device=self.device,
            precision=self.precision,
        )

    def _ready(self, generator: nn.Module) -> nn.Module:
        """A restored generator where it runs, and as it runs fastest there."""
        return with_fewer_multiplications(generator.to(self.device), self.device, self.precision)

    def _earlier_generators(self, direction: Direction) -> dict[int, nn.Module]:
        """Those of the run's earlier checkpoints by step, read when they are asked for first."""
        if direction not in self._earlier:
            bundle = self._bundle
            found = {} if bundle is None else restore_earlier(bundle, direction)
            self._earlier[direction] = {
                step: self._ready(generator) for step, generator in found.items()
            }
        return self._earlier[direction]
