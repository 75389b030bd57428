"""Part `step`: the time of a training step, ours and the textbook's, with and without VGG-19."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import torch
import torch.nn.functional as F
from torch.utils.flop_counter import FlopCounterMode

from bench.ours import Ours
from bench.settings import WITHOUT_DISCRIMINATORS, WITHOUT_VGG, bench_config, bench_device
from bench.textbook import Batch, Textbook
from medstyle_gan.methods.vgg_regularizer import cadence
from medstyle_gan.networks.precision import resolve_precision

TEXTBOOK, OUR_LAYERS = "textbook", "textbook, our layers"
PLAIN, VGG, GENERATORS = "ours, no VGG", "ours, VGG", "ours, G only"
_BATCHES = 8
# The first step of a block makes the optimisers' state and finds other contenders' data cached.
_WARMUP = 1
Rounds = dict[str, list[list[float]]]


class Contender(Protocol):
    """Something that can train on batches and tell the time of each step."""

    name: str

    def run(self, batches: Sequence[Batch], warmup: int) -> list[float]:
        """The seconds of each step after the first `warmup`."""


def measure_steps(
    overrides: Sequence[str],
    quick: bool,
    rounds: int,
    periods: int,
    gemm_gflops: Mapping[str, float],
    say: Callable[[str], None],
) -> dict[str, Any]:
    """Step times of all contenders, in turns so that the machine's moods hit all alike.

    Args:
        overrides: the user's `key.path=value`.
        quick: sizes of a smoke test.
        rounds: turns of each contender.
        periods: whole cadence periods of the VGG terms in a turn.
        gemm_gflops: precision → the rate of matrix products on this machine (GFLOP/s).
        say: takes a line of progress.

    Returns:
        What was measured, for the table and for JSON.
    """
    config = bench_config(overrides, quick)
    batches = synthetic_batches(config.data.sample_size, config.training.batch_size)
    contenders = make_contenders(overrides, quick, batches)
    steps = cadence(config.loss) * periods
    times = interleave(contenders, batches, steps, rounds, say)
    gflop = {c.name: step_gflop(c, batches[0]) for c in contenders if c.name in (TEXTBOOK, PLAIN)}
    device = bench_device(config)
    precision = resolve_precision(config.training.precision, device)
    generator = config.generator.model_dump(mode="json")
    return {
        "generator": generator,
        "discriminator": config.discriminator.model_dump(mode="json"),
        "sample_size": list(config.data.sample_size),
        "batch_size": config.training.batch_size,
        "precision": precision,
        "steps_each": steps * rounds,
        "cadence": cadence(config.loss),
        "milliseconds": {name: summarize(blocks) for name, blocks in times.items()},
        "ratios": ratios(times, 0.5 if precision == "bf16" else 0.9),
        "shares": shares(times),
        "rates": rates(times, gflop, {TEXTBOOK: "fp32", PLAIN: precision}, gemm_gflops),
    }


def make_contenders(
    overrides: Sequence[str], quick: bool, batches: Sequence[Batch]
) -> list[Contender]:
    """The textbook's loop in two forms and ours in three, all from the same initial networks."""

    def ours(name: str, without: Sequence[str]) -> Ours:
        return Ours(name, bench_config([*overrides, *without], quick), batches)

    plain = ours(PLAIN, WITHOUT_VGG)
    device = bench_device(plain.config)
    return [
        Textbook(TEXTBOOK, plain.method, plain.config, device),
        Textbook(OUR_LAYERS, plain.method, plain.config, device, plain_layers=False),
        plain,
        ours(VGG, ()),
        ours(GENERATORS, WITHOUT_DISCRIMINATORS),
    ]


def synthetic_batches(size: tuple[int, ...], batch_size: int) -> list[Batch]:
    """Smooth seeded images in [-1, 1], `(batch_size, 1, *size)` for each domain."""
    rng = torch.Generator().manual_seed(0)

    def images() -> torch.Tensor:
        coarse = torch.rand(batch_size, 1, *[8] * len(size), generator=rng)
        mode = "bicubic" if len(size) == 2 else "trilinear"
        return F.interpolate(coarse, size, mode=mode).clamp(0, 1) * 2 - 1

    return [{"scan": images(), "style": images()} for _ in range(_BATCHES)]


def interleave(
    contenders: Sequence[Contender],
    batches: Sequence[Batch],
    steps: int,
    rounds: int,
    say: Callable[[str], None],
) -> Rounds:
    """Seconds of each counted step: contender → round → steps.

    A first round, and the first step of each turn, are not counted. Who begins a round
    changes from round to round.
    """
    times: Rounds = {contender.name: [] for contender in contenders}
    feed = [batches[i % len(batches)] for i in range(steps + _WARMUP)]
    for turn in range(rounds + 1):
        say(f"step: round {turn} of {rounds}" + (" (warm-up)" if turn == 0 else ""))
        first = turn % len(contenders)
        for contender in (*contenders[first:], *contenders[:first]):
            seconds = contender.run(feed, _WARMUP)
            if turn:
                times[contender.name].append(seconds)
    return times


def summarize(blocks: Sequence[Sequence[float]]) -> dict[str, float]:
    """Median, mean and smallest time of a step (ms)."""
    seconds = [s for block in blocks for s in block]
    figures = {
        "median": statistics.median(seconds),
        "mean": statistics.fmean(seconds),
        "smallest": min(seconds),
    }
    return {name: round(1e3 * value, 2) for name, value in figures.items()}


