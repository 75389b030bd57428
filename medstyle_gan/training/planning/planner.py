"""A plan: the facts, what was decided from them, and the estimate."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Mapping
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any, get_args

from medstyle_gan.config import Config, load_config
from medstyle_gan.config.warm_start_section import WarmStartConfig
from medstyle_gan.data.collection import Item
from medstyle_gan.data.datamodule import UnpairedDataModule
from medstyle_gan.data.words import Domain
from medstyle_gan.errors import UserError
from medstyle_gan.training.planning.cost import step_cost
from medstyle_gan.training.planning.facts import CollectionFacts, Machine, StepCost
from medstyle_gan.training.planning.machine import describe_machine
from medstyle_gan.training.planning.rules import (
    EFFICIENCY,
    REFINED_PAIR_SECONDS,
    REFINEMENT_SECONDS,
    REGISTRATION_SECONDS,
    Decision,
    decide,
    is_given,
    resolved_precision,
    step_seconds,
)
from medstyle_gan.training.planning.survey import survey_collection

OVERNIGHT = 12 * 3600.0
# What is decided with an eye to the rate of matrix products.
_BY_RATE = ("generator.ngf", "training.steps", "training.precision")

Progress = Callable[[str, int, int], None]


class NothingUsable(UserError):
    """A collection without a file that can be used."""


@dataclass(frozen=True)
class Estimate:
    """What a training will take, before any step was made.

    Attributes:
        operations: of a mean step.
        gflops: the measured rate of matrix products in the training's precision (GFLOP/s).
        share: of that rate which a step is taken to reach.
        step_seconds: a mean step.
        seconds: the whole training, registrations of a warm start included; neither preparing
            volumes nor validations.
        memory: bytes of a step.
    """

    operations: float
    gflops: float
    share: float
    step_seconds: float
    seconds: float
    memory: float


@dataclass(frozen=True)
class Plan:
    """A plan.

    Attributes:
        config: complete, as it will train.
        given: dotted keys of what the user gave.
        decisions: the other settings of the plan.
        scan, style: the facts of the collections.
        read: domain → the files whose voxels were read.
        unusable: files that cannot be used, each with its reason.
        machine: what will train.
        estimate: None where no rate was measured.
    """

    config: Config
    given: tuple[str, ...]
    decisions: tuple[Decision, ...]
    scan: CollectionFacts
    style: CollectionFacts
    read: Mapping[str, tuple[Item, ...]]
    unusable: tuple[str, ...]
    machine: Machine
    estimate: Estimate | None

    @property
    def settings(self) -> dict[str, Any]:
        """What was decided, by dotted keys."""
        return {decision.key: decision.value for decision in self.decisions}

    def as_dict(self) -> dict[str, Any]:
        """Facts, decisions and estimate, for JSON; no path and no name but the machine's."""
        return {
            "scan": asdict(self.scan),
            "style": asdict(self.style),
            "machine": asdict(self.machine),
            "decisions": [asdict(decision) for decision in self.decisions],
            "estimate": None if self.estimate is None else asdict(self.estimate),
        }


