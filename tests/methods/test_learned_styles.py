"""What feedforward and AdaIN learn from, and that they learn."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from medstyle_gan.losses import gram_matrix
from medstyle_gan.methods import AdaIN, FeedForward
from medstyle_gan.methods.vgg_regularizer import VGGRegularizer
from medstyle_gan.methods.vgg_views import Views
from medstyle_gan.networks.adain import adain, channel_statistics
from tests.methods.learned_styles import learning, method_of, pictures, vgg
from tests.methods.training_steps import fit, settings

BOTH = ("feedforward", "adain")


def batch(style_channels: int = 1, images: int = 2) -> dict[str, Tensor]:
    return {
        "scan": torch.cat([pictures(i) for i in range(images)]),
        "style": torch.cat([pictures(9 + i, style_channels) for i in range(images)]),
    }


def test_feedforward_minimises_the_content_and_gram_terms_of_its_translation() -> None:
    config = learning("feedforward", "loss.total_variation.weight=0.5")
    method, real = method_of(config), batch()
    terms, translated = method.generator_terms(real)
    made, f = translated["style"], vgg()
    content = F.mse_loss(f(made)["relu1_2"], f(real["scan"])["relu1_2"])
    grams = [
        F.mse_loss(gram_matrix(f(made)[n]), gram_matrix(f(real["style"])[n]))
        for n in ("relu1_1", "relu2_1")
    ]
    roughness = (made.diff(dim=2).abs().sum() + made.diff(dim=3).abs().sum()) / made.numel()
    torch.testing.assert_close(terms["perceptual_scan_to_style"].value, content)
    torch.testing.assert_close(terms["style_scan_to_style"].value, sum(grams) / 2)
    torch.testing.assert_close(terms["total_variation_scan_to_style"].value, roughness)
    assert {name: term.weight for name, term in terms.items()} == {
        "perceptual_scan_to_style": 1.0,
        "style_scan_to_style": 4e5,
        "total_variation_scan_to_style": 0.5,
    }


def test_adain_compares_with_its_target_and_with_the_styles_statistics() -> None:
    method, real = method_of(learning("adain")), batch(3)
    terms, translated = method.generator_terms(real)
    made, f = translated["style"], vgg()
    code, style = f(real["scan"])["relu4_1"], f(real["style"])
    spatial = (2, 3)

    def deviation(x: Tensor) -> Tensor:
        return (x.var(spatial, correction=0) + 1e-5).sqrt()

    target = F.instance_norm(code) * deviation(style["relu4_1"])[..., None, None]
    target = target + style["relu4_1"].mean(spatial, keepdim=True)
    seen = f(made)
    layers = ("relu1_1", "relu2_1", "relu3_1", "relu4_1")
    wanted = sum(
        F.mse_loss(seen[n].mean(spatial), style[n].mean(spatial))
        + F.mse_loss(deviation(seen[n]), deviation(style[n]))
        for n in layers
    )
    content = F.mse_loss(seen["relu4_1"], target)
    torch.testing.assert_close(terms["perceptual_scan_to_style"].value, content)
    torch.testing.assert_close(terms["statistics_scan_to_style"].value, wanted / 4)
    assert terms["statistics_scan_to_style"].weight == 40  # 10 of the sum of four


@pytest.mark.parametrize("name", BOTH)
def test_a_few_steps_on_the_same_images_lower_the_loss(name: str) -> None:
    method = method_of(learning(name, "training.steps=25"))
    watch = fit(method, [batch()] * 25)
    losses = [float(logged["loss/generator"]) for logged in watch.logged]
    assert losses[-1] < 0.7 * losses[0]
    assert watch.logged[0]["learning_rate/generator"] == pytest.approx(3e-3)
    assert "learning_rate/discriminator" not in watch.logged[0]


@pytest.mark.parametrize("name", BOTH)
def test_the_vgg_learns_nothing_and_is_in_no_state(name: str) -> None:
    method = method_of(learning(name))
    before = vgg().identity()
    names = set(dict(method.named_parameters()))
    own = "scan_to_style" if name == "feedforward" else "decoder"
    assert {n.split(".")[0] for n in names} == {own}
    assert {n.split(".")[0] for n in method.state_dict()} == {own}
    fit(method, [batch()])
    assert vgg().identity() == before
    assert all(not b.requires_grad and b.grad is None for b in vgg().buffers())


@pytest.mark.parametrize("name", BOTH)
def test_gradients_of_a_batch_are_the_mean_of_its_images(name: str) -> None:
    """So that processes, and parts of a batch, add up to the larger batch."""

    def gradients(real: dict[str, Tensor]) -> list[Tensor]:
        method = method_of(learning(name), dtype=torch.float64)
        terms, _ = method.generator_terms(real)
        torch.stack([t.weight * t.value for t in terms.values()]).sum().backward()
        return [p.grad for p in method.parameters()]

    both = {domain: images.double() for domain, images in batch().items()}
    halves = [gradients({d: x[i : i + 1] for d, x in both.items()}) for i in range(2)]
    for mean, *parts in zip(gradients(both), *halves, strict=True):
        torch.testing.assert_close(mean, sum(parts) / 2)


@pytest.mark.parametrize("name", BOTH)
def test_steps_that_are_not_finite_are_left_out(name: str) -> None:
    method = method_of(learning(name))
    spoilt = batch()
    spoilt["scan"][0, 0, 3, 3] = torch.nan
    watch = fit(method, [spoilt, batch()])
    assert method.skipped == 1
    first, second = (s["weights"] for s in watch.snapshots)
    fresh = method_of(learning(name)).state_dict()
    assert all(torch.equal(first[n], fresh[n]) for n in fresh)
    assert any(not torch.equal(second[n], fresh[n]) for n in fresh)


@pytest.mark.parametrize(
    ("settings", "shape"),
    [
        (["data.dims=3", "data.spacing=[1,1,1]", "data.sample_size=[16,16,16]"], (1, 16, 16, 16)),
        (["data.dims=2.5", "data.sample_size=[16,16]"], (3, 16, 16)),
    ],
)
def test_feedforward_learns_volumes_and_stacks_through_their_slices(
    settings: list[str], shape: tuple[int, ...]
) -> None:
    config = learning("feedforward", *settings)
    slices = config.data.sample_slices
    regularizer = VGGRegularizer(vgg(), config.loss, views=Views(config.vgg, 0, slices))
    method = FeedForward(config, slices, slices, regularizer)
    rng = torch.Generator().manual_seed(0)
    real = {d: torch.rand(1, *shape, generator=rng) * 2 - 1 for d in ("scan", "style")}
    terms, translated = method.generator_terms(real)
    torch.stack([t.weight * t.value for t in terms.values()]).sum().backward()
    assert translated["style"].shape == (1, *shape)
    assert all(float(p.grad.abs().sum()) > 0 for n, p in method.named_parameters() if "weight" in n)
    assert method.panel(real)["scan"][1].shape == (1, 1, *shape[1:])


@pytest.mark.parametrize("style_channels", [1, 3])
def test_panels_show_what_a_method_makes(style_channels: int) -> None:
    real = batch(style_channels)
    panels = {n: method_of(learning(n), 1, style_channels).panel(real) for n in BOTH}
    assert [len(panels[n]["scan"]) for n in BOTH] == [2, 3]
    for panel in panels.values():
        assert torch.equal(panel["scan"][0], real["scan"])
        assert [torch.equal(x, real["style"]) for x in panel["style"]] == [True]
        assert all(x.shape == (2, style_channels, 32, 32) for x in panel["scan"][1:])
        assert all(float(x.abs().max()) <= 1 for x in panel["scan"])


def test_adains_panel_is_its_averages_with_a_style_and_without() -> None:
    method, real = method_of(learning("adain")), batch()
    fit(method, [real])
    decoder = method.ema.generators["decoder"]
    code, style = (vgg()(real[domain])["relu4_1"] for domain in ("scan", "style"))
    with torch.no_grad():
        expected = [decoder(of) for of in (adain(code, channel_statistics(style)), code)]
    for stage, image in zip(method.panel(real)["scan"][1:], expected, strict=True):
        torch.testing.assert_close(stage, image.clamp(-1, 1))


def test_adain_is_validated_by_its_average_without_gradients() -> None:
    method, real = method_of(learning("adain")), batch()
    found = method.held_out_terms(real)
    expected, _ = method.generator_terms(real)
    assert found.keys() == expected.keys()
    for name, term in found.items():
        torch.testing.assert_close(term.value, expected[name].value)
        assert not term.value.requires_grad
    with pytest.raises(NotImplementedError):
        method_of(learning("feedforward")).held_out_terms(real)


@pytest.mark.parametrize("kind", [FeedForward, AdaIN])
def test_neither_can_be_made_without_a_vgg(kind: type) -> None:
    name = "feedforward" if kind is FeedForward else "adain"
    with pytest.raises(ValueError, match="given none"):
        kind(settings(f"method.name={name}"), 1, 1, None)
