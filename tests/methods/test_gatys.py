from __future__ import annotations

import itertools
import re
from functools import cache

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from medstyle_gan.config import Config, load_config
from medstyle_gan.errors import UserError
from medstyle_gan.losses import gram_matrix, style_distance
from medstyle_gan.methods import STYLE_TRANSFERS, Gatys, Guidance, Iteration, StyleReference
from medstyle_gan.networks import VGG19Features

# Shallow layers: quick, and the same code as the deep ones.
SHALLOW = ["loss.perceptual.layers=[relu2_1]", "loss.style.layers=[relu1_1,relu2_1]"]


@cache
def network(layers: tuple[str, ...], pooling: str = "max") -> VGG19Features:
    return VGG19Features("random:0", layers, pooling)


def gatys(*settings: str) -> Gatys:
    config = load_config(None, [*SHALLOW, *settings], method="gatys")
    assert config.method.name == "gatys"
    vgg = network(Gatys.layers(config.loss), config.method.pooling)
    return Gatys(vgg, config.method, config.loss, config.training.seed)


def image(seed: int, channels: int = 1, size: tuple[int, int] = (32, 36)) -> Tensor:
    rng = torch.Generator().manual_seed(seed)
    coarse = torch.rand(1, channels, 9, 9, generator=rng)
    return F.interpolate(coarse, size, mode="bicubic").clamp(0, 1) * 2 - 1


def losses_of(method: Gatys, content: Tensor, style: Tensor, **guidance: object) -> list[Iteration]:
    told: list[Iteration] = []
    method(content, [StyleReference([style])], Guidance(on_iteration=told.append, **guidance))
    return told


def test_it_is_found_by_its_name_and_its_defaults_are_the_usual_ones() -> None:
    assert STYLE_TRANSFERS["gatys"] is Gatys
    config = load_config(method="gatys")
    assert isinstance(config, Config)
    assert (config.loss.perceptual.weight, config.loss.style.weight) == (1, 1e6)
    assert config.loss.perceptual.layers == ("relu4_2",)
    assert config.loss.style.layers == ("relu1_1", "relu2_1", "relu3_1", "relu4_1", "relu5_1")
    assert (config.method.steps, config.method.optimizer) == (300, "lbfgs")


@pytest.mark.parametrize("init", ["content", "noise", "style"])
def test_the_loss_falls_at_every_iteration_from_any_start(init: str) -> None:
    told = losses_of(gatys("method.steps=12", f"method.init={init}"), image(0), image(1))
    losses = [iteration.loss for iteration in told]
    assert losses[-1] < 0.8 * losses[0]
    assert all(b <= a for a, b in itertools.pairwise(losses))


def test_a_texture_from_noise_has_the_styles_gram_matrices() -> None:
    method = gatys("method.steps=120", "method.init=noise", "loss.perceptual.weight=0")
    style = image(1, 3)
    told = losses_of(method, image(0, 3), style)
    start = method._start(image(0, 3), method.encode_style([StyleReference([style])]), Guidance())
    grams = {n: gram_matrix(f) for n, f in method.vgg(style).items()}
    at_start = style_distance(method.vgg(start), grams, method.loss.style.layers)
    assert told[-1].parts["style"] < 0.01 * float(at_start)


def test_a_heavy_content_term_gives_the_content_back() -> None:
    method = gatys("method.steps=150", "method.init=noise", "loss.perceptual.weight=1e12")
    content = image(0)
    result = method(content, [StyleReference([image(1)])])
    assert float((result - content).square().mean().sqrt()) < 0.02
    free = gatys("method.steps=20", "method.init=content", "loss.perceptual.weight=1e-6")
    moved = free(content, [StyleReference([image(1)])])
    assert float((moved - content).square().mean().sqrt()) > 0.1


def test_a_style_that_is_the_content_leaves_it_alone() -> None:
    content = image(0, 3)
    told = losses_of(gatys("method.steps=5"), content, content)
    assert not told
    result = gatys("method.steps=5")(content, [StyleReference([content])])
    torch.testing.assert_close(result, content)
    from_noise = losses_of(gatys("method.steps=60", "method.init=noise"), content, content)
    assert from_noise[-1].loss < 0.05 * from_noise[0].loss


@pytest.mark.parametrize("layer", ["conv2_1", "relu2_1"])
def test_layers_are_those_before_and_behind_the_relu_as_named(layer: str) -> None:
    method = gatys(f"loss.perceptual.layers=[{layer}]")
    features = method.encode_content(image(0)).features[-1]
    assert list(features) == [layer]
    assert bool((features[layer] < 0).any()) == layer.startswith("conv")


def test_the_conversion_to_the_papers_convention() -> None:
    """E_l of the paper is Σ (G'-A')²/(4 C²(HW)²): ours with layer weights of C²/4."""
    settings = ["loss.style.layer_weights=[1024,4096]", "loss.perceptual.weight=0"]  # 64, 128
    method = gatys("method.steps=1", "loss.style.weight=1", *settings)
    picture, style = image(0), image(1)
    expected = 0.0
    for name in ("relu1_1", "relu2_1"):
        f, s = (method.vgg(x)[name][0].flatten(1).double() for x in (picture, style))
        c, positions = f.shape
        expected += float(((f @ f.T - s @ s.T) ** 2).sum() / (4 * c**2 * positions**2))
    encoded = method.encode_style([StyleReference([style])])
    regions = method._regions(encoded, 0, Guidance(), picture.shape[-2:])
    ours = style_distance(
        method.vgg(picture),
        regions[0].grams,
        method.loss.style.layers,
        method.loss.style.layer_weights,
    )
    assert float(ours) == pytest.approx(expected, rel=1e-4)


