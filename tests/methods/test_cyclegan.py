from __future__ import annotations

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from medstyle_gan.config import Config, load_config
from medstyle_gan.methods import CycleGAN
from medstyle_gan.methods.vgg_regularizer import Term, VGGRegularizer
from medstyle_gan.networks import VGG19Features

NO_VGG = (
    "loss.perceptual.weight=0",
    "loss.perceptual.reconstruction_weight=0",
    "loss.style.weight=0",
)


def config(*overrides: str) -> Config:
    small = ["generator.ngf=4", "generator.blocks=1", "discriminator.ndf=4"]
    return load_config(None, [*small, "discriminator.layers=1", *overrides])


def batch(channels: int = 1, images: int = 2) -> dict[str, Tensor]:
    torch.manual_seed(5)
    scan = torch.rand(images, 1, 16, 16) * 2 - 1
    return {"scan": scan, "style": torch.rand(images, channels, 16, 16) * 2 - 1}


def make(settings: Config, channels: int = 1) -> CycleGAN:
    torch.manual_seed(0)
    return CycleGAN(settings, 1, channels)


def joint_gradients(method: CycleGAN, real: dict[str, Tensor]) -> dict[str, Tensor]:
    terms, translated = method.generator_terms(real)
    judged = method.discriminator_terms(real, translated)
    total = torch.stack([t.weight * t.value for t in [*terms.values(), *judged.values()]]).sum()
    total.backward()
    return {n: p.grad for n, p in method.named_parameters() if p.grad is not None}