def ratios(times: Rounds, target: float) -> list[dict[str, Any]]:
    """Ours against the textbook by medians; with VGG against without by means.

    The lazy VGG steps are a minority that a median would hide: each block holds whole cadence
    periods, so its mean is what a long training pays.

    Args:
        times: what `interleave` gave.
        target: largest wanted ratio of ours to the textbook.
    """
    median, mean = statistics.median, statistics.fmean
    return [
        _ratio("ours / textbook, medians", times[PLAIN], times[TEXTBOOK], median, target),
        _ratio("the same, our layers in both", times[PLAIN], times[OUR_LAYERS], median, None),
        _ratio("VGG / no VGG, means", times[VGG], times[PLAIN], mean, 1.3),
    ]


def _ratio(
    name: str,
    numerator: Sequence[Sequence[float]],
    denominator: Sequence[Sequence[float]],
    middle: Callable[[Sequence[float]], float],
    target: float | None,
) -> dict[str, Any]:
    by_round = [middle(a) / middle(b) for a, b in zip(numerator, denominator, strict=True)]
    value = middle([s for block in numerator for s in block]) / middle(
        [s for block in denominator for s in block]
    )
    return {
        "name": name,
        "value": round(value, 3),
        "target": target,
        "rounds": [round(min(by_round), 3), round(max(by_round), 3)],
    }


def shares(times: Mapping[str, Sequence[Sequence[float]]]) -> dict[str, float]:
    """What generators, discriminators and VGG take of the mean step with VGG (0…1).

    By difference: a step with a part left out tells what the part costs.
    """
    mean = {name: statistics.fmean(s for b in blocks for s in b) for name, blocks in times.items()}
    parts = {
        "generators": mean[GENERATORS],
        "discriminators": mean[PLAIN] - mean[GENERATORS],
        "vgg": mean[VGG] - mean[PLAIN],
    }
    return {name: round(seconds / mean[VGG], 3) for name, seconds in parts.items()}


def step_gflop(contender: Contender, batch: Batch) -> float:
    """Arithmetic of one step's convolutions and matrix products (GFLOP), as torch counts it."""
    with FlopCounterMode(display=False) as counter:
        contender.run([batch], 0)
    return counter.get_total_flops() / 1e9


def rates(
    times: Mapping[str, Sequence[Sequence[float]]],
    gflop: Mapping[str, float],
    precisions: Mapping[str, str],
    gemm_gflops: Mapping[str, float],
) -> dict[str, dict[str, float]]:
    """What arithmetic a step does, how fast, and what share that is of a matrix product's rate.

    Args:
        times: what `interleave` gave.
        gflop: contender → arithmetic of one step (GFLOP).
        precisions: contender → its arithmetic.
        gemm_gflops: precision → rate of matrix products (GFLOP/s).
    """
    found = {}
    for name, work in gflop.items():
        rate = work / statistics.median(s for block in times[name] for s in block)
        share = rate / gemm_gflops[precisions[name]]
        found[name] = {
            "gflop": round(work, 2),
            "gflops": round(rate, 1),
            "gemm_share": round(share, 3),
        }
    return found


def step_lines(result: Mapping[str, Any]) -> list[str]:
    """The result as lines to print."""
    generator = result["generator"]
    size = "x".join(map(str, result["sample_size"]))
    shape = ", ".join(f"{key} {value}" for key, value in generator.items() if key != "name")
    lines = [
        f"step time ({generator['name']}: {shape}; {size}, batch {result['batch_size']}, ours in "
        f"{result['precision']}; {result['steps_each']} steps each, VGG every "
        f"{result['cadence']} steps)",
        f"  {'ms':22}{'median':>10}{'mean':>10}{'smallest':>10}",
    ]
    for name, figures in result["milliseconds"].items():
        row = "".join(f"{figures[key]:10.1f}" for key in ("median", "mean", "smallest"))
        lines.append(f"  {name:22}{row}")
    split = ", ".join(f"{name} {share:.0%}" for name, share in result["shares"].items())
    lines.append(f"  of a step with VGG: {split}")
    for name, rate in result["rates"].items():
        lines.append(
            f"  {name}: {rate['gflop']:.1f} GFLOP a step, {rate['gflops']:.0f} GFLOP/s, "
            f"{rate['gemm_share']:.0%} of a matrix product's rate"
        )
    return lines


def profile_step(overrides: Sequence[str], quick: bool) -> str:
    """Torch's table of the ten operations that take most of one cadence period with VGG."""
    config = bench_config(overrides, quick)
    batches = synthetic_batches(config.data.sample_size, config.training.batch_size)
    contender = Ours(VGG, config, batches)
    feed = [batches[i % len(batches)] for i in range(cadence(config.loss))]
    contender.run(feed, 0)
    activities = [torch.profiler.ProfilerActivity.CPU]
    if bench_device(config).type == "cuda":
        activities.append(torch.profiler.ProfilerActivity.CUDA)
    with torch.profiler.profile(activities=activities) as profiler:
        contender.run(feed, 0)
    device = "cuda" if len(activities) > 1 else "cpu"
    return profiler.key_averages().table(sort_by=f"self_{device}_time_total", row_limit=10)
