"""Translations clamped outside the body, and losses that look inside it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from medstyle_gan.config import load_config
from medstyle_gan.errors import UserError
from medstyle_gan.losses import l1
from medstyle_gan.losses.structure import mind_distance
from medstyle_gan.methods.batch_facts import BatchFacts
from medstyle_gan.methods.body_region import BodyRegion
from tests.methods.training_steps import NO_VGG, fit, images, made, settings

CLAMP, INSIDE = "generator.background=clamp", "loss.region=foreground"
CUT = ("method.name=cut", "loss.contrastive.patches=8", "loss.identity.weight=2")
BACKGROUND = {"scan": -0.9, "style": -0.7}


def masks(count: int = 2, size: int = 16) -> dict[str, Tensor]:
    found = {d: torch.zeros(count, 1, size, size, dtype=torch.bool) for d in ("scan", "style")}
    found["scan"][..., 3:12, 4:13] = True
    found["style"][..., 2:14, 5:10] = True
    return found


def method(*overrides: str) -> Any:
    built = made(settings(*NO_VGG, *overrides))
    built.body.background = dict(BACKGROUND)
    return built


def terms_of(built: Any, real: dict[str, Tensor], facts: BatchFacts) -> tuple[Any, Any]:
    terms, translated = built.generator_terms(real, 0, facts)
    judged = built.discriminator_terms(real, translated, 0, facts)
    return {n: t.value for n, t in (terms | judged).items()}, translated


def test_l1_in_a_mask_is_the_mean_over_images_of_their_means() -> None:
    rng = np.random.default_rng(0)
    x, target = rng.normal(size=(2, 3, 2, 6, 5))
    mask = rng.random((3, 1, 6, 5)) < 0.4
    mask[2] = False  # a slice of air
    each = [np.abs(x[i] - target[i])[:, mask[i, 0]].mean() for i in range(2)]
    found = l1(*(torch.from_numpy(a) for a in (x, target)), torch.from_numpy(mask))
    assert float(found) == pytest.approx((each[0] + each[1] + 0) / 3)


def test_nothing_comes_out_of_or_goes_into_the_air_where_it_is_clamped() -> None:
    body = BodyRegion(load_config(None, [CLAMP]))
    body.background = dict(BACKGROUND)
    x = torch.rand(2, 1, 16, 16, requires_grad=True)
    mask = masks()["scan"]
    kept = body.translation(x, "style", mask)
    assert (kept[~mask] == BACKGROUND["style"]).all()
    assert torch.equal(kept[mask], x[mask])
    kept.square().sum().backward()
    assert x.grad is not None
    assert not x.grad[~mask].any()
    assert x.grad[mask].all()
    assert body.translation(x, "style", None) is x
    assert BodyRegion(load_config(None, [INSIDE])).translation(x, "style", mask) is x


@pytest.mark.parametrize("name", [(), CUT], ids=["cyclegan", "cut"])
@pytest.mark.parametrize("on", [(CLAMP,), (INSIDE,), (CLAMP, INSIDE)])
def test_a_body_that_fills_the_sample_changes_nothing(
    name: tuple[str, ...], on: tuple[str, ...]
) -> None:
    real = images(0)
    full = BatchFacts({d: torch.ones_like(x, dtype=torch.bool) for d, x in real.items()})
    plain, _ = terms_of(method(*name), real, BatchFacts())
    found, _ = terms_of(method(*name, *on), real, full)
    assert found.keys() == plain.keys()
    for term, value in plain.items():
        torch.testing.assert_close(found[term], value, msg=term)


@pytest.mark.parametrize("name", [(), CUT], ids=["cyclegan", "cut"])
def test_clamped_translations_have_the_background_of_the_domain_they_are_in(
    name: tuple[str, ...],
) -> None:
    real, where = images(0), masks()
    built = method(*name, CLAMP)
    _, translated = terms_of(built, real, BatchFacts(where))
    for domain, source in (("style", "scan"), ("scan", "style")):
        if domain in translated:
            assert (translated[domain][~where[source]] == BACKGROUND[domain]).all()
    panel = built.panel({**real, **{f"{d}_mask": m for d, m in where.items()}})
    assert (panel["scan"][1][~where["scan"]] == BACKGROUND["style"]).all()


@pytest.mark.parametrize("name", [(), CUT], ids=["cyclegan", "cut"])
def test_no_term_of_a_region_sees_the_air_of_what_it_compares(name: tuple[str, ...]) -> None:
    """Discriminators, cycle and identity: with another air in the targets, the same values."""
    real, where = images(0), masks()
    first, _ = terms_of(method(*name, INSIDE), real, BatchFacts(where))
    built = method(*name, INSIDE)
    _, translated = built.generator_terms(real, 0, BatchFacts(where))
    noisy = {
        d: torch.where(where[d], x, torch.rand(x.shape, generator=torch.Generator().manual_seed(9)))
        for d, x in real.items()
    }
    judged = built.discriminator_terms(noisy, translated, 0, BatchFacts(where))
    assert judged
    for term, value in judged.items():
        torch.testing.assert_close(value.value, first[term], msg=term)
    for domain, x in real.items():
        mask = where[domain]
        assert float(built.body.l1(x, noisy[domain], mask)) == 0
        assert float(method(*name).body.l1(x, noisy[domain], mask)) > 0


def test_structure_is_looked_for_in_the_given_body() -> None:
    real, where, made_of = images(0), masks(), images(1)
    built = method("loss.structure.mind.weight=1")
    found = built.structure(0, real, {"style": made_of["style"]}, where)["mind_scan_to_style"].value
    expected = mind_distance(made_of["style"], real["scan"], where["scan"])
    torch.testing.assert_close(found, expected)
    guessed = built.structure(0, real, {"style": made_of["style"]})["mind_scan_to_style"].value
    assert float(guessed) != float(found)


def test_a_step_takes_the_parts_of_masks_that_its_images_have() -> None:
    """One batch in two parts and in one: the same gradients."""
    where = {f"{d}_mask": m for d, m in masks(4).items()}
    batch = {**images(0, count=4), **where, "index": torch.arange(4)}
    on = (CLAMP, INSIDE, "method.pool_size=0")
    whole, parts = (
        fit(method(*on, f"training.accumulate={n}"), [batch]).gradients[0] for n in (1, 2)
    )
    for name, gradient in whole.items():
        torch.testing.assert_close(parts[name], gradient, rtol=1e-3, atol=1e-6, msg=name)


@pytest.mark.parametrize("name", ["feedforward", "adain"])
@pytest.mark.parametrize("setting", [CLAMP, INSIDE])
def test_methods_that_style_whole_images_refuse_a_body(name: str, setting: str) -> None:
    with pytest.raises(UserError, match=setting.partition("=")[0]):
        load_config(None, [f"method.name={name}", setting])
