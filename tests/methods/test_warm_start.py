from __future__ import annotations

from typing import Any

import pytest
import torch
from scipy.ndimage import gaussian_filter

from medstyle_gan.config import load_config
from medstyle_gan.errors import UserError
from medstyle_gan.methods import TrainedMethod
from tests.methods.training_steps import NO_VGG, Batch, Watch, fit, images, made, settings

STEPS = 3


def _batch(seed: int, warm: bool) -> Batch:
    batch = images(seed)
    return {**batch, "weight": torch.ones(2, 1, 16, 16)} if warm else batch


@pytest.fixture(scope="module")
def trained() -> tuple[TrainedMethod, dict[str, Any], Watch]:
    config = settings(*NO_VGG, f"training.warm_start.steps={STEPS}", "training.batch_size=2")
    method = made(config)
    start = {name: p.detach().clone() for name, p in method.named_parameters()}
    watch = fit(method, [_batch(seed, seed < STEPS) for seed in range(STEPS + 2)])
    return method, start, watch


def test_generators_learn_alone(trained: tuple[TrainedMethod, dict[str, Any], Watch]) -> None:
    _, start, watch = trained
    weights = watch.snapshots[STEPS - 1]["weights"]
    for name, value in start.items():
        assert torch.equal(weights[name], value) == ("discriminator" in name), name
    for logged in watch.logged[:STEPS]:
        losses = {name for name in logged if name.startswith("loss/")}
        assert losses == {
            "loss/generator",
            *(
                f"loss/warm_start_{term}{way}"
                for way in ("scan_to_style", "style_to_scan")
                for term in ("", "gradient_correlation_")
            ),
        }
        assert logged["learning_rate/generator"] == pytest.approx(5e-4)
        assert logged["learning_rate/discriminator"] == 0


def test_then_the_game_begins_with_fresh_optimizers(
    trained: tuple[TrainedMethod, dict[str, Any], Watch],
) -> None:
    _, _, watch = trained
    for generators, discriminators in (s["optimizers"] for s in watch.snapshots[:STEPS]):
        assert generators
        assert not discriminators
    for number, snapshot in enumerate(watch.snapshots[STEPS:], start=1):
        for optimizer in snapshot["optimizers"]:
            assert {float(state["step"]) for state in optimizer.values()} == {number}
        # The moving average begins again with the game: u updates weigh (1 + u) / (10 + u).
        assert snapshot["ema"]["updates"] == number
    assert [s["ema"]["updates"] for s in watch.snapshots[:STEPS]] == [1, 2, 3]
    before, after = (watch.snapshots[STEPS - 1 + i] for i in (0, 1))
    key = "scan_to_style.layers.1.weight"
    average, average_after = (
        s["generators"]["scan_to_style"]["layers.1.weight"] for s in (before["ema"], after["ema"])
    )
    expected = 0.1 * average + 0.9 * after["weights"][key]
    assert torch.allclose(average_after, expected, atol=1e-6)
    logged = watch.logged[STEPS]
    assert "loss/adversarial_scan_to_style" in logged
    assert not any("warm_start" in name for name in logged)
    assert logged["learning_rate/generator"] == pytest.approx(2e-4)


def test_accumulated_parts_give_the_gradients_of_the_whole() -> None:
    gradients = []
    for parts in (["training.batch_size=2"], ["training.batch_size=1", "training.accumulate=2"]):
        config = settings(*NO_VGG, "training.warm_start.steps=1", *parts)
        gradients.append(fit(made(config), [_batch(0, True)]).gradients[0])
    whole, added = gradients
    assert whole.keys() == added.keys()
    for name in whole:
        assert torch.allclose(whole[name], added[name], rtol=1e-3, atol=1e-5), name


def test_a_gradient_of_everything_is_there_for_several_processes() -> None:
    config = settings(*NO_VGG, "training.warm_start.steps=1", "training.batch_size=2")
    training = config.training.model_copy(update={"devices": 2})
    method = made(config)
    method.config = config.model_copy(update={"training": training})
    method.manual_backward = lambda loss: loss.backward()
    method._add_gradients(_batch(0, True), 1.0, 0)
    for name, parameter in method.named_parameters():
        assert parameter.grad is not None, name
        assert bool((parameter.grad == 0).all()) == ("discriminator" in name), name


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["training.steps=5", "training.warm_start.steps=6"], "set training.warm_start.steps to 5"),
        (["method.name=adain", "training.warm_start.steps=1"], "training.warm_start.steps=0"),
    ],
)
def test_what_cannot_be_started_warm_is_refused(overrides: list[str], message: str) -> None:
    with pytest.raises(UserError, match=message):
        load_config(None, overrides)


