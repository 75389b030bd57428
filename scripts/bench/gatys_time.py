"""Part `gatys`: time of an evaluation, loss reached and memory, ours and a textbook's."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from bench.command import median_ratio
from bench.fresh_process import run_program
from bench.textbook_gatys import TextbookGatys
from medstyle_gan.config import Config, load_config
from medstyle_gan.config.method_section import GatysConfig
from medstyle_gan.errors import UserError
from medstyle_gan.methods import Gatys, StyleReference
from medstyle_gan.methods.descent import descend
from medstyle_gan.methods.picture_objective import PictureObjective
from medstyle_gan.networks import VGG19Features

TEXTBOOK, OURS, BF16 = "textbook", "ours", "ours, bf16"


def bench_gatys_config(overrides: Sequence[str]) -> Config:
    """Gatys with its defaults on seeded weights.

    Raises:
        UserError: the overrides have mistakes, or ask for what the textbook has not.
    """
    config = load_config(None, overrides, options={"vgg.weights": "random:0"}, method="gatys")
    method, loss = config.method, config.loss
    if not isinstance(method, GatysConfig):
        raise UserError("this benchmark is gatys'; leave method.name out")
    changed = method.model_dump(exclude={"features"}) != GatysConfig().model_dump(
        exclude={"features"}
    )
    if changed or loss.total_variation.weight or loss.style.layer_weights:
        raise UserError(
            "the textbook's Gatys knows content and style weights and layers only; leave method.* "
            "and the other terms as they are"
        )
    return config


def pictures(size: int) -> tuple[Tensor, Tensor]:
    """Seeded content and style, `(1, 3, size, size)` in [-1, 1]."""
    rng = torch.Generator().manual_seed(0)

    def smooth(cells: int) -> Tensor:
        coarse = torch.rand(1, 3, cells, cells, generator=rng)
        return F.interpolate(coarse, (size, size), mode="bicubic").clamp(0, 1) * 2 - 1

    return smooth(16), smooth(48)


class OurGatys:
    """The product's own objective and descent.

    Args:
        name: of the contender.
        config: all settings.
        content: the picture to begin from.
        style: the style.
        bf16: features in bfloat16.
    """

    def __init__(
        self, name: str, config: Config, content: Tensor, style: Tensor, bf16: bool = False
    ) -> None:
        assert isinstance(config.method, GatysConfig)
        method = config.method.model_copy(update={"features": "bf16" if bf16 else "fp32"})
        layers = Gatys.layers(config.loss)
        vgg = VGG19Features(config.vgg.weights, layers, method.pooling, winograd=not bf16)
        gatys = Gatys(vgg, method, config.loss)
        encoded = gatys.encode_content(content)
        styles = gatys.encode_style([StyleReference([style])])
        self.name = name
        self.start = content
        self.objective: PictureObjective = gatys.objectives(encoded, styles)[-1]
        self.seconds: list[float] = []

    def evaluate(self, picture: Tensor) -> Tensor:
        """The loss at a picture, whose `grad` it fills."""
        evaluation = self.objective(picture)
        picture.grad = evaluation.gradient
        return torch.tensor(evaluation.loss)

    def run(self, iterations: int) -> float:
        """Iterate, noting the seconds of each evaluation; the last loss."""

        def timed(picture: Tensor) -> Any:
            began = time.perf_counter()
            evaluation = self.objective(picture)
            self.seconds.append(time.perf_counter() - began)
            return evaluation

        return descend(timed, self.start, steps=iterations).curve[-1][0]


def measure_gatys(
    overrides: Sequence[str],
    parts: Sequence[str],
    size: int,
    iterations: int,
    rounds: int,
    bf16: bool,
    say: Callable[[str], None],
) -> dict[str, Any]:
    """Evaluations in turns, descents from the same picture, and the memory of each.

    Args:
        overrides: the user's `key.path=value`.
        parts: of `evaluation`, `descent`, `memory`.
        size: side of the pictures (pixels).
        iterations: of L-BFGS in the descents.
        rounds: evaluations of each contender in turns.
        bf16: whether features in bfloat16 are a contender too.
        say: takes a line of progress.

    Returns:
        What was measured, for the table and for JSON.
    """
    config = bench_gatys_config(overrides)
    content, style = pictures(size)
    result: dict[str, Any] = {"size": size, "ratios": []}
    if "evaluation" in parts or "descent" in parts:
        contenders: list[TextbookGatys | OurGatys] = [
            TextbookGatys(config.vgg.weights, config.loss, content, style),
            OurGatys(OURS, config, content, style),
        ]
        if "evaluation" in parts:
            more = [OurGatys(BF16, config, content, style, bf16=True)] if bf16 else []
            _add_evaluations(result, [*contenders, *more], content, rounds, say)
        if "descent" in parts:
            _add_descents(result, contenders, iterations, say)
    if "memory" in parts:
        _add_memory(result, overrides, size, say)
    return result


def _add_evaluations(
    result: dict[str, Any],
    contenders: Sequence[TextbookGatys | OurGatys],
    content: Tensor,
    rounds: int,
    say: Callable[[str], None],
) -> None:
    times, gradients = _in_turns(contenders, content, rounds, say)
    result["milliseconds"] = {n: round(1e3 * statistics.median(t), 1) for n, t in times.items()}
    result["gradient_likeness"] = {
        name: round(float(F.cosine_similarity(g, gradients[TEXTBOOK], dim=0)), 6)
        for name, g in gradients.items()
    }
    result["ratios"].append(
        median_ratio("ours / textbook, an evaluation", times[OURS], times[TEXTBOOK], 0.75)
    )
    if BF16 in times:
        bf16, fp32 = (statistics.median(times[name]) for name in (BF16, OURS))
        result["bf16_ratio"] = round(bf16 / fp32, 3)


def _add_descents(
    result: dict[str, Any],
    contenders: Sequence[TextbookGatys | OurGatys],
    iterations: int,
    say: Callable[[str], None],
) -> None:
    result |= {"iterations": iterations, "loss": {}, "evaluations": {}, "seconds": {}}
    for contender in contenders:
        say(f"gatys: {iterations} iterations, {contender.name}")
        result["loss"][contender.name] = contender.run(iterations)
        result["evaluations"][contender.name] = len(contender.seconds)
        result["seconds"][contender.name] = round(sum(contender.seconds), 2)
    each = {n: result["seconds"][n] / result["evaluations"][n] for n in result["seconds"]}
    result["ratios"] += [
        {
            "name": f"loss after {iterations} iterations",
            "value": round(result["loss"][OURS] / result["loss"][TEXTBOOK], 4),
            "target": 1.01,
        },
        {
            "name": "an evaluation in these iterations",
            "value": round(each[OURS] / each[TEXTBOOK], 3),
            "target": 0.75,
        },
    ]


def _add_memory(
    result: dict[str, Any], overrides: Sequence[str], size: int, say: Callable[[str], None]
) -> None:
    say("gatys: memory, each in a fresh process")
    memory = {
        name: run_program("gatys_memory.py", name, str(size), *overrides)
        for name in (TEXTBOOK, OURS)
    }
    result["mib"] = memory
    used = {name: m["peak"] - m["imports"] for name, m in memory.items()}
    result["ratios"].append(
        {
            "name": "peak memory beyond imports",
            "value": round(used[OURS] / used[TEXTBOOK], 3),
            "target": 1.0,
        }
    )


def _in_turns(
    contenders: Sequence[TextbookGatys | OurGatys],
    content: Tensor,
    rounds: int,
    say: Callable[[str], None],
) -> tuple[dict[str, list[float]], dict[str, Tensor]]:
    """Seconds of each counted evaluation, and the gradient at the last picture."""
    rng = torch.Generator().manual_seed(1)
    times: dict[str, list[float]] = {contender.name: [] for contender in contenders}
    gradients: dict[str, Tensor] = {}
    for turn in range(rounds + 1):
        say(f"gatys: round {turn} of {rounds}" + (" (warm-up)" if turn == 0 else ""))
        noise = 0.1 * torch.randn(content.shape, generator=rng)
        first = turn % len(contenders)
        for contender in (*contenders[first:], *contenders[:first]):
            picture = (content + noise).requires_grad_()
            began = time.perf_counter()
            contender.evaluate(picture)
            if turn:
                times[contender.name].append(time.perf_counter() - began)
            assert picture.grad is not None
            gradients[contender.name] = picture.grad.flatten()
    return times, gradients


def gatys_lines(result: Mapping[str, Any]) -> list[str]:
    """The result as lines to print."""
    lines = [f"gatys ({result['size']}², seeded VGG-19)"]
    if "milliseconds" in result:
        lines += [
            "  an evaluation, ms: "
            + ", ".join(f"{name} {ms:.0f}" for name, ms in result["milliseconds"].items()),
            "  cosine of the gradient with the textbook's: "
            + ", ".join(f"{name} {v:.6f}" for name, v in result["gradient_likeness"].items()),
        ]
    if "bf16_ratio" in result:
        lines.append(f"  bf16 features with fp32 sums take {result['bf16_ratio']} of fp32's time")
    lines += [
        f"  {name}: loss {loss:.4g} after {result['iterations']} iterations, "
        f"{result['evaluations'][name]} evaluations, {result['seconds'][name]} s"
        for name, loss in result.get("loss", {}).items()
    ]
    return lines + [
        f"  {name}: {m['imports']:.0f} MiB after the imports, {m['peak']:.0f} MiB at most"
        for name, m in result.get("mib", {}).items()
    ]
