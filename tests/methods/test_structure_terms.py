from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.ndimage import binary_closing
from torch import Tensor

from medstyle_gan.config import load_config
from medstyle_gan.config.loss_section import ScheduledLossConfig, StructureLossConfig
from medstyle_gan.errors import UserError
from medstyle_gan.losses import structure
from medstyle_gan.methods.schedule import weight_factor
from medstyle_gan.methods.structure_terms import StructureTerms, foreground
from medstyle_gan.training import memory
from tests.methods.training_steps import NO_VGG, fit, images, made, settings

TERMS = ("gradient_correlation", "mind", "ncc", "mutual_information")
ON = tuple(f"loss.structure.{name}.weight={weight}" for weight, name in enumerate(TERMS, start=1))


def heads(seed: int, shape: tuple[int, ...] = (2, 1, 24, 24)) -> Tensor:
    """A bright middle with texture, background of -1 around it."""
    rng = torch.Generator().manual_seed(seed)
    x = torch.full(shape, -1.0)
    inside = (..., *[slice(n // 4, -n // 4) for n in shape[2:]])
    x[inside] = torch.rand(x[inside].shape, generator=rng) * 1.5 - 0.8
    return x


def terms_of(*overrides: str, slices: int = 1) -> StructureTerms:
    return StructureTerms(settings(*overrides).loss.structure, 100, slices)


def test_without_a_weight_there_are_no_terms() -> None:
    assert terms_of()(0, {"scan": heads(0), "style": heads(1)}, {"style": heads(2)}) == {}
    assert all(not term.weight for term in StructureLossConfig().terms.values())


def test_each_direction_is_held_to_its_own_input() -> None:
    real, translated = ({"scan": heads(a), "style": heads(b)} for a, b in ((0, 1), (2, 3)))
    found = terms_of(*ON)(0, real, translated)
    names = [f"{n}_{way}" for way in ("style_to_scan", "scan_to_style") for n in TERMS]
    assert sorted(found) == sorted(names)
    mask = foreground(real["scan"])
    assert 0 < float(mask.float().mean()) < 0.5
    expected = structure.mind_distance(translated["style"], real["scan"], mask)
    torch.testing.assert_close(found["mind_scan_to_style"].value, expected)
    assert [found[f"{n}_scan_to_style"].weight for n in TERMS] == [1, 2, 3, 4]
    everywhere = terms_of(*ON, "loss.structure.region=sample")(0, real, translated)
    expected = structure.information_lost(translated["scan"], real["style"])
    value = everywhere["mutual_information_style_to_scan"].value
    torch.testing.assert_close(value, expected)


def test_slices_of_a_stack_and_colours_are_compared_as_grey_images() -> None:
    scan, x = heads(0, (2, 3, 24, 24)), heads(1, (2, 3, 24, 24))
    stacked = terms_of(*ON, slices=3)(0, {"scan": scan}, {"style": x})
    apart = [
        terms_of(*ON)(0, {"scan": scan[:, i : i + 1]}, {"style": x[:, i : i + 1]}) for i in range(3)
    ]
    for name, term in stacked.items():
        torch.testing.assert_close(term.value, torch.stack([a[name].value for a in apart]).mean())
    grey, colour = heads(2), heads(3).expand(-1, 3, -1, -1)
    with_colour = terms_of(*ON)(0, {"scan": grey}, {"style": colour})
    without = terms_of(*ON)(0, {"scan": grey}, {"style": colour[:, :1]})
    for name, term in without.items():
        torch.testing.assert_close(with_colour[name].value, term.value)


def test_foreground_is_what_is_brighter_with_its_gaps_closed() -> None:
    x = heads(0, (1, 1, 40, 40))
    x[..., 15:18, 15:18] = -1  # a ventricle as dark as air
    cube = np.ones((5, 5), bool)
    bright = np.pad(x[0, 0].numpy() > -0.9, 8)
    expected = binary_closing(bright, cube)[8:-8, 8:-8]
    found = foreground(x)[0, 0].numpy()
    assert found[16, 16]
    np.testing.assert_array_equal(found, expected)
    assert not foreground(torch.full((1, 1, 8, 8, 8), 0.5)).any()


@pytest.mark.parametrize("schedule", ["constant", "linear", "cosine"])
def test_a_weight_falls_as_scheduled(schedule: str) -> None:
    section = ScheduledLossConfig(
        weight=2,
        schedule=schedule,  # type: ignore[arg-type]
        constant_fraction=0.25,
        final=0.2,
    )
    found = [weight_factor(step, 100, section) for step in range(101)]
    assert found[:26] == [1.0] * 26
    middle = {"constant": 1.0, "linear": 0.6, "cosine": 0.6}[schedule]
    assert (found[62] + found[63]) / 2 == pytest.approx(middle, abs=1e-9)
    assert found[100] == pytest.approx(1.0 if schedule == "constant" else 0.2)
    if schedule == "cosine":
        third = 0.2 + 0.8 * (1 + math.cos(math.pi / 3)) / 2
        assert found[50] == pytest.approx(third)
    weights = StructureTerms(StructureLossConfig(mind=section), 100)
    term = weights(80, {"scan": heads(0)}, {"style": heads(1)})["mind_scan_to_style"]
    assert term.weight == pytest.approx(2 * found[80])


def test_a_term_whose_weight_has_fallen_to_nothing_costs_nothing() -> None:
    section = ScheduledLossConfig(weight=1, schedule="linear", constant_fraction=0)
    terms = StructureTerms(StructureLossConfig(mind=section), 10)
    assert terms(10, {"scan": heads(0)}, {"style": heads(1)}) == {}


def test_cyclegan_trains_with_them_and_tells_their_values() -> None:
    config = settings(*NO_VGG, *ON)
    method = made(config)
    watch = fit(method, [images(seed) for seed in range(2)])
    for name in TERMS:
        for way in ("scan_to_style", "style_to_scan"):
            assert watch.logged[0][f"loss/{name}_{way}"].isfinite()
    plain = fit(made(settings(*NO_VGG)), [images(seed) for seed in range(2)])
    assert not any(name.startswith("loss/mind") for name in plain.logged[0])
    gradients, without = watch.gradients[0], plain.gradients[0]
    assert not torch.equal(
        gradients["scan_to_style.layers.1.weight"], without["scan_to_style.layers.1.weight"]
    )
    name = next(n for n in gradients if n.startswith("scan_discriminator"))
    torch.testing.assert_close(gradients[name], without[name])


def test_they_learn_to_hold_a_translation_to_its_scan() -> None:
    scan, x = heads(0), heads(1).requires_grad_()
    terms, optimizer = terms_of(*ON), torch.optim.Adam([x], 0.05)
    values = []
    for _ in range(40):
        found = terms(0, {"scan": scan}, {"style": x.tanh()})
        total = torch.stack([t.weight * t.value for t in found.values()]).sum()
        optimizer.zero_grad()
        total.backward()
        optimizer.step()
        values.append(float(total.detach()))
    assert values[-1] < 0.7 * values[0]


def test_their_memory_is_foretold_without_spoiling_later_ones() -> None:
    small = ("data.sample_size=[32,32]", "method.pool_size=0", *NO_VGG)
    sizes = {"scan": 1, "style": 1}
    without = memory.step_bytes(settings(*small), sizes, "fp32")
    more = memory.step_bytes(settings(*small, *ON), sizes, "fp32")
    # At least the two sets of Parzen weights of each direction, of 32 bins.
    assert more > without + 2 * 32 * 32 * 32 * 4
    found = terms_of(*ON)(0, {"scan": heads(0)}, {"style": heads(1)})
    assert all(term.value.isfinite() for term in found.values())


def test_settings_that_make_no_sense_are_refused() -> None:
    with pytest.raises(UserError, match="give 7 or 9"):
        load_config(None, ["loss.structure.ncc.window=8"])
    with pytest.raises(UserError, match=r"set loss\.structure\.mind\.weight=0"):
        load_config(None, ["method.name=gatys", "loss.structure.mind.weight=1"])
