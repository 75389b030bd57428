"""CUT and FastCUT: what they learn from, and that they learn."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from medstyle_gan.config import load_config
from medstyle_gan.errors import UserError
from medstyle_gan.losses import AdversarialLoss
from medstyle_gan.methods import CUT
from medstyle_gan.methods.cut import flipped
from medstyle_gan.training import memory
from tests.methods.training_steps import SMALL, fit, images, settings

NO_VGG = ("loss.perceptual.weight=0", "loss.style.weight=0")
BOTH = ("cut", "fastcut")
FEW = ("loss.contrastive.patches=12", "method.projection_width=8")
VOLUMES = ("data.dims=3", "data.spacing=[1,1,1]", "data.sample_size=[12,16,20]")


def made(name: str, *overrides: str, scan: int = 1, style: int = 1) -> CUT:
    torch.manual_seed(0)
    return CUT(settings(f"method.name={name}", *NO_VGG, *FEW, *overrides), scan, style)


def total(terms: dict[str, Any]) -> Tensor:
    return torch.stack([t.weight * t.value for t in terms.values()]).sum()


def test_the_terms_are_those_of_the_paper() -> None:
    """With all places of all layers, so that nothing is left to chance: written here anew."""
    method = made("cut", "loss.contrastive.patches=100000").double()
    real = {d: x.double() for d, x in images(0, count=1).items()}
    terms, translated = method.generator_terms(real)
    generator, layers = method.scan_to_style, method.scan_to_style.layers

    def features(x: Tensor) -> list[Tensor]:
        half = layers[:5](x)
        quarter = layers[5:8](half)
        block = layers[8:11](quarter)
        return [x, half, quarter, block, block]  # the one block is the middle one too

    def nce(source: Tensor, image: Tensor) -> Tensor:
        losses = []
        heads = method.projection_heads.heads.values()
        for head, q, k in zip(heads, features(image), features(source), strict=True):
            rows = (head(x[0].flatten(1).mT) for x in (q, k))
            query, key = (x / (x.square().sum(1, keepdim=True) + 1e-6).sqrt() for x in rows)
            logits = query @ key.detach().mT / 0.07
            losses.append(F.cross_entropy(logits, torch.arange(len(logits))))
        return torch.stack(losses).mean()

    scan, style = real["scan"], real["style"]
    made_style, identity = generator(scan), generator(style)
    torch.testing.assert_close(translated["style"], made_style)
    expected = {
        "contrastive_scan_to_style": nce(scan, made_style),
        "contrastive_identity_style": nce(style, identity),
        "adversarial_scan_to_style": AdversarialLoss().generator(
            method.style_discriminator(made_style)
        ),
    }
    assert terms.keys() == expected.keys()
    assert {name: term.weight for name, term in terms.items()} == dict(
        zip(expected, (0.5, 0.5, 1.0), strict=True)
    )
    weights = dict(method.named_parameters())
    ours = torch.autograd.grad(total(terms), list(weights.values()), allow_unused=True)
    paper = 0.5 * sum(list(expected.values())[:2]) + expected["adversarial_scan_to_style"]
    theirs = torch.autograd.grad(paper, list(weights.values()), allow_unused=True)
    for name, own, other in zip(weights, ours, theirs, strict=True):
        if name.startswith("style_discriminator"):
            assert own is None
            continue
        torch.testing.assert_close(own, other, rtol=1e-5, atol=1e-7)
    for name, value in expected.items():
        torch.testing.assert_close(terms[name].value, value, msg=name)


@pytest.mark.parametrize("name", BOTH)
def test_a_few_steps_tell_the_patches_apart(name: str) -> None:
    config = ("training.steps=30", "loss.adversarial.weight=0", "loss.contrastive.patches=64")
    method = made(name, *config, "method.generator_learning_rate=2e-3")
    values = [
        float(logged["loss/contrastive_scan_to_style"])
        for logged in fit(method, [images(0)] * 30).logged
    ]
    assert values[-1] < 0.8 * values[0]


def test_fastcut_flips_scans_and_flips_their_features_back() -> None:
    method = made("fastcut").double()
    real = {d: x.double() for d, x in images(0, count=4).items()}
    flips = method._flips(4, 0)
    assert set(flips) == {True, False}
    _, translated = method.generator_terms(real)
    for place, flip in enumerate(flips):
        scan = real["scan"][place : place + 1]
        expected = (
            method.scan_to_style(scan.flip(2)).flip(2) if flip else method.scan_to_style(scan)
        )
        torch.testing.assert_close(translated["style"][place : place + 1], expected)
    assert made("cut")._flips(4, 0) == [False] * 4
    x = real["scan"]
    assert torch.equal(flipped(flipped(x, flips), flips), x)


@pytest.mark.parametrize("name", BOTH)
def test_gradients_of_a_batch_are_the_mean_of_its_images(name: str) -> None:
    """So that processes, and parts of a batch, add up to the larger batch."""
    both = {domain: x.double() for domain, x in images(0).items()}

    def gradients(real: dict[str, Tensor], position: int) -> dict[str, Tensor]:
        method = made(name, "discriminator.augmentation.cutout=0.3").double()
        terms, translated = method.generator_terms(real, position)
        judged = method.discriminator_terms(real, translated, position)
        total(terms | judged).backward()
        return {n: p.grad for n, p in method.named_parameters() if p.grad is not None}

    whole = gradients(both, 0)
    halves = [gradients({d: x[i : i + 1] for d, x in both.items()}, i) for i in range(2)]
    assert whole.keys() == dict(made(name).named_parameters()).keys()
    for key, gradient in whole.items():
        torch.testing.assert_close(gradient, (halves[0][key] + halves[1][key]) / 2, msg=key)


def test_patches_are_other_ones_at_each_step_and_no_place_twice() -> None:
    method = made("cut")
    real = images(0)["scan"]
    features = method.scan_to_style.features(real, method.settings.layers)
    first = method._places(real, features, 0, 1)
    assert {name: [len(p) for p in chosen] for name, chosen in first.items()} == {
        name: [min(12, x[0, 0].numel())] * 2 for name, x in features.items()
    }
    assert all(len(p.unique()) == len(p) for chosen in first.values() for p in chosen)
    again = method._places(real, features, 0, 1)
    assert all(torch.equal(a, b) for n in first for a, b in zip(first[n], again[n], strict=True))
    method.step += 1
    later = method._places(real, features, 0, 1)
    assert not torch.equal(first["input"][0], later["input"][0])
    assert not torch.equal(first["input"][0], first["input"][1])


def test_patches_in_the_foreground_alone() -> None:
    method = made("cut", "loss.contrastive.region=foreground", "loss.contrastive.patches=1000")
    scan = torch.full((2, 1, 16, 16), -1.0)
    scan[0, 0, 4:12, 8:] = torch.rand(8, 8)  # the other image has no body: anywhere
    features = method.scan_to_style.features(scan, ("input", "quartered"))
    chosen = method._places(scan, features, 0, 1)
    places = torch.zeros(256, dtype=torch.bool)
    places[chosen["input"][0]] = True
    rows, columns = places.unflatten(0, (16, 16)).nonzero().T
    assert rows.min() >= 4
    assert rows.max() < 12
    assert columns.min() >= 8
    assert len(chosen["quartered"][0]) == 4
    assert len(chosen["input"][1]) == 256
    terms, _ = method.generator_terms({"scan": scan, "style": scan})
    assert all(term.value.isfinite() for term in terms.values())


@pytest.mark.parametrize("name", BOTH)
@pytest.mark.parametrize(
    ("overrides", "shape", "style"),
    [
        (VOLUMES, (1, 12, 16, 20), 1),
        (("data.dims=2.5", "loss.contrastive.region=foreground"), (3, 16, 16), 3),
        ((), (1, 16, 16), 3),
        (("generator.checkpoint_activations=true",), (1, 16, 16), 1),
    ],
)
def test_volumes_stacks_and_colours_train_every_network(
    name: str, overrides: tuple[str, ...], shape: tuple[int, ...], style: int
) -> None:
    method = made(name, *overrides, scan=shape[0], style=style)
    rng = torch.Generator().manual_seed(0)
    real = {
        "scan": torch.rand(1, *shape, generator=rng) * 2 - 1,
        "style": torch.rand(1, style, *shape[1:], generator=rng) * 2 - 1,
    }
    terms, translated = method.generator_terms(real)
    total(terms | method.discriminator_terms(real, translated)).backward()
    assert translated["style"].shape == (1, style, *shape[1:])
    for key, weight in method.named_parameters():
        assert weight.grad is not None, key
        assert weight.grad.isfinite().all()
    panel = method.panel(real)
    assert len(panel["scan"]) == 2
    assert len(panel["style"]) == 1


def test_heads_are_trained_and_kept_but_are_no_generators() -> None:
    method = made("cut")
    before = copy.deepcopy(method.projection_heads.state_dict())
    watch = fit(method, [images(0)])
    assert set(method.trained_networks()) == {
        *("scan_to_style", "style_discriminator", "projection_heads")
    }
    assert set(method.ema.generators) == {"scan_to_style"}
    after = method.projection_heads.state_dict()
    assert all(not torch.equal(before[n], after[n]) for n in before if n.endswith("weight"))
    assert set(watch.logged[0]) >= {"loss/contrastive_identity_style", "guard/advantage_style"}


def test_identity_can_be_held_by_l1_too() -> None:
    method = made("fastcut", "loss.identity.weight=2")
    real = images(0)
    terms, _ = method.generator_terms(real)
    expected = F.l1_loss(method.scan_to_style(real["style"]), real["style"])
    torch.testing.assert_close(terms["identity_style"].value, expected)


def test_its_memory_is_foretold() -> None:
    large = ("data.sample_size=[64,64]", "generator.ngf=8", "generator.blocks=4")
    config = settings(
        "method.name=cut", *NO_VGG, *FEW, *large, "loss.contrastive.region=foreground"
    )
    both_ways = settings(*NO_VGG, "loss.perceptual.reconstruction_weight=0", *large)
    needed, more = (
        memory.step_bytes(c, {"scan": 1, "style": 1}, "fp32") for c in (config, both_ways)
    )
    assert 0 < needed < more


@pytest.mark.parametrize("name", BOTH)
@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ("loss.cycle.weight=1", r"set loss\.cycle\.weight=0"),
        ("loss.perceptual.reconstruction_weight=1", r"reconstruction_weight=0"),
        ("loss.contrastive.weight=0", "set it above 0"),
        ("generator.name=unet", r"set generator\.name=resnet"),
        ("generator.name=switchable", r"set generator\.name=resnet"),
    ],
)
def test_what_they_cannot_follow_is_refused(name: str, setting: str, words: str) -> None:
    with pytest.raises(UserError, match=words):
        load_config(None, [f"method.name={name}", setting])


def test_other_methods_contrast_nothing() -> None:
    with pytest.raises(UserError, match=r"method\.name=cut"):
        load_config(None, ["loss.contrastive.weight=1"])


def test_their_defaults_are_the_papers() -> None:
    cut, fastcut = (load_config(None, [f"method.name={name}", *SMALL]) for name in BOTH)
    assert (cut.loss.contrastive.weight, cut.loss.contrastive.identity_weight) == (0.5, 0.5)
    assert (fastcut.loss.contrastive.weight, fastcut.loss.contrastive.identity_weight) == (10, 0)
    for config in (cut, fastcut):
        assert config.loss.contrastive.temperature == 0.07
        assert config.loss.contrastive.patches == 256
        assert config.loss.cycle.weight == config.loss.identity.weight == 0
