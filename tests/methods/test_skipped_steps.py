"""Steps whose loss or gradients are not finite."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor

from medstyle_gan.methods import CycleGAN
from medstyle_gan.methods.image_pool import ImagePool
from medstyle_gan.methods.vgg_regularizer import Term
from tests.methods.training_steps import NO_VGG, Batch, fit, images, made, settings, snapshot

# Without a pool, whose choices are keyed by the step's number.
CONFIG = settings(*NO_VGG, "method.pool_size=0")


def spoil(method: CycleGAN, how: str, at: set[int]) -> None:
    """Make the steps `at` not finite; inputs are spoilt by `spoilt_batches`."""
    if how == "loss":  # no gradient knows of it
        terms = method.generator_terms

        def infinite(real: Any, *place: int) -> tuple[dict[str, Term], dict[str, Tensor]]:
            found, translated = terms(real, *place)
            if method.step in at:
                found["constant"] = Term(torch.tensor(torch.inf), 1.0)
            return found, translated

        method.generator_terms = infinite  # type: ignore[method-assign]
    elif how.startswith("gradient"):
        name = how.removeprefix("gradient of ")
        weight = next(p for n, p in method.named_parameters() if n.startswith(name))

        def bad(gradient: Tensor) -> Tensor:
            gradient = gradient.clone()
            if method.step in at:
                gradient.view(-1)[0] = -torch.inf
            return gradient

        weight.register_hook(bad)


def spoilt_batches(how: str, at: set[int], count: int) -> list[Batch]:
    batches = [images(seed) for seed in range(count)]
    if how == "input":
        for index in at:
            batches[index]["style"][0, 0, 3, 3] = torch.nan
    return batches


def assert_same(ours: Any, theirs: Any) -> None:
    torch.testing.assert_close(ours, theirs, rtol=0, atol=0)


@pytest.mark.parametrize("clip", [0, 0.1])
@pytest.mark.parametrize(
    "how", ["loss", "gradient of scan_to_style", "gradient of style_discriminator", "input"]
)
def test_a_bad_step_is_as_if_its_batch_had_never_been(how: str, clip: float) -> None:
    config = settings(*NO_VGG, "method.pool_size=0", f"method.gradient_clip={clip}")
    batches = spoilt_batches(how, {2}, 4)
    method = made(config)
    spoil(method, how, {2})
    watch = fit(method, batches)
    assert_same(watch.snapshots[2], watch.snapshots[1])
    assert method.counters() == {"step": 4, "skipped": 1, "skipped_in_a_row": 0}

    without = made(config)
    expected = fit(without, [batches[i] for i in (0, 1, 3)]).snapshots[-1]
    assert_same(watch.snapshots[3], expected)
    assert without.skipped == 0


def test_a_bad_first_step_leaves_everything_at_its_start() -> None:
    method = made(CONFIG)
    before = snapshot(method, [])
    spoil(method, "loss", {0})
    after = fit(method, [images(0)]).snapshots[0]
    assert_same(after["weights"], before["weights"])
    assert_same(after["ema"], before["ema"])
    moments = [value for o in after["optimizers"] for s in o.values() for value in s.values()]
    assert not any(bool(value.any()) for value in moments)


def test_skipped_steps_are_counted_in_all_and_in_a_row() -> None:
    method = made(CONFIG)
    spoil(method, "loss", {1, 2, 4})
    counted: list[tuple[int, int]] = []
    fit(method, [images(i) for i in range(5)], lambda m: counted.append(_counts(m)))
    assert counted == [(0, 0), (1, 1), (2, 2), (2, 0), (3, 1)]
    assert method.step == 5


def _counts(method: CycleGAN) -> tuple[int, int]:
    return method.skipped, method.skipped_in_a_row


def test_counters_make_the_round_trip() -> None:
    method = made(CONFIG)
    method.load_counters({"step": 7, "skipped": 5, "skipped_in_a_row": 2})
    assert method.counters() == {"step": 7, "skipped": 5, "skipped_in_a_row": 2}
    assert (method.step, method.skipped, method.skipped_in_a_row) == (7, 5, 2)


@pytest.mark.parametrize("clip", [0, 0.1])
def test_finite_steps_are_those_of_plain_optimisers_bit_for_bit(clip: float) -> None:
    """Against the step written out with torch's own parts, without anything to skip by."""
    config = settings(*NO_VGG, "method.pool_size=0", f"method.gradient_clip={clip}")
    batches = [images(seed) for seed in range(5)]
    method = made(config)
    ours = fit(method, batches).snapshots[-1]

    plain = made(config)
    optimizers = plain.configure_optimizers()
    average = copy.deepcopy(plain.ema.generators)
    for index, real in enumerate(batches):
        terms, translated = plain.generator_terms(real)
        judged = plain.discriminator_terms(real, translated)
        losses = [
            torch.stack([t.weight * t.value for t in part.values()]).sum()
            for part in (terms, judged)
        ]
        (losses[0] + losses[1]).backward()
        for optimizer in optimizers:
            if clip:
                torch.nn.utils.clip_grad_norm_(optimizer.param_groups[0]["params"], clip)
            optimizer.step()
            optimizer.zero_grad()
        decay = min(config.method.ema_decay, (1 + index) / (10 + index))
        with torch.no_grad():
            for name, generator in plain.generators.items():
                pairs = zip(average[name].parameters(), generator.parameters(), strict=True)
                for mine, theirs in pairs:
                    mine.lerp_(theirs, 1 - decay)
    assert_same(ours["weights"], plain.state_dict())
    for name, generator in average.items():
        assert_same(ours["ema"]["generators"][name], generator.state_dict())
    assert_same(ours["optimizers"], [o.state_dict()["state"] for o in optimizers])


@pytest.mark.parametrize("bad", [torch.nan, torch.inf])
@pytest.mark.parametrize("filled", [0, 1, 3])
def test_the_pool_keeps_no_image_that_is_not_finite(bad: float, filled: int) -> None:
    pool = ImagePool(3, seed=0)
    if filled:
        pool.exchange(images(1, count=filled)["scan"], step=0)
    broken = images(2, count=8)["scan"]
    broken[:, 0, 1, 2] = bad
    pool.exchange(broken, step=1)
    kept = pool.images[0]
    assert len(kept) == 3
    assert all(bool(image.isfinite().all()) for image in kept)


def test_the_pool_goes_on_keeping_good_images_beside_a_bad_one() -> None:
    pool = ImagePool(2, seed=0)
    mixed = images(2)["scan"]
    mixed[0] = torch.nan
    pool.exchange(mixed, step=0)
    assert torch.equal(pool.images[0][1], mixed[1])
