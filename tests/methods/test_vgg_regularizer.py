from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch
from torch import Tensor

from medstyle_gan.config import load_config
from medstyle_gan.config.loss_section import LossConfig
from medstyle_gan.config.network_sections import VGGConfig
from medstyle_gan.losses import gram_matrix
from medstyle_gan.methods.vgg_regularizer import (
    VGGRegularizer,
    collection_grams,
    wanted_layers,
)
from medstyle_gan.methods.vgg_views import Views
from medstyle_gan.networks import VGG19Features


def loss_config(*overrides: str) -> LossConfig:
    layers = ["loss.perceptual.layers=[relu2_1]", "loss.style.layers=[relu1_1,relu2_1]"]
    return load_config(None, [*layers, *overrides]).loss


@pytest.fixture(scope="module")
def vgg() -> VGG19Features:
    return VGG19Features("random:0", ["relu1_1", "relu2_1"])


@pytest.fixture
def images() -> list[dict[str, Tensor]]:
    torch.manual_seed(0)
    return [{d: torch.rand(2, 1, 16, 16) * 2 - 1 for d in ("scan", "style")} for _ in range(3)]


def test_no_layers_are_wanted_when_all_weights_are_zero() -> None:
    off = ["loss.perceptual.weight=0", "loss.perceptual.reconstruction_weight=0"]
    assert wanted_layers(loss_config(*off, "loss.style.weight=0")) == ()


@pytest.mark.parametrize(
    ("overrides", "names"),
    [
        ([], 6),
        (["loss.perceptual.weight=0"], 4),
        (["loss.perceptual.reconstruction_weight=0"], 4),
        (["loss.style.weight=0"], 4),
    ],
)
def test_a_weight_of_zero_leaves_its_terms_out(
    vgg: VGG19Features, images: list[dict[str, Tensor]], overrides: list[str], names: int
) -> None:
    loss = loss_config("loss.style.target=batch", *overrides)
    assert len(VGGRegularizer(vgg, loss)(0, *images)) == names


def test_lazy_terms_act_every_nth_step_with_n_times_the_weight(
    vgg: VGG19Features, images: list[dict[str, Tensor]]
) -> None:
    loss = loss_config(
        "loss.style.target=batch",
        "loss.perceptual.every_n_steps=2",
        "loss.style.every_n_steps=3",
        "loss.style.weight=7",
        "loss.perceptual.weight=5",
    )
    regularizer = VGGRegularizer(vgg, loss)
    weights = {"perceptual_scan_to_style": 0.0, "style_scan_to_style": 0.0}
    acted: dict[str, list[int]] = {name: [] for name in weights}
    for step in range(6):
        for name, term in regularizer(step, *images).items():
            if name in weights:
                weights[name] += term.weight / 6
                acted[name].append(step)
    assert acted == {"perceptual_scan_to_style": [0, 2, 4], "style_scan_to_style": [0, 3]}
    assert weights == pytest.approx({"perceptual_scan_to_style": 5, "style_scan_to_style": 7})


def test_terms_vanish_where_images_are_what_they_are_compared_with(
    vgg: VGG19Features, images: list[dict[str, Tensor]]
) -> None:
    real = images[0]
    regularizer = VGGRegularizer(vgg, loss_config("loss.style.target=batch"))
    terms = regularizer(0, real, real, real)
    assert float(terms["perceptual_reconstruction_scan"].value) == 0
    assert float(terms["style_scan_to_style"].value) == pytest.approx(0, abs=1e-12)
    assert float(terms["perceptual_scan_to_style"].value) > 0  # scan and style differ


def test_style_is_compared_image_by_image(
    vgg: VGG19Features, images: list[dict[str, Tensor]]
) -> None:
    regularizer = VGGRegularizer(vgg, loss_config("loss.style.target=batch"))

    def style(real: dict[str, Tensor], translated: dict[str, Tensor]) -> float:
        return float(regularizer(0, real, translated, real)["style_scan_to_style"].value)

    real, translated = images[0], images[1]
    single = [
        style(
            {d: x[i : i + 1] for d, x in real.items()},
            {d: x[i : i + 1] for d, x in translated.items()},
        )
        for i in range(2)
    ]
    assert style(real, translated) == pytest.approx(sum(single) / 2, rel=1e-5)


