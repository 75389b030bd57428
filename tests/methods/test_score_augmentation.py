from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from torch import Tensor

from medstyle_gan.config.network_sections import ScoreAugmentationConfig
from medstyle_gan.methods.score_augmentation import ScoreAugmentation, moved
from tests.methods.training_steps import NO_VGG, fit, images, made, settings

ON = ("discriminator.augmentation.translation=0.2", "discriminator.augmentation.cutout=0.5")
SHAPES = [(3, 2, 20, 30), (2, 1, 10, 12, 14)]


def augmentation(translation: float = 0.2, cutout: float = 0.5, seed: int = 0) -> ScoreAugmentation:
    return ScoreAugmentation(ScoreAugmentationConfig(translation=translation, cutout=cutout), seed)


def random(shape: tuple[int, ...]) -> Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(1)) * 1.8 - 0.9


def test_at_nothing_images_go_through_untouched() -> None:
    x = random(SHAPES[0])
    assert augmentation(0, 0)(x, 3, 1, "real") is x


@pytest.mark.parametrize(("shifts", "shape"), [((3, -2), (2, 9, 8)), ((-1, 0, 4), (1, 6, 7, 8))])
def test_moving_is_numpys_roll_with_air_for_what_comes_round(
    shifts: tuple[int, ...], shape: tuple[int, ...]
) -> None:
    x = random(shape)
    expected = np.roll(x.numpy(), shifts, axis=tuple(range(1, x.ndim)))
    for axis, shift in enumerate(shifts, start=1):
        edge = slice(0, shift) if shift > 0 else slice(shape[axis] + shift, None)
        expected[(slice(None),) * axis + (edge,)] = -1
    np.testing.assert_array_equal(moved(x, shifts).numpy(), expected)


@pytest.mark.parametrize("shape", SHAPES)
def test_an_image_is_itself_moved_with_a_hole_in_it(shape: tuple[int, ...]) -> None:
    """Every value that is left is one of the image, and the intensities are as they were."""
    x = random(shape)
    for step in range(5):
        for image, seen in zip(x, augmentation()(x, step, 0, "real"), strict=True):
            assert seen.shape == image.shape
            left = seen != -1
            assert torch.equal(left, left[:1].expand_as(left))  # alike in all channels
            assert 0.1 < float(left.float().mean()) < 1
            assert torch.isin(seen[left], image).all()


def test_holes_are_boxes_of_the_asked_size_within_the_image() -> None:
    x = torch.zeros(1, 1, 40, 30)
    sizes = []
    for step in range(60):
        hole = (augmentation(0, 0.5)(x, step, 0, "real") == -1)[0, 0]
        rows, columns = hole.any(1).nonzero(), hole.any(0).nonzero()
        height, width = (int(p[-1] - p[0] + 1) for p in (rows, columns))
        assert int(hole.sum()) == height * width
        sizes.append((height, width))
    assert max(sizes) == (20, 15)
    assert min(sizes) < (20, 15)  # some reach beyond the edge


def test_shifts_are_up_to_the_asked_share_in_both_ways() -> None:
    x = torch.full((1, 1, 40, 20), -1.0)
    x[..., 20, 10] = 1
    found = []
    for step in range(200):
        place = (augmentation(0.1, 0)(x, step, 0, "fake")[0, 0] == 1).nonzero()[0]
        found.append((int(place[0]) - 20, int(place[1]) - 10))
    rows, columns = zip(*found, strict=True)
    assert set(rows) == set(range(-4, 5))
    assert set(columns) == set(range(-2, 3))


def test_choices_are_keyed_by_place_and_step_and_by_who_looks() -> None:
    x, show = random(SHAPES[0]), augmentation()
    whole = show(x, 4, 0, "real")
    parts = torch.cat([show(x[:1], 4, 0, "real"), show(x[1:], 4, 1, "real")])
    assert torch.equal(whole, parts)
    others = [
        show(x, 5, 0, "real"),
        show(x, 4, 0, "fake"),
        show(x, 4, 0, "translation"),
        augmentation(seed=1)(x, 4, 0, "real"),
    ]
    assert not any(torch.equal(whole, other) for other in others)


def test_gradients_reach_what_is_seen_and_nothing_else() -> None:
    x = random(SHAPES[0]).requires_grad_()
    seen = augmentation()(x, 0, 0, "translation")
    seen.sum().backward()
    assert x.grad is not None
    assert set(x.grad.unique().tolist()) == {0.0, 1.0}
    assert float(x.grad.sum()) == int((seen != -1).sum())


def test_training_with_it_shows_every_discriminator_changed_images() -> None:
    shown: list[Tensor] = []
    method = made(settings(*NO_VGG, *ON))
    method.style_discriminator.register_forward_pre_hook(lambda m, x: shown.append(x[0].detach()))
    watch = fit(method, [images(seed) for seed in range(2)])
    assert all((x == -1).any() for x in shown)
    assert len(shown) == 4  # the generators' pass and the discriminators', twice
    assert all(value.isfinite() for value in watch.logged[-1].values())


def test_by_default_nothing_changes() -> None:
    plain, off = (
        made(settings(*NO_VGG)),
        made(settings(*NO_VGG, "discriminator.augmentation.translation=0")),
    )
    ours, theirs = (fit(m, [images(0), images(1)]).snapshots[-1]["weights"] for m in (plain, off))
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


@pytest.mark.parametrize("at", ["real", "fake", "between"])
def test_the_penalty_acts_lazily_with_as_much_more_weight(at: str) -> None:
    penalty = "loss.adversarial.zero_centred_penalty"
    overrides = [f"{penalty}.weight=2", f"{penalty}.every_n_steps=3", f"{penalty}.at={at}"]
    method = made(settings(*NO_VGG, *overrides))
    real = images(0)
    acted = []
    for step in range(4):
        method.step = step
        _, translated = method.generator_terms(real)
        terms = method.discriminator_terms(real, translated)
        acted.append("zero_centred_penalty_style" in terms)
        if acted[-1]:
            term = terms["zero_centred_penalty_style"]
            assert term.weight == 6
            expected = method.adversarial.zero_centred_penalty(
                copy.deepcopy(method.style_discriminator), real["style"], translated["style"], at
            )
            if at != "between":
                torch.testing.assert_close(term.value, expected)
    assert acted == [True, False, False, True]
    watch = fit(method, [real])
    assert any(name.startswith("style_discriminator") for name in watch.gradients[0])
