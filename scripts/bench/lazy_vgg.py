"""What applying the VGG-19 terms lazily does to the translators: lazy against eager, many seeds."""

from __future__ import annotations

import math
import statistics
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, get_args

import lightning as L
import torch
from torch import Tensor

from bench.ours import StepClock, fit_quietly
from medstyle_gan.config import Config, load_config
from medstyle_gan.data.datamodule import UnpairedDataModule
from medstyle_gan.data.phantom import PhantomFolders, write_phantom_collections
from medstyle_gan.data.sampling import fixed_samples
from medstyle_gan.data.words import INTO, OTHER, Domain
from medstyle_gan.errors import UserError
from medstyle_gan.methods import TrainedMethod
from medstyle_gan.methods.vgg_regularizer import VGGRegularizer, cadence
from medstyle_gan.training.preparation import prepare_training

TOLERANCE = 0.05
EAGER = ("loss.perceptual.every_n_steps=1", "loss.style.every_n_steps=1")
Losses = dict[str, float]

_OWN = ("data.scans", "data.style", "data.cache.folder", "training.steps", "training.seed")
_SETTINGS: dict[str, object] = {
    "data.spacing": [None, None, None],
    "data.sample_size": [64, 64],
    "data.validation_fraction": 0,
    "generator.ngf": 16,
    "generator.blocks": 3,
    "discriminator.ndf": 16,
    "discriminator.layers": 2,
    # The demo's, for as few steps; the losses and their weights are the defaults.
    "method.generator_learning_rate": 4e-4,
    "method.discriminator_learning_rate": 4e-4,
    "method.ema_decay": 0.99,
    "vgg.weights": "random:0",
}
_QUICK: dict[str, object] = {
    "data.sample_size": [32, 32],
    "generator.ngf": 4,
    "generator.blocks": 1,
    "discriminator.ndf": 4,
    "discriminator.layers": 1,
}
_SUBJECTS, _VALIDATION_SUBJECTS = 8, 4
_SLICES, _QUICK_SLICES = 16, 2
_GRADIENT_BATCHES = 8


def study_lazy_vgg(
    overrides: Sequence[str],
    seeds: Sequence[int],
    steps: int,
    quick: bool,
    say: Callable[[str], None],
) -> dict[str, Any]:
    """Train lazily and eagerly from the same seeds, and compare the unweighted VGG losses.

    Args:
        overrides: the user's `key.path=value`; the lazy run's.
        seeds: a pair of runs each.
        steps: of each run.
        quick: sizes of a smoke test.
        say: takes a line of progress.

    Raises:
        UserError: the overrides have mistakes, or leave nothing to compare.
    """
    taken = [key for key in _OWN if any(o.partition("=")[0].strip() == key for o in overrides)]
    if taken:
        raise UserError(f"the study sets {', '.join(taken)} itself; leave that out")
    with tempfile.TemporaryDirectory(prefix="medstyle-study-") as name:
        folder = Path(name)
        size = 32 if quick else 64
        training, validation = (
            write_phantom_collections(folder / part, count, 0, seed, (size, size, 16))
            for part, count, seed in (("train", _SUBJECTS, 0), ("valid", _VALIDATION_SUBJECTS, 1))
        )

        def config(seed: int, eager: bool, folders: PhantomFolders = training) -> Config:
            own: dict[str, object] = {
                "data.scans": str(folders.scans),
                "data.style": str(folders.style),
                "data.cache.folder": str(folder / "cache"),
                "training.seed": seed,
                "training.steps": steps,
            }
            settings = _SETTINGS | (_QUICK if quick else {}) | own
            return load_config(None, [*overrides, *(EAGER if eager else ())], options=settings)

        lazy = config(seeds[0], False)
        if cadence(lazy.loss) == 1:
            raise UserError(
                "nothing is lazy: all VGG-19 terms act at every step or have the weight 0; set "
                "loss.perceptual.every_n_steps or loss.style.every_n_steps above 1"
            )
        every = {
            "perceptual": lazy.loss.perceptual.every_n_steps,
            "style": lazy.loss.style.every_n_steps,
        }
        slices = _fixed_slices(config(seeds[0], False, validation), quick)
        # One measure for all runs: the targets of the first seed's collection.
        prepared = prepare_training(config(seeds[0], True), None, False)
        measure = prepared.method.regularizer
        assert measure is not None
        measure.to(prepared.device)
        result: dict[str, Any] = {
            "steps": steps,
            "seeds": list(seeds),
            "every_n_steps": every,
            "precision": prepared.precision,
            "slices": len(slices["scan"]),
            "nothing_done": _losses(measure, slices, {d: slices[o] for d, o in OTHER.items()}),
            "runs": [],
        }
        for number, seed in enumerate(seeds, start=1):
            for kind in ("eager", "lazy"):
                began = time.perf_counter()
                run, moments = _run(config(seed, kind == "eager"), every, measure, slices)
                run |= {"seed": seed, "kind": kind, "seconds": time.perf_counter() - began}
                result["runs"].append(run)
                say(f"seed {number} of {len(seeds)}: {kind} in {run['seconds']:.0f} s")
                if kind == "eager":
                    before = moments
                else:
                    run["step_against_eager"] = _relative_steps(before, moments)
    return result | {"comparison": compare(result["runs"])}


