"""Gradients added up over the parts of a step's batch."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from medstyle_gan.methods import CycleGAN
from medstyle_gan.methods.ema import GeneratorEMA
from medstyle_gan.methods.vgg_regularizer import VGGRegularizer
from medstyle_gan.methods.vgg_views import Views
from medstyle_gan.networks import VGG19Features
from tests.methods.training_steps import SMALL, Batch, fit, images, made, settings

EVERY_LOSS = (
    "loss.total_variation.weight=0.1",
    "loss.style.target=batch",
    "loss.perceptual.layers=[relu1_2]",
    "loss.style.layers=[relu1_1]",
    "loss.style.weight=100",
    "loss.perceptual.weight=1",
    "method.pool_size=3",
    "vgg.crop=9",
)


@pytest.fixture(scope="module")
def vgg() -> VGG19Features:
    return VGG19Features("random:0", ["relu1_1", "relu1_2"])


def run(vgg: VGG19Features, batches: list[Batch], *overrides: str) -> tuple[CycleGAN, Any]:
    config = settings(*SMALL, *EVERY_LOSS, *overrides)
    dtype = batches[0]["scan"].dtype
    views = Views(config.vgg, config.training.seed)
    method = made(config, VGGRegularizer(vgg.to(dtype), config.loss, views=views)).to(dtype)
    method.ema = GeneratorEMA(method.generators, config.method.ema_decay)
    return method, fit(method, batches)


@pytest.mark.parametrize("game", ["least_squares", "wgan_gp"])
@pytest.mark.parametrize(
    ("accumulate", "dtype", "tolerance"),
    [(2, torch.float32, 1e-5), (2, torch.float64, 1e-12), (4, torch.float64, 1e-12)],
)
def test_gradients_are_those_of_the_larger_batch_with_every_loss_on(
    accumulate: int, dtype: torch.dtype, tolerance: float, game: str
) -> None:
    vgg = VGG19Features("random:0", ["relu1_1", "relu1_2"])
    batches = [
        {domain: x.to(dtype) for domain, x in images(seed, count=4).items()} for seed in range(3)
    ]
    # Adam makes whole steps of rounding in gradients that are 0; here its steps change nothing.
    form = [f"loss.adversarial.name={game}", "method.generator_learning_rate=1e-12"]
    form += ["method.discriminator_learning_rate=1e-12"]
    _, whole = run(vgg, batches, *form, "training.batch_size=4")
    parts = [*form, f"training.batch_size={4 // accumulate}", f"training.accumulate={accumulate}"]
    method, cut = run(vgg, batches, *parts)
    assert method.step == len(batches)
    assert cut.logged[0].keys() == whole.logged[0].keys()
    # Later steps too: the pools are full then, and give past images by chance.
    for ours, theirs in zip(cut.gradients, whole.gradients, strict=True):
        assert ours.keys() == theirs.keys() == dict(method.named_parameters()).keys()
        for network in method.trained_networks():
            mine, other = (
                torch.cat([g.flatten() for n, g in gradients.items() if n.startswith(network)])
                for gradients in (ours, theirs)
            )
            assert float((mine - other).norm() / other.norm()) < tolerance, network
    for ours, theirs in zip(cut.logged, whole.logged, strict=True):
        for name, value in theirs.items():
            assert float(ours[name]) == pytest.approx(float(value), rel=1e-5), name


def test_parts_never_stand_in_memory_together(
    vgg: VGG19Features, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[int] = []
    terms = CycleGAN.generator_terms

    def noted(self: CycleGAN, real: Any, *place: int) -> Any:
        seen.append(len(real["scan"]))
        return terms(self, real, *place)

    monkeypatch.setattr(CycleGAN, "generator_terms", noted)
    method, watch = run(vgg, [images(0, count=6), images(1, count=6)], "training.accumulate=3")
    assert seen == [2] * 6
    assert method.step == 2
    steps = {float(s["step"]) for o in watch.snapshots[-1]["optimizers"] for s in o.values()}
    assert steps == {2.0}
    assert watch.snapshots[-1]["ema"]["updates"] == 2


def test_one_bad_part_skips_the_step(vgg: VGG19Features) -> None:
    batch = images(0, count=2)
    batch["scan"][1, 0, 2, 2] = torch.inf
    method, _ = run(vgg, [batch], "training.accumulate=2")
    assert method.skipped == 1