def alternating_gradients(method: CycleGAN, real: dict[str, Tensor]) -> dict[str, Tensor]:
    """The textbook form, each pass on its own, written here anew."""
    gs, gt = method.scan_to_style, method.style_to_scan
    ds, dt = method.scan_discriminator, method.style_discriminator
    scan, style = real["scan"], real["style"]

    def mse(scores: list[Tensor], target: float) -> Tensor:
        return F.mse_loss(scores[0], torch.full_like(scores[0], target))

    fake_style, fake_scan = gs(scan), gt(style)
    loss = mse(dt(fake_style), 1) + mse(ds(fake_scan), 1)
    loss = loss + 10 * (F.l1_loss(gt(fake_style), scan) + F.l1_loss(gs(fake_scan), style))
    loss = loss + 5 * (F.l1_loss(gs(style), style) + F.l1_loss(gt(scan), scan))
    loss.backward()
    ds.zero_grad()
    dt.zero_grad()
    for judge, images, fake in ((ds, scan, fake_scan), (dt, style, fake_style)):
        (0.5 * (mse(judge(images), 1) + mse(judge(fake.detach()), 0))).backward()
    return {n: p.grad for n, p in method.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("name", ["resnet", "switchable"])
def test_joint_backward_gives_the_gradients_of_the_alternating_form(name: str) -> None:
    joint = make(config(*NO_VGG, f"generator.name={name}")).double()
    apart = copy.deepcopy(joint)
    real = {domain: images.double() for domain, images in batch().items()}
    ours, theirs = joint_gradients(joint, real), alternating_gradients(apart, real)
    assert ours.keys() == theirs.keys() == dict(joint.named_parameters()).keys()
    for name, gradient in theirs.items():
        torch.testing.assert_close(ours[name], gradient, rtol=1e-5, atol=1e-7, msg=name)


def test_batch_gradients_are_the_mean_of_single_image_gradients_with_every_loss_on() -> None:
    settings = config("loss.total_variation.weight=0.1", "loss.style.target=batch")
    settings = settings.model_copy(
        update={
            "loss": settings.loss.model_copy(
                update={
                    "perceptual": settings.loss.perceptual.model_copy(
                        update={"layers": ("relu1_2",)}
                    ),
                    "style": settings.loss.style.model_copy(
                        update={"layers": ("relu1_1",), "weight": 100.0}
                    ),
                }
            )
        }
    )
    vgg = VGG19Features("random:0", ["relu1_1", "relu1_2"]).double()
    torch.manual_seed(0)
    method = CycleGAN(settings, 1, 1, VGGRegularizer(vgg, settings.loss)).double()
    real = {domain: images.double() for domain, images in batch().items()}
    whole = joint_gradients(copy.deepcopy(method), real)
    halves = [
        joint_gradients(copy.deepcopy(method), {d: x[i : i + 1] for d, x in real.items()})
        for i in range(2)
    ]
    for name, gradient in whole.items():
        mean = (halves[0][name] + halves[1][name]) / 2
        torch.testing.assert_close(gradient, mean, rtol=1e-5, atol=1e-7, msg=name)


@pytest.mark.parametrize("form", ["least_squares", "hinge", "vanilla", "wgan_gp"])
def test_every_form_of_the_game_trains_all_four_networks(form: str) -> None:
    method = make(config(*NO_VGG, f"loss.adversarial.name={form}"))
    gradients = joint_gradients(method, batch())
    assert gradients.keys() == dict(method.named_parameters()).keys()
    assert all(torch.isfinite(g).all() for g in gradients.values())


@pytest.mark.parametrize(
    ("switched_off", "missing"),
    [
        ("loss.identity.weight=0", "identity"),
        ("loss.cycle.weight=0", "cycle"),
        ("loss.adversarial.weight=0", "adversarial"),
        ("loss.total_variation.weight=0", "total_variation"),
    ],
)
def test_a_weight_of_zero_leaves_the_term_out(switched_off: str, missing: str) -> None:
    base = ["loss.total_variation.weight=1"] if missing != "total_variation" else []
    method = make(config(*NO_VGG, *base, switched_off))
    terms, _ = method.generator_terms(batch())
    assert not any(name.startswith(missing) for name in terms)
    assert terms


@pytest.mark.parametrize(("weight", "terms"), [(10, 4), (0, 2)])
def test_gradient_penalty_of_weight_zero_is_left_out(weight: int, terms: int) -> None:
    game = ["loss.adversarial.name=wgan_gp", f"loss.adversarial.gradient_penalty={weight}"]
    method = make(config(*NO_VGG, *game))
    _, translated = method.generator_terms(batch())
    assert len(method.discriminator_terms(batch(), translated)) == terms


def test_weight_zero_runs_no_pass_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    def images_through_generators(*overrides: str) -> int:
        method = make(config(*NO_VGG, *overrides))
        counted = 0

        def count(module: object, inputs: tuple[Tensor, ...]) -> None:
            nonlocal counted
            counted += len(inputs[0])

        for generator in method.generators.values():
            generator.register_forward_pre_hook(count)
        method.generator_terms(batch(images=1))
        return counted

    assert images_through_generators() == 6
    assert images_through_generators("loss.identity.weight=0") == 4
    assert images_through_generators("loss.identity.weight=0", "loss.cycle.weight=0") == 2


def test_discriminators_see_translations_without_a_way_back_to_the_generators() -> None:
    method = make(config(*NO_VGG))
    _, translated = method.generator_terms(batch())
    judged = method.discriminator_terms(batch(), translated)
    torch.stack([t.value for t in judged.values()]).sum().backward()
    assert all(p.grad is None for g in method.generators.values() for p in g.parameters())


@pytest.mark.parametrize("channels", [1, 3])
def test_panel_shows_each_domain_in_its_own_channels(channels: int) -> None:
    method = make(config(*NO_VGG), channels)
    panel = method.panel(batch(channels))
    assert [image.shape[1] for image in panel["scan"]] == [1, channels, 1, 1]
    assert [image.shape[1] for image in panel["style"]] == [channels, 1, channels, channels]
    assert all(float(image.abs().max()) <= 1 for row in panel.values() for image in row)


def test_colour_style_trains_with_every_term() -> None:
    gradients = joint_gradients(make(config(*NO_VGG), 3), batch(3))
    assert all(float(g.abs().sum()) > 0 for n, g in gradients.items() if n.endswith("weight"))


def test_frozen_vgg_is_neither_in_the_weights_nor_trained() -> None:
    settings = config("loss.style.target=batch")
    vgg = VGG19Features("random:0", ["relu1_1"])
    method = CycleGAN(settings, 1, 1, VGGRegularizer(vgg, settings.loss))
    assert not any("vgg" in name or "regularizer" in name for name in method.state_dict())
    trained = {
        id(p) for o in method.configure_optimizers() for g in o.param_groups for p in g["params"]
    }
    assert trained == {id(p) for p in method.parameters()}


def test_the_backward_of_fp32_matrix_products_is_not_cast_to_bf16(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A step under autocast: a fp32 product inside its loss gets the gradient that fp32 gives."""
    method = make(config(*NO_VGG))
    factor = torch.rand(64, 64, requires_grad=True)
    other = torch.rand(64, 64)

    def losses(real: object, *place: int) -> tuple[dict[str, Term], dict[str, Tensor]]:
        with torch.autocast("cpu", enabled=False):
            return {"product": Term((factor @ other).square().mean(), 1.0)}, {}

    optimizers = [
        torch.optim.Adam([weight], fused=True)
        for weight in (factor, torch.zeros(1, requires_grad=True))
    ]
    product = (factor @ other).detach()
    monkeypatch.setattr(method, "generator_terms", losses)
    monkeypatch.setattr(method, "discriminator_terms", lambda *inputs: {})
    monkeypatch.setattr(method, "optimizers", lambda: optimizers)
    monkeypatch.setattr(method, "manual_backward", lambda loss: loss.backward())
    with torch.autocast("cpu", torch.bfloat16):
        method.training_step(batch(), 0)
    expected = 2 * product @ other.T / factor.numel()
    assert factor.grad is not None
    torch.testing.assert_close(factor.grad, expected)