def compare(runs: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """Term → the lazy runs' losses relative to the eager runs of the same seeds.

    `scatter` is what the seed alone does: the standard deviation of the eager runs' losses,
    relative to their mean.
    """
    by_kind = {k: [run["losses"] for run in runs if run["kind"] == k] for k in ("eager", "lazy")}
    found = {}
    for term in by_kind["eager"][0]:
        eager, lazy = ([losses[term] for losses in by_kind[k]] for k in ("eager", "lazy"))
        mean = statistics.mean(eager)
        ratio = statistics.mean(lazy) / mean
        found[term] = {
            "eager": eager,
            "lazy": lazy,
            "ratios": [b / a for a, b in zip(eager, lazy, strict=True)],
            "ratio": ratio,
            "scatter": statistics.stdev(eager) / mean if len(eager) > 1 else None,
            "within": abs(ratio - 1) <= TOLERANCE,
        }
    return found


def study_lines(result: Mapping[str, Any]) -> list[str]:
    """The figures as lines to print."""
    every = result["every_n_steps"]
    lines = [
        f"Unweighted VGG-19 losses on {result['slices']} fixed validation slices of each domain "
        f"after {result['steps']} steps, {result['precision']}: every {every['perceptual']} "
        f"(perceptual) and {every['style']} (style) steps against every step, seeds "
        f"{', '.join(map(str, result['seeds']))}",
        f"  {'':38}{'doing':>10}{'eager':>10}{'lazy':>10}   lazy / eager",
        f"  {'':38}{'nothing':>10}{'mean':>10}{'mean':>10}   of means (each seed; eager's scatter)",
    ]
    for term, found in result["comparison"].items():
        eager, lazy = statistics.mean(found["eager"]), statistics.mean(found["lazy"])
        each = " ".join(f"{ratio:.3f}" for ratio in found["ratios"])
        scatter = "" if found["scatter"] is None else f"; {100 * found['scatter']:.1f} %"
        verdict = "" if found["within"] else "  beyond 5 %"
        lines.append(
            f"  {term:38}{result['nothing_done'][term]:10.3g}{eager:10.3g}{lazy:10.3g}   "
            f"{found['ratio']:.3f} ({each}{scatter}){verdict}"
        )
    within = all(found["within"] for found in result["comparison"].values())
    eager, lazy = (
        [run for run in result["runs"] if run["kind"] == kind] for kind in ("eager", "lazy")
    )
    shares = [run["adam"]["vgg_share"] for run in eager]
    foretold = [run["adam"]["lazy_step"] for run in eager]
    seen = [run["step_against_eager"] for run in lazy]
    return [
        *lines,
        f"  all within 5 %: {'met' if within else 'MISSED'}",
        "Adam, generators: the VGG-19 terms are "
        f"{_percents(shares)} of the gradient's norm at the eager runs' ends; the second moment of "
        f"the lazy form would make steps {_span(foretold)} times as long, and made them "
        f"{_span(seen)} times",
    ]


def _percents(values: Sequence[float]) -> str:
    return f"{100 * min(values):.1f} to {100 * max(values):.1f} %"


def _span(values: Sequence[float]) -> str:
    return f"{min(values):.3f} to {max(values):.3f}"


# ------------------------------------------------------------------------------ the runs


class _Moments(StepClock):
    """Adam's second moments of the generators' parameters at the end."""

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        state = trainer.optimizers[0].state
        self.second = [state[p]["exp_avg_sq"].detach().cpu().clone() for p in state]


def _run(
    config: Config,
    every: Mapping[str, int],
    measure: VGGRegularizer,
    slices: Mapping[Domain, Tensor],
) -> tuple[dict[str, Any], list[Tensor]]:
    """A training, and what it came to."""
    prepared = prepare_training(config, None, False)
    method, moments = prepared.method, _Moments()
    fit_quietly(config, moments, method, datamodule=prepared.data)
    method.to(prepared.device)  # Lightning leaves it on the CPU
    translated = {
        domain: _translated(method, slices[other], domain) for domain, other in OTHER.items()
    }
    run: dict[str, Any] = {"losses": _losses(measure, slices, translated, method)}
    if cadence(config.loss) == 1:
        run["adam"] = _adam(method, prepared.data, every)
    return run, moments.second


def _fixed_slices(config: Config, quick: bool) -> dict[Domain, Tensor]:
    """Domain → slices of subjects that no run trains on."""
    data = UnpairedDataModule(config)
    data.prepare_data()
    data.setup()
    count = _QUICK_SLICES if quick else _SLICES
    return {
        "scan": fixed_samples(data.scan, config.data, count, 0),
        "style": fixed_samples(data.style, config.data, count, 0),
    }


def _translated(method: TrainedMethod, images: Tensor, into: Domain) -> Tensor:
    """By the generators that a user would get."""
    ema = method.config.inference.ema
    return method.translate(images.to(method.device), INTO[into], ema)


def _losses(
    measure: VGGRegularizer,
    real: Mapping[Domain, Tensor],
    translated: Mapping[Domain, Tensor],
    method: TrainedMethod | None = None,
) -> Losses:
    """Unweighted terms, each a mean over the slices; in fp32, however they were trained."""
    device = next(iter(measure.vgg.buffers())).device
    ours: dict[str, Tensor] = {domain: images.to(device) for domain, images in real.items()}
    theirs: dict[str, Tensor] = {d: images.to(device) for d, images in translated.items()}
    rebuilt: dict[str, Tensor] = {
        domain: ours[domain] if method is None else _translated(method, translated[other], domain)
        for domain, other in OTHER.items()
    }
    with torch.no_grad():
        terms = measure(0, ours, theirs, rebuilt)
    return {name: float(term.value) for name, term in terms.items()}


def _adam(method: TrainedMethod, data: UnpairedDataModule, every: Mapping[str, int]) -> Losses:
    """What `adam_figures` says of an eager method, over a few batches."""
    parameters = [p for g in method.generators.values() for p in g.parameters()]
    kinds = ("perceptual", "style")
    found: dict[str, list[Tensor]] = {kind: [] for kind in ("", *kinds)}
    for _, batch in zip(range(_GRADIENT_BATCHES), data.train_dataloader(), strict=False):
        terms, _ = method.generator_terms({d: batch[d].to(method.device) for d in get_args(Domain)})
        for kind, gradients in found.items():
            total = torch.zeros((), device=method.device)
            for name, term in terms.items():
                if next((k for k in kinds if name.startswith(k)), "") == kind:
                    total = total + term.weight * term.value
            each = (
                torch.autograd.grad(total, parameters, retain_graph=True, allow_unused=True)
                if total.requires_grad
                else [None] * len(parameters)
            )
            flat = [
                (torch.zeros_like(p) if g is None else g).flatten()
                for p, g in zip(parameters, each, strict=True)
            ]
            gradients.append(torch.cat(flat))
    m, p, s = (torch.stack(gradients) for gradients in found.values())
    return adam_figures(m, p, s, every)


def adam_figures(m: Tensor, p: Tensor, s: Tensor, every: Mapping[str, int]) -> Losses:
    """The VGG-19 terms' share of a gradient, and what laziness makes of Adam's steps.

    With n the periods, the mean over the steps of the gradient's square is E[(m + p + s)²]
    eagerly, and E[m² + 2m(p + s) + n_p p² + n_s s² + 2 n_p n_s / lcm(n_p, n_s) ps] lazily: the
    two act together every lcm steps. Adam's steps are as one over its root.

    Args:
        m: gradients of all other terms, batches x parameters.
        p: those of the perceptual terms.
        s: those of the style terms.
        every: the periods of `perceptual` and `style`.

    Returns:
        `vgg_share` of the gradient's norm; `lazy_step`, the median over the parameters of a
        lazy step's length relative to an eager one's.
    """
    n_p, n_s = every["perceptual"], every["style"]
    together = n_p * n_s / math.lcm(n_p, n_s)
    eager = (m + p + s).square().mean(dim=0)
    lazy = m.square() + 2 * m * (p + s) + n_p * p.square() + n_s * s.square() + 2 * together * p * s
    ratio = eager / lazy.mean(dim=0).clamp_min(torch.finfo(eager.dtype).tiny)
    return {
        "vgg_share": float((p + s).norm(dim=1).mean() / (m + p + s).norm(dim=1).mean()),
        "lazy_step": float(ratio[eager > 0].sqrt().median()),
    }


def _relative_steps(eager: Sequence[Tensor], lazy: Sequence[Tensor]) -> float:
    """How long the lazy run's Adam steps are for a gradient, the eager run's being 1: median."""
    ratios = [
        float((a.double().mean() / b.double().mean()).sqrt())
        for a, b in zip(eager, lazy, strict=True)
        if b.any()
    ]
    return statistics.median(ratios)
