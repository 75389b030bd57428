from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from medstyle_gan.config import Config, load_config
from medstyle_gan.config.inpainting_section import InpaintingStartConfig
from medstyle_gan.config.warm_start_section import WarmStartConfig
from medstyle_gan.errors import UserError
from medstyle_gan.methods import TrainedMethod
from medstyle_gan.methods.inpainting_start import InpaintingStart, block_mask
from tests.methods.training_steps import NO_VGG, Watch, fit, images, made, settings

STEPS = 3
HOLES = ("training.warm_start.name=inpainting", f"training.warm_start.steps={STEPS}")
GREY = {"scan": 1, "style": 1}


def _start(seed: int = 0, channels: dict[str, int] | None = None, **own: Any) -> InpaintingStart:
    return InpaintingStart(InpaintingStartConfig(steps=STEPS, **own), seed, channels or GREY)


# --------------------------------------------------------------------------------- holes


@pytest.mark.parametrize(
    ("size", "blocks", "share"),
    [((128, 96), 8, 0.4), ((32, 32, 16), 4, 0.25), ((40, 40), 5, 0.37), ((6, 64), 8, 0.5)],
)
def test_just_so_many_whole_blocks_are_masked(
    size: tuple[int, ...], blocks: int, share: float
) -> None:
    mask = block_mask(size, blocks, share, np.random.default_rng(0))
    assert mask.shape == size
    counts = [min(blocks, side) for side in size]
    steps = [side // count for side, count in zip(size, counts, strict=True)]
    corners = mask[tuple(slice(None, None, step) for step in steps)]
    assert corners.shape == tuple(counts)
    assert corners.sum() == round(share * corners.size)
    assert np.array_equal(mask, np.kron(corners, np.ones(steps, bool)))


@pytest.mark.parametrize(("share", "masked"), [(0.01, 1), (0.99, 3)])
def test_neither_nothing_nor_everything_is_masked(share: float, masked: int) -> None:
    assert block_mask((8, 8), 2, share, np.random.default_rng(0)).sum() == 16 * masked


def test_blocks_that_do_not_divide_a_side_differ_by_a_pixel() -> None:
    lengths = set()
    for seed in range(20):
        row = block_mask((2, 37), 8, 0.05, np.random.default_rng(seed)).any(axis=0)
        lengths.add(int(row.sum()))  # of the only masked block
    assert lengths == {4, 5}


def test_holes_depend_on_seed_step_place_and_domain_alone() -> None:
    batch = images(0, count=4)["scan"]
    whole = _start().holes(batch, "scan", 5, 8)
    assert whole.shape == (4, 1, 16, 16)
    assert torch.equal(_start().holes(batch[2:], "scan", 5, 10), whole[2:])
    others = [
        _start(seed=1).holes(batch, "scan", 5, 8),
        _start().holes(batch, "style", 5, 8),
        _start().holes(batch, "scan", 6, 8),
        _start().holes(batch, "scan", 5, 12),
    ]
    for other in others:
        assert not torch.equal(other, whole)
    assert not torch.equal(whole[0], whole[1])


# --------------------------------------------------------------------------------- terms


class _Seen(nn.Module):
    """Remembers what it is given, and gives it back, or nought, in so many channels."""

    def __init__(self, channels: int = 1, factor: float = 1.0) -> None:
        super().__init__()
        self.channels, self.factor = channels, factor

    def forward(self, x: Tensor) -> Tensor:
        self.given = x
        return self.factor * x[:, :1].expand(-1, self.channels, *x.shape[2:])


@pytest.mark.parametrize("dims", [2, 3])
def test_all_places_of_both_domains_are_compared(dims: int) -> None:
    rng = torch.Generator().manual_seed(0)
    shape = (2, 1, *(16,) * dims)
    real = {d: torch.rand(shape, generator=rng) * 2 - 1 for d in ("scan", "style")}
    start, same, nought = _start(blocks=4), _Seen(), _Seen(factor=0)
    generators = {"scan_to_style": same, "style_to_scan": nought}
    terms = start.terms(generators, ("scan_to_style", "style_to_scan"), real, 1, 0)
    assert set(terms) == {"inpainting_scan_to_style", "inpainting_style_to_scan"}
    missing, all_of_it, shares = [], [], []
    for number, (domain, x) in enumerate(real.items()):
        holes = start.holes(x, domain, 1, 0).numpy()
        seen = same.given[2 * number : 2 * number + 2].numpy()
        assert (seen[holes] == -1).all()
        assert np.array_equal(seen[~holes], x.numpy()[~holes])
        missing.append((holes * (x.numpy() + 1)).mean())
        all_of_it.append(np.abs(x.numpy()).mean())
        shares.append(holes.mean())
    assert shares == pytest.approx([round(0.4 * 4**dims) / 4**dims] * 2)
    assert float(terms["inpainting_scan_to_style"].value) == pytest.approx(np.mean(missing))
    assert float(terms["inpainting_style_to_scan"].value) == pytest.approx(np.mean(all_of_it))


def test_neighbouring_slices_have_the_same_holes() -> None:
    x = torch.rand(2, 5, 16, 16)
    same = _Seen(5)
    start = _start(channels={"scan": 5, "style": 5})
    start.terms({"scan_to_style": same}, ("scan_to_style",), {"scan": x, "style": x}, 0, 0)
    masked = same.given == -1
    assert masked.any()
    assert torch.equal(masked, masked[:, :1].expand_as(masked))


def test_grey_and_colour_are_given_as_generators_take_them() -> None:
    real = {"scan": torch.rand(1, 1, 16, 16), "style": torch.rand(1, 3, 16, 16)}
    there, back = _Seen(3), _Seen(1)
    start = _start(channels={"scan": 1, "style": 3})
    generators = {"scan_to_style": there, "style_to_scan": back}
    terms = start.terms(generators, ("scan_to_style", "style_to_scan"), real, 0, 0)
    assert there.given.shape == (2, 1, 16, 16)
    assert back.given.shape == (2, 3, 16, 16)
    assert all(term.value.isfinite() for term in terms.values())


# ------------------------------------------------------------------------------ training


@pytest.fixture(scope="module")
def trained() -> tuple[TrainedMethod, dict[str, Any], Watch]:
    method = made(settings(*NO_VGG, *HOLES, "training.batch_size=2", "method.constant_fraction=0"))
    start = {name: p.detach().clone() for name, p in method.named_parameters()}
    return method, start, fit(method, [images(seed) for seed in range(STEPS + 2)])


def test_generators_learn_alone(trained: tuple[TrainedMethod, dict[str, Any], Watch]) -> None:
    _, start, watch = trained
    weights = watch.snapshots[STEPS - 1]["weights"]
    for name, value in start.items():
        assert torch.equal(weights[name], value) == ("discriminator" in name), name
    for logged in watch.logged[:STEPS]:
        ways = {f"loss/inpainting_{way}" for way in ("scan_to_style", "style_to_scan")}
        assert {name for name in logged if name.startswith("loss/")} == {"loss/generator", *ways}
        assert logged["learning_rate/generator"] == pytest.approx(5e-4)
        assert logged["learning_rate/discriminator"] == 0


def test_then_the_game_begins_with_its_own_rates_and_fresh_optimizers(
    trained: tuple[TrainedMethod, dict[str, Any], Watch],
) -> None:
    _, _, watch = trained
    for number, snapshot in enumerate(watch.snapshots[STEPS:], start=1):
        for optimizer in snapshot["optimizers"]:
            assert {float(state["step"]) for state in optimizer.values()} == {number}
    cold = made(settings(*NO_VGG, "training.batch_size=2", "method.constant_fraction=0"))
    plain = fit(cold, [images(seed) for seed in range(STEPS + 1)])
    logged = watch.logged[STEPS]
    assert not any("inpainting" in name for name in logged)
    assert "loss/adversarial_scan_to_style" in logged
    for name in ("learning_rate/generator", "learning_rate/discriminator"):
        assert 0 < logged[name] == plain.logged[STEPS][name] < 2e-4


def test_accumulated_parts_give_the_gradients_of_the_whole() -> None:
    gradients = []
    for parts in (["training.batch_size=2"], ["training.batch_size=1", "training.accumulate=2"]):
        method = made(settings(*NO_VGG, *HOLES, *parts))
        gradients.append(fit(method, [images(0)]).gradients[0])
    whole, added = gradients
    assert whole.keys() == added.keys()
    for name in whole:
        assert torch.allclose(whole[name], added[name], rtol=1e-3, atol=1e-5), name


def test_holes_are_filled_better_after_a_while() -> None:
    ramp = torch.linspace(-1, 1, 16).expand(2, 1, 16, 16).contiguous()
    batch = {"scan": ramp, "style": ramp.transpose(2, 3).contiguous()}
    own = ["training.warm_start.steps=30", "training.warm_start.learning_rate=5e-3"]
    method = made(settings(*NO_VGG, *HOLES, *own, "training.steps=30", "training.batch_size=2"))
    logged = fit(method, [batch] * 30).logged
    values = [float(step["loss/inpainting_style_to_scan"]) for step in logged]
    assert np.mean(values[-5:]) < 0.6 * np.mean(values[:3])


@pytest.mark.parametrize("name", ["cut", "fastcut"])
def test_methods_of_one_way_fill_holes_in_both_domains(name: str) -> None:
    method = made(settings(*NO_VGG, *HOLES, f"method.name={name}", "training.batch_size=2"))
    (logged,) = fit(method, [images(0)]).logged
    losses = {name for name in logged if name.startswith("loss/")}
    assert losses == {"loss/generator", "loss/inpainting_scan_to_style"}


# ------------------------------------------------------------------------------ settings


def test_what_a_warm_start_was_is_what_it_is_without_a_name() -> None:
    registered = load_config(None, ["training.warm_start.pairs=3"]).training.warm_start
    assert isinstance(registered, WarmStartConfig)
    assert registered.name == "registered"
    older = Config.model_validate({"training": {"warm_start": {"steps": 3, "pairs": 4}}})
    assert older.training.warm_start == WarmStartConfig(steps=3, pairs=4)
    feedforward = load_config(None, ["method.name=feedforward", *HOLES])
    assert isinstance(feedforward.training.warm_start, InpaintingStartConfig)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ([*HOLES, "training.steps=2"], "set training.warm_start.steps to 2"),
        ([*HOLES, "method.name=adain"], "not images with holes"),
        ([*HOLES, "training.warm_start.pairs=3"], "training.warm_start.pairs"),
        (["training.warm_start.blocks=4"], "training.warm_start.blocks"),
        ([*HOLES, "training.warm_start.masked=1"], "training.warm_start.masked"),
        (["training.warm_start.name=holes"], "registered"),
    ],
)
def test_mistakes(overrides: list[str], message: str) -> None:
    with pytest.raises(UserError, match=message):
        load_config(None, overrides)