def test_collection_gram_is_the_mean_over_all_images_whatever_the_batches(
    vgg: VGG19Features,
) -> None:
    torch.manual_seed(1)
    samples = torch.rand(5, 1, 16, 16)
    layers = ["relu1_1", "relu2_1"]
    features = vgg(samples)
    for batches in (samples.split(1), samples.split(3)):
        grams = collection_grams(vgg, [{"scan": batch} for batch in batches], layers)["scan"]
        for layer in layers:
            expected = torch.stack([gram_matrix(f[None])[0] for f in features[layer]]).mean(0)
            torch.testing.assert_close(grams[layer], expected)


def test_collection_target_must_be_given(vgg: VGG19Features) -> None:
    with pytest.raises(ValueError, match="collection"):
        VGGRegularizer(vgg, loss_config("loss.style.target=collection"))


def test_gradients_reach_the_translation_but_not_the_real_images(
    vgg: VGG19Features, images: list[dict[str, Tensor]]
) -> None:
    real, translated, rebuilt = images
    for batch in images:
        for tensor in batch.values():
            tensor.requires_grad_()
    terms = VGGRegularizer(vgg, loss_config("loss.style.target=batch"))(
        0, real, translated, rebuilt
    )
    torch.stack([term.value for term in terms.values()]).sum().backward()
    assert translated["style"].grad is not None
    assert float(translated["style"].grad.abs().sum()) > 0
    assert rebuilt["scan"].grad is not None
    assert real["scan"].grad is None


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("target", ["batch", "collection"])
def test_passes_of_both_domains_together_give_the_terms_of_single_passes(
    vgg: VGG19Features, target: str, channels: int
) -> None:
    """Against each image passed through all layers on its own; colour cannot be stacked."""
    torch.manual_seed(3)
    real, translated, rebuilt = (
        {"scan": torch.rand(2, 1, 16, 16), "style": torch.rand(2, channels, 16, 16)}
        for _ in range(3)
    )
    style_layers = ["relu1_1", "relu2_1"]
    means = collection_grams(vgg, [real], style_layers)
    loss = loss_config(f"loss.style.target={target}")
    terms = VGGRegularizer(vgg, loss, means)(0, real, translated, rebuilt)
    for source, other in (("scan", "style"), ("style", "scan")):
        content = vgg(real[source])["relu2_1"]
        for name, seen in (
            (f"perceptual_{source}_to_{other}", translated[other]),
            (f"perceptual_reconstruction_{source}", rebuilt[source]),
        ):
            expected = (vgg(seen)["relu2_1"] - content).square().mean()
            torch.testing.assert_close(terms[name].value, expected)
        expected = torch.zeros(())
        for layer in style_layers:
            gram = gram_matrix(vgg(translated[other])[layer])
            wanted = gram_matrix(vgg(real[other])[layer])
            wanted = means[other][layer] if target == "collection" else wanted
            expected = expected + (gram - wanted).square().mean() / 2
        torch.testing.assert_close(terms[f"style_{source}_to_{other}"].value, expected)


@pytest.fixture
def volumes() -> list[dict[str, Tensor]]:
    """Real, translated and reconstructed ones of unequal sides."""
    torch.manual_seed(4)
    return [{d: torch.rand(2, 1, 12, 16, 20) for d in ("scan", "style")} for _ in range(3)]


def test_of_volumes_the_terms_are_means_over_slices(
    vgg: VGG19Features, volumes: list[dict[str, Tensor]]
) -> None:
    """Against the terms of each slice alone, four of each volume in two turns of the planes."""
    views = Views(VGGConfig(slices=4), seed=1)
    loss = loss_config("loss.style.target=batch")
    terms = VGGRegularizer(vgg, loss, views=views)(0, *volumes)
    view = views.choose((12, 16, 20), 2, 0)
    seen = [{d: view(x) for d, x in batch.items()} for batch in volumes]
    alone = VGGRegularizer(vgg, loss)
    expected: dict[str, list[float]] = {name: [] for name in terms}
    for size, _ in enumerate(view.shares):
        for image in range(len(seen[0]["scan"][size])):
            one = [{d: x[size][image : image + 1] for d, x in batch.items()} for batch in seen]
            for name, term in alone(0, *one).items():
                expected[name].append(float(term.value))
    for name, term in terms.items():
        assert len(expected[name]) == 8
        assert float(term.value) == pytest.approx(sum(expected[name]) / 8, rel=1e-5), name
        assert term.weight == alone(0, *one)[name].weight