def _kept_batch(seed: int, count: int = 2) -> Batch:
    batch, partner = images(seed, count), images(seed + 100, count)
    rng = torch.Generator().manual_seed(seed)
    weight = (torch.rand(count, 1, 16, 16, generator=rng) > 0.3).float()
    return {**batch, "pseudo_style": partner["style"], "weight": weight}


def _smooth(values: torch.Tensor, deviation: float) -> torch.Tensor:
    smooth = gaussian_filter(values.numpy(), (0, 0, deviation, deviation), mode="nearest")
    return torch.from_numpy(smooth)


@pytest.mark.parametrize(
    ("method", "directions"),
    [("cyclegan", ("scan_to_style", "style_to_scan")), ("cut", ("scan_to_style",))],
)
@pytest.mark.parametrize("deviation", [0.0, 1.5])
def test_kept_pseudo_pairs_are_a_term_of_the_game(
    method: str, directions: tuple[str, ...], deviation: float
) -> None:
    no_vgg = NO_VGG if method == "cyclegan" else (NO_VGG[0], NO_VGG[2])
    kept = ["training.warm_start.steps=1", "training.warm_start.kept_weight=20"]
    kept += [f"training.warm_start.kept_low_pass={deviation}", "training.warm_start.low_pass=3"]
    config = settings(f"method.name={method}", *no_vgg, *kept, "training.seed=3")
    trained = made(config)
    batch = _kept_batch(5)
    expected = {}
    for direction in directions:
        source, target = batch["scan"], batch["pseudo_style"]
        if direction == "style_to_scan":
            source, target = target, source
        with torch.no_grad():
            difference = trained.generators[direction](source) - target
        weight = batch["weight"]
        over, under = (_smooth(values, deviation) for values in (weight * difference, weight))
        sums = (weight * (over / under).nan_to_num().abs()).sum((1, 2, 3)) / weight.sum((1, 2, 3))
        expected[direction] = sums.mean()
    trained.step = 1  # the game's first
    logged = fit(trained, [batch]).logged[0]
    assert {n for n in logged if n.startswith("loss/pseudo_pair")} == {
        f"loss/pseudo_pair_{direction}" for direction in directions
    }
    for direction, value in expected.items():
        # A flip of the sample commutes with the generator but for rounding.
        assert logged[f"loss/pseudo_pair_{direction}"] == pytest.approx(float(value), rel=2e-2)


def test_kept_pseudo_pairs_hold_the_generators_to_them() -> None:
    gradients = []
    for weight in (0, 1, 3):
        config = settings(
            *NO_VGG,
            "training.warm_start.steps=1",
            f"training.warm_start.kept_weight={weight}",
            "training.batch_size=2",
        )
        method = made(config)
        method.step = 1
        gradients.append(fit(method, [_kept_batch(0)]).gradients[0])
    off, once, thrice = gradients
    moved = set()
    for name, value in off.items():
        added = once[name] - value
        assert torch.allclose(thrice[name], value + 3 * added, rtol=1e-3, atol=1e-5), name
        if bool(added.abs().max() > 1e-4):
            moved.add(name.partition(".")[0])
    assert moved == {"scan_to_style", "style_to_scan"}


def test_accumulated_parts_keep_the_pseudo_pairs_of_the_whole() -> None:
    gradients = []
    for parts in (["training.batch_size=2"], ["training.batch_size=1", "training.accumulate=2"]):
        kept = ["training.warm_start.steps=1", "training.warm_start.kept_weight=5"]
        method = made(settings(*NO_VGG, *kept, *parts))
        method.step = 1
        gradients.append(fit(method, [_kept_batch(1)]).gradients[0])
    whole, added = gradients
    for name in whole:
        assert torch.allclose(whole[name], added[name], rtol=1e-3, atol=1e-5), name
