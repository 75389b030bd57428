"""A plan in words: as YAML with a reason at each setting, and as lines for a terminal."""

from __future__ import annotations

import shutil
import textwrap
from collections.abc import Iterator, Mapping
from typing import Any

from pydantic import BaseModel

from medstyle_gan.config import Config
from medstyle_gan.config.yaml_text import yaml_value
from medstyle_gan.training.planning.facts import CollectionFacts, Machine
from medstyle_gan.training.planning.planner import Estimate, Plan
from medstyle_gan.training.planning.rules import setting
from medstyle_gan.training.planning.trial import Trial
from medstyle_gan.training.progress import format_seconds

_WIDTH = 100
_GIVEN = "given"
_GIBIBYTE = 2.0**30
# A trial that is so many times slower or faster is worth a word.
_FAR_OFF = 2.0

Leaves = dict[str, tuple[Any, str]]


def write_plan(plan: Plan, trial: Trial | None) -> str:
    """The plan as YAML that `medstyle train --config` takes."""
    header = [
        "Made by medstyle plan. Edit what you know better; train with:",
        "  medstyle train --config THIS_FILE -o RUN",
        "What is not here has its default (medstyle train --config THIS_FILE --print-config).",
        "",
        *facts_lines(plan),
        *figures_lines(plan, trial),
    ]
    lines = [line for text in header for line in _comment(text, "")]
    return "\n".join([*lines, "", *_sections(_tree(_leaves(plan)), "")]) + "\n"


def facts_lines(plan: Plan) -> list[str]:
    """What the plan was made from."""
    collections = [_collection(facts) for facts in (plan.scan, plan.style)]
    return [*collections, _machine(plan.machine)]


def decision_lines(plan: Plan) -> list[str]:
    """Each decision with its reason, over as many lines as it takes."""
    width = max(60, min(_WIDTH, shutil.get_terminal_size().columns))
    lines: list[str] = []
    for decision in plan.decisions:
        text = f"{decision.key} = {yaml_value(_plain(decision.value))}: {decision.reason}"
        lines += textwrap.wrap(
            text, width, subsequent_indent="    ", break_long_words=False, break_on_hyphens=False
        )
    return lines


def figures_lines(plan: Plan, trial: Trial | None) -> list[str]:
    """The estimate and, after it, what the trial measured."""
    steps, lines = plan.config.training.steps, []
    estimate = plan.estimate
    if estimate is not None:
        lines.append(
            f"estimate: {_seconds(estimate.step_seconds)} a step ({estimate.operations / 1e9:.3g} "
            f"GFLOP at {estimate.share:.0%} of {estimate.gflops:.3g} GFLOP/s of matrix products), "
            f"{format_seconds(estimate.seconds)} for {steps} steps, "
            f"{estimate.memory / _GIBIBYTE:.2g} GiB a step"
        )
    if trial is None:
        return [*lines, "trial: none was made"]
    other = 0.0 if estimate is None else estimate.seconds - steps * estimate.step_seconds
    total = steps * trial.step_seconds + other
    kind = "on the GPU" if plan.machine.has_gpu else "of the process, libraries included"
    lines.append(
        f"trial of {trial.steps} steps: {_seconds(trial.step_seconds)} a step, "
        f"{format_seconds(total)} for {steps} steps, {trial.memory / _GIBIBYTE:.2g} GiB at most "
        f"{kind}"
    )
    if estimate is not None:
        lines += _doubts(estimate, trial, plan.machine)
    return lines


def _doubts(estimate: Estimate, trial: Trial, machine: Machine) -> list[str]:
    ratio = trial.step_seconds / estimate.step_seconds
    lines = []
    if not 1 / _FAR_OFF < ratio < _FAR_OFF:
        lines.append(
            f"the trial's steps take {ratio:.2g} times the estimate: count on the trial. Steps and "
            "widths were chosen by the estimate; medstyle plan --time makes other ones"
        )
    if trial.memory > machine.memory:
        lines.append("the trial took more memory than there is: take smaller samples")
    return lines


def short_line(plan: Plan) -> str:
    """All decisions in one line, as overrides."""
    return " ".join(
        f"{d.key}={yaml_value(_plain(d.value)).replace(', ', ',')}" for d in plan.decisions
    )


def _collection(facts: CollectionFacts) -> str:
    line = f"{facts.domain}: {facts.volumes} files of {facts.subjects} subjects"
    if facts.pictures:
        return f"{line}, pictures"
    size = " x ".join(f"{s:.3g}" for s in facts.spacing)
    voxels = " x ".join(f"{n:.0f}" for n in facts.voxels)
    body = " x ".join(f"{b:.0f}" for b in facts.body)
    kind = ", Hounsfield units" if facts.hounsfield else ""
    return f"{line}, {voxels} voxels of {size} mm, body up to {body} mm (R, A, S){kind}"


def _machine(machine: Machine) -> str:
    rates = ", ".join(f"{name} {rate:.0f}" for name, rate in machine.gflops.items())
    measured = f", matrix products {rates} GFLOP/s" if rates else ""
    name = " ".join(machine.name.split())
    return (
        f"machine: {name}, {machine.device}, {machine.cores} cores, "
        f"{machine.memory / _GIBIBYTE:.3g} GiB{measured}"
    )


def _leaves(plan: Plan) -> Leaves:
    """Dotted key → (value, reason), of what was given and decided."""
    own = [k for k in plan.given if not any(k.startswith(f"{other}.") for other in plan.given)]
    leaves: Leaves = {key: (setting(plan.config, key), _GIVEN) for key in own}
    leaves |= {d.key: (d.value, d.reason) for d in plan.decisions}
    return leaves


def _tree(leaves: Leaves) -> dict[str, Any]:
    """Nested sections, in the order of the config's models."""
    tree: dict[str, Any] = {}
    for key, leaf in leaves.items():
        *sections, name = key.split(".")
        place = tree
        for section in sections:
            place = place.setdefault(section, {})
        place[name] = leaf
    order = list(Config.model_fields)
    return dict(sorted(tree.items(), key=lambda item: order.index(item[0])))


def _sections(tree: Mapping[str, Any], indent: str) -> Iterator[str]:
    for number, (name, value) in enumerate(tree.items()):
        if not indent and number:
            yield ""
        if isinstance(value, dict):
            yield f"{indent}{name}:"
            yield from _sections(value, f"{indent}  ")
            continue
        plain, reason = value
        yield from _comment(reason, indent)
        yield f"{indent}{name}: {yaml_value(_plain(plain))}"


def _comment(text: str, indent: str) -> list[str]:
    start = f"{indent}# "
    lines = textwrap.wrap(
        text, _WIDTH, initial_indent=start, subsequent_indent=start, break_long_words=False
    )
    return lines or [f"{indent}#"]


def _plain(value: Any) -> Any:
    """A setting's value as YAML has it."""
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json")
    return list(value) if isinstance(value, tuple) else value


def _seconds(seconds: float) -> str:
    return f"{seconds:.2g} s" if seconds < 100 else format_seconds(seconds)