@pytest.mark.parametrize("settings", [{"crop": 7}, {"scale": 0.5}, {"crop": 9, "scale": 0.6}])
@pytest.mark.parametrize("kind", ["images", "volumes"])
def test_an_image_and_what_is_made_of_it_are_seen_at_the_same_place(
    vgg: VGG19Features, kind: str, settings: dict[str, float], request: pytest.FixtureRequest
) -> None:
    real = request.getfixturevalue(kind)[0]
    back = {"scan": real["style"], "style": real["scan"]}  # translations that change nothing
    loss = loss_config("loss.style.target=batch")
    regularizer = VGGRegularizer(vgg, loss, views=Views(VGGConfig.model_validate(settings)))
    for step in (0, 4):
        terms = regularizer(step, real, back, real)
        perceptual = [float(t.value) for n, t in terms.items() if n.startswith("perceptual")]
        assert perceptual == [0.0] * 4
        assert float(terms["style_scan_to_style"].value) > 0


@pytest.mark.parametrize("kind", ["images", "volumes"])
def test_terms_do_not_depend_on_how_a_batch_is_cut(
    vgg: VGG19Features, kind: str, request: pytest.FixtureRequest
) -> None:
    batches = request.getfixturevalue(kind)
    views = Views(VGGConfig(crop=8, slices=2), seed=5)
    regularizer = VGGRegularizer(vgg, loss_config("loss.style.target=batch"), views=views)
    whole = regularizer(4, *batches, position=6)
    halves = [
        regularizer(4, *({d: x[i : i + 1] for d, x in b.items()} for b in batches), position=6 + i)
        for i in range(2)
    ]
    for name, term in whole.items():
        mean = sum(float(half[name].value) for half in halves) / 2
        assert float(term.value) == pytest.approx(mean, rel=1e-5), name


def test_collection_grams_are_of_what_the_training_sees(vgg: VGG19Features) -> None:
    """A collection dark in the middle and textured at the rim: crops see other Grams."""
    torch.manual_seed(6)
    samples = torch.rand(6, 1, 16, 16)
    samples[:, :, 4:12, 4:12] = -1
    views = Views(VGGConfig(crop=8), seed=2)
    batches = [{"scan": batch} for batch in samples.split(4)]
    gram = collection_grams(vgg, batches, ["relu1_1"], views)["scan"]["relu1_1"]
    whole = collection_grams(vgg, batches, ["relu1_1"])["scan"]["relu1_1"]
    (seen,) = views.choose((16, 16), 6, 0)(samples)
    expected = gram_matrix(vgg(seen)["relu1_1"]).mean(dim=0)
    torch.testing.assert_close(gram, expected)
    assert not torch.allclose(gram, whole, rtol=0.02)


def test_of_volumes_collection_grams_are_means_over_slices(
    vgg: VGG19Features, volumes: list[dict[str, Tensor]]
) -> None:
    views = Views(VGGConfig(slices=4), seed=3)
    grams = collection_grams(vgg, [volumes[0]], ["relu2_1"], views)
    view = views.choose((12, 16, 20), 2, 0)
    for domain, images in volumes[0].items():
        found = [gram_matrix(vgg(x[None])["relu2_1"])[0] for seen in view(images) for x in seen]
        assert len(found) == 8
        torch.testing.assert_close(grams[domain]["relu2_1"], torch.stack(found).mean(dim=0))