def test_styles_are_blended_by_their_shares() -> None:
    method = gatys()
    one, other = image(1), image(2)
    both = method.encode_style([StyleReference([one], 3.0), StyleReference([other], 1.0)])
    (region,) = method._regions(both, 0, Guidance(), (32, 36))
    for name in method.loss.style.layers:
        expected = 0.75 * gram_matrix(method.vgg(one)[name]) + 0.25 * gram_matrix(
            method.vgg(other)[name]
        )
        torch.testing.assert_close(region.grams[name], expected[0])
    with pytest.raises(UserError, match="sum to 0"):
        method.encode_style([StyleReference([one], 0.0), StyleReference([other], 0.0)])


def test_slices_of_a_style_count_where_their_masks_are() -> None:
    method = gatys()
    style = image(1, size=(32, 64))
    half = torch.zeros(1, 1, 32, 64)
    half[..., :32] = 1
    masked = method.encode_style([StyleReference([style, style], masks=[half, half])]).grams[0][0]
    cut = gram_matrix(method.vgg(style)["relu1_1"][..., :32])[0]
    torch.testing.assert_close(masked["relu1_1"], cut)


def test_each_style_goes_to_its_region() -> None:
    method = gatys("method.steps=40", "method.init=noise", "loss.perceptual.weight=0")
    dark, bright = torch.full((1, 1, 32, 32), -0.8), torch.full((1, 1, 32, 32), 0.8)
    left = torch.zeros(1, 1, 32, 32)
    left[..., :16] = 1
    result = method(
        image(0, size=(32, 32)),
        [StyleReference([dark]), StyleReference([bright])],
        Guidance(regions=[left, 1 - left]),
    )
    assert result[..., 2:14].mean() < -0.4
    assert result[..., 18:30].mean() > 0.4


def test_scales_go_from_coarse_to_fine_each_from_the_one_before() -> None:
    method = gatys("method.steps=3", "method.scales=3", "method.tolerance=0")
    told = losses_of(method, image(0, size=(64, 64)), image(1, size=(64, 64)))
    assert [(i.scale, i.number) for i in told] == [(s, n) for s in range(3) for n in (1, 2, 3)]
    assert method.minimum_size == 2 * 4
    start = image(2, size=(64, 64))
    told = losses_of(method, image(0, size=(64, 64)), image(1, size=(64, 64)), start=start)
    assert {iteration.scale for iteration in told} == {2}
    content = method.encode_content(image(0, size=(64, 64)))
    assert [tuple(x.shape[-2:]) for x in content.images] == [(16, 16), (32, 32), (64, 64)]


@pytest.mark.parametrize(("start", "lines"), [(None, 1), (image(0), 0)])
def test_an_early_end_is_told_but_not_of_every_slice(start: Tensor | None, lines: int) -> None:
    method = gatys("method.steps=50", "method.tolerance=0.5", "method.patience=2")
    told: list[str] = []
    guidance = Guidance(start=start, on_message=told.append)
    style = method.encode_style([StyleReference([image(1)], 1.0)])
    method.transfer(method.encode_content(image(0)), style, guidance)
    assert len(told) == lines
    assert all(re.fullmatch(r"converged after \d+ of 50 iterations", line) for line in told)


def test_tiles_change_nothing() -> None:
    # In double precision: iterations of L-BFGS make much of the last digits of single.
    content, style = (image(seed, size=(64, 48)).double() for seed in (0, 1))
    results = []
    for tile in ("null", "32"):
        method = gatys("method.steps=3", f"method.tile={tile}")
        method.vgg = VGG19Features("random:0", method.vgg.layers).double()
        results.append(method(content, [StyleReference([style])]))
    torch.testing.assert_close(*results, atol=1e-6, rtol=0)


def test_average_pooling_and_adam_give_other_pictures() -> None:
    results = [
        gatys("method.steps=5", *settings)(image(0), [StyleReference([image(1)])])
        for settings in ([], ["method.pooling=average"], ["method.optimizer=adam"])
    ]
    for other in results[1:]:
        assert (other - results[0]).abs().mean() > 1e-3


def test_one_seed_gives_one_picture() -> None:
    settings = ["method.steps=3", "method.init=noise"]
    styles = [StyleReference([image(1)])]
    one, again, other = (
        gatys(*settings, f"training.seed={seed}")(image(0), styles) for seed in (5, 5, 6)
    )
    assert torch.equal(one, again)
    assert not torch.equal(one, other)


def test_continuity_holds_a_slice_to_what_its_neighbour_was_given() -> None:
    added = torch.full_like(image(0), 0.1)
    styles = [StyleReference([image(1)])]
    held, free = (
        gatys("method.steps=15", f"loss.continuity.weight={weight}")(
            image(0), styles, Guidance(start=image(0) + added, continued=added)
        )
        for weight in (1e4, 0)
    )
    target = image(0) + added
    assert (held - target).abs().mean() < 0.3 * (free - target).abs().mean()


def test_pictures_that_are_too_small_are_told_the_least_size() -> None:
    method = gatys("method.scales=3")
    with pytest.raises(UserError, match=r"7x40 is too small.*8 pixels.*relu2_1 at 3 scale"):
        method.encode_content(torch.zeros(1, 1, 7, 40))
    with pytest.raises(UserError, match="too small"):
        method.encode_style([StyleReference([torch.zeros(1, 1, 40, 7)])])


def test_a_loss_without_content_and_style_is_refused() -> None:
    config = load_config(None, ["loss.perceptual.weight=0", "loss.style.weight=0"], method="gatys")
    with pytest.raises(UserError, match=r"loss\.perceptual\.weight.*loss\.style\.weight.*both 0"):
        Gatys(network(("relu1_1",)), config.method, config.loss)