def make_plan(
    config: Config,
    given: Collection[str],
    budget: float = OVERNIGHT,
    estimate: bool = True,
    on_progress: Progress | None = None,
) -> Plan:
    """Plan a training.

    Args:
        config: what was given, the rest being defaults.
        given: dotted keys of what was given, which stands.
        budget: seconds that the training may take.
        estimate: whether to estimate time and memory; otherwise no more is measured than the
            decisions need.
        on_progress: called with (domain, files done, files in all).

    Raises:
        NothingUsable: a collection has no file that can be used.
        UserError: a collection is missing or empty, both are the same, or the volumes are too
            small.
    """
    split = UnpairedDataModule(config).split
    items = {
        "scan": (*split.train_scan, *split.validation_scan),
        "style": (*split.train_style, *split.validation_style),
    }
    surveys = {
        domain: survey_collection(
            items[domain],
            config.data,
            domain,
            None if on_progress is None else partial(on_progress, domain),
        )
        for domain in get_args(Domain)
    }
    scan, style = surveys["scan"].facts, surveys["style"].facts
    unusable = tuple(line for survey in surveys.values() for line in survey.unusable)
    if scan is None or style is None:
        raise NothingUsable(unusable_message(unusable))
    measure = estimate or any(not is_given(key, given) for key in _BY_RATE)
    machine = describe_machine(config.training, measure)
    costs = _Costs(config, scan, style, machine)
    # Of those that are trained on: a warm start registers no others.
    others = len({item.subject for item in (*split.train_scan, *split.train_style)}) > 1
    decisions = decide(scan, style, others, machine, config, given, costs, budget)
    settings = {decision.key: decision.value for decision in decisions}
    planned = with_settings(config, settings)
    return Plan(
        config=planned,
        given=tuple(given),
        decisions=decisions,
        scan=scan,
        style=style,
        read={domain: survey.read for domain, survey in surveys.items()},
        unusable=unusable,
        machine=machine,
        estimate=_estimate(planned, costs(settings), machine) if estimate else None,
    )


def unusable_message(unusable: Collection[str]) -> str:
    """What to say of files that cannot be used."""
    return (
        f"{len(unusable)} files cannot be used; repair or remove them, or give a list without "
        "them:\n  " + "\n  ".join(unusable)
    )


def with_settings(config: Config, settings: Mapping[str, Any]) -> Config:
    """The config with other values of some dotted keys.

    Raises:
        UserError: they do not go together with the rest.
    """
    whole = config.model_dump()
    name = settings.get("generator.name", whole["generator"]["name"])
    if name != whole["generator"]["name"]:
        del whole["generator"]  # another one's settings
    return load_config(options={**whole, **settings})


class _Costs:
    """Costs of steps by the settings that they depend on, each counted once."""

    def __init__(
        self, config: Config, scan: CollectionFacts, style: CollectionFacts, machine: Machine
    ) -> None:
        self._config = config
        self._channels = {"scan": scan.channels, "style": style.channels}
        self._machine = machine
        self._known: dict[str, StepCost] = {}

    def __call__(self, settings: Mapping[str, Any]) -> StepCost:
        # How often the VGG-19 acts and how long a training is change nothing of a step.
        wanted = {
            key: value
            for key, value in settings.items()
            if key.startswith(("data.", "generator.", "training.precision", "training.batch"))
        }
        config = with_settings(self._config, wanted)
        sections = ("data", "method", "generator", "discriminator", "loss", "vgg", "training")
        parts = config.model_dump(mode="json", include=set(sections))
        key = json.dumps(parts, sort_keys=True)
        if key not in self._known:
            slices = config.data.sample_slices
            channels = {domain: count * slices for domain, count in self._channels.items()}
            precision = resolved_precision(config.training.precision, self._machine)
            self._known[key] = step_cost(config, channels, precision)
        return self._known[key]


def _estimate(config: Config, cost: StepCost, machine: Machine) -> Estimate:
    precision = resolved_precision(config.training.precision, machine)
    every = min(config.loss.perceptual.every_n_steps, config.loss.style.every_n_steps)
    step = step_seconds(cost, every, precision, machine)
    warm = config.training.warm_start
    registrations = 0.0
    if isinstance(warm, WarmStartConfig) and warm.steps:
        registrations = REGISTRATION_SECONDS * warm.pairs
        if warm.refine:
            registrations += REFINEMENT_SECONDS + REFINED_PAIR_SECONDS * warm.pairs
    return Estimate(
        operations=cost.mean_operations(every),
        gflops=machine.gflops[precision],
        share=EFFICIENCY[machine.device, precision],
        step_seconds=step,
        seconds=config.training.steps * step + registrations,
        memory=cost.memory,
    )