_TRANSLATED = (4, ("relu1_1", "relu1_2", "relu2_1"))


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        ([], [(4, ("relu1_2",)), _TRANSLATED, (4, ("relu1_2",))]),
        (["loss.style.target=batch"], [_TRANSLATED, _TRANSLATED, (4, ("relu1_2",))]),
        (["loss.perceptual.reconstruction_weight=0"], [(4, ("relu1_2",)), _TRANSLATED]),
        (
            ["loss.perceptual.weight=0", "loss.perceptual.reconstruction_weight=0"],
            [(4, ("relu1_1", "relu2_1"))],
        ),
    ],
)
def test_no_pass_goes_deeper_or_sees_more_images_than_it_must(
    images: list[dict[str, Tensor]],
    overrides: list[str],
    expected: list[tuple[int, tuple[str, ...]]],
) -> None:
    """Each pass of two images of both domains; real ones first, once for all terms or never."""
    passes: list[tuple[int, tuple[str, ...]]] = []

    class Noted(VGG19Features):
        def forward(self, x: Tensor, layers: Sequence[str] | None = None) -> dict[str, Tensor]:
            found = super().forward(x, layers)
            passes.append((len(x), tuple(found)))
            return found

    deep = Noted("random:0", ["relu1_1", "relu1_2", "relu2_1"])
    loss = loss_config("loss.perceptual.layers=[relu1_2]", *overrides)
    grams = collection_grams(deep, [images[0]], ["relu1_1", "relu2_1"])
    passes.clear()
    VGGRegularizer(deep, loss, grams)(0, *images)
    assert passes == expected


@pytest.mark.parametrize("crop", [None, 12])
def test_styles_by_position_are_of_the_bin_that_each_image_is_in(
    vgg: VGG19Features, images: list[dict[str, Tensor]], crop: int | None
) -> None:
    loss = loss_config(
        *("loss.style.target=position", "loss.style.bins=4", "loss.style.every_n_steps=1"),
        *("loss.perceptual.weight=0", "loss.perceptual.reconstruction_weight=0"),
    )
    views = Views(VGGConfig(crop=crop), seed=3)
    heights = [{"scan": [0.0, 0.1], "style": [0.3, 0.9]}, {"scan": [0.3, 1.0], "style": [0.1, 0.8]}]
    batches = [
        {**real, **{f"{d}_height": torch.tensor(h) for d, h in at.items()}}
        for real, at in zip(images[:2], heights, strict=True)
    ]
    found = collection_grams(vgg, batches, loss.style.layers, views, bins=4)
    of_each: dict[int, list[Tensor]] = {}
    for number, (batch, at) in enumerate(zip(images[:2], heights, strict=True)):
        (seen,) = views.choose((16, 16), 2, 0, 2 * number)(batch["style"])
        for image, height in zip(seen, at["style"], strict=True):
            gram = gram_matrix(vgg(image[None], ["relu2_1"])["relu2_1"])[0]
            of_each.setdefault(int(4 * height), []).append(gram)
    assert sorted(of_each) == [0, 1, 3]
    for bin_of, grams in of_each.items():
        mean = torch.stack(grams).mean(dim=0)
        torch.testing.assert_close(found["style"]["relu2_1"][bin_of], mean)
    # Nothing was drawn of the third: it is as the nearest, the lower one of two as near.
    assert torch.equal(found["style"]["relu2_1"][2], found["style"]["relu2_1"][1])

    regularizer = VGGRegularizer(vgg, loss, found, views)
    at = {"scan": torch.tensor([0.05, 0.95]), "style": torch.tensor([0.3, 0.3])}
    terms = regularizer(0, images[0], images[1], {}, 0, at)
    (seen,) = views.choose((16, 16), 2, 0, 0)(images[1]["style"])
    own = {n: gram_matrix(f) for n, f in vgg(seen, loss.style.layers).items()}
    wanted = {n: found["style"][n][[0, 3]] for n in own}
    expected = sum((own[n] - wanted[n]).square().mean() / len(own) for n in own)
    torch.testing.assert_close(terms["style_scan_to_style"].value, expected)


def test_styles_by_position_of_one_bin_are_those_of_the_collection(
    vgg: VGG19Features, images: list[dict[str, Tensor]]
) -> None:
    at = {f"{d}_height": torch.tensor([0.2, 0.9]) for d in ("scan", "style")}
    whole = collection_grams(vgg, images, ["relu1_1"])
    binned = collection_grams(vgg, [{**b, **at} for b in images], ["relu1_1"], bins=1)
    torch.testing.assert_close(binned["scan"]["relu1_1"][0], whole["scan"]["relu1_1"])
