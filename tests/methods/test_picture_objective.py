"""The objective of Gatys et al.: values against independent formulas, gradients by differences."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from medstyle_gan.config.loss_section import (
    LossConfig,
    PerceptualLossConfig,
    StyleLossConfig,
    WeightedLossConfig,
)
from medstyle_gan.losses import total_variation
from medstyle_gan.methods.picture_objective import FeaturesInTiles, PictureObjective, Region
from medstyle_gan.networks import VGG19Features

LAYERS = ("relu1_1", "conv2_1", "relu3_1")
SIZE = (37, 42)


@pytest.fixture(scope="module")
def vgg() -> VGG19Features:
    return VGG19Features("random:3", LAYERS, "average").double()


def loss_config(**weights: float) -> LossConfig:
    given = {"perceptual": 2.0, "style": 1e3, "total_variation": 0.3, "continuity": 0.7} | weights
    return LossConfig(
        perceptual=PerceptualLossConfig(weight=given["perceptual"], layers=("conv2_1",)),
        style=StyleLossConfig(
            weight=given["style"], layers=("relu1_1", "relu3_1"), layer_weights=(0.2, 3.0)
        ),
        total_variation=WeightedLossConfig(weight=given["total_variation"]),
        continuity=WeightedLossConfig(weight=given["continuity"]),
    )


def picture(seed: int, channels: int = 3) -> Tensor:
    rng = torch.Generator().manual_seed(seed)
    return torch.rand(1, channels, *SIZE, generator=rng, dtype=torch.float64) * 2 - 1


def masks() -> list[Tensor]:
    left = torch.zeros(1, 1, *SIZE, dtype=torch.float64)
    left[..., :20] = 1
    return [left, (1 - left) * torch.rand(1, 1, *SIZE, dtype=torch.float64)]


def objective(
    vgg: VGG19Features,
    side: int | None = None,
    regions: list[Tensor | None] | None = None,
    **weights: float,
) -> PictureObjective:
    features = FeaturesInTiles(vgg, SIZE, LAYERS, side)
    style = [features.grams(picture(10 + i)) for i in range(2)]
    where = [None] if regions is None else regions
    return PictureObjective(
        features,
        loss_config(**weights),
        features.of_whole(picture(20)),
        [
            Region({n: g[0] for n, g in style[i].items()}, (0.75, 0.25)[i], mask)
            for i, mask in enumerate(where)
        ],
        picture(30),
    )


def closed_form(vgg: VGG19Features, x: Tensor, regions: list[Tensor | None]) -> float:
    """The same number, written out from DESIGN §9 and Gatys et al. 2017."""
    own, content = vgg(x), vgg(picture(20))
    total = 2.0 * F.mse_loss(own["conv2_1"], content["conv2_1"])
    for i, mask in enumerate(regions):
        styles = vgg(picture(10 + i))
        for name, weight in (("relu1_1", 0.2), ("relu3_1", 3.0)):
            f, s = own[name][0].flatten(1), styles[name][0].flatten(1)
            if mask is None:
                gram = torch.einsum("ip,jp->ij", f, f) / f.numel()
            else:
                step = {"relu1_1": 1, "relu3_1": 4}[name]
                t = F.avg_pool2d(mask, step).flatten()
                gram = torch.einsum("ip,jp,p->ij", f, f, t**2) / (f.shape[0] * (t**2).sum())
            target = torch.einsum("ip,jp->ij", s, s) / s.numel()
            total = total + 1e3 * (0.75, 0.25)[i] * weight * F.mse_loss(gram, target)
    total = total + 0.3 * total_variation(x) + 0.7 * F.mse_loss(x, picture(30))
    return float(total)


@pytest.mark.parametrize("side", [None, 16])
@pytest.mark.parametrize("masked", [False, True])
def test_the_loss_is_the_documented_sum_whole_and_in_tiles(
    vgg: VGG19Features, side: int | None, masked: bool
) -> None:
    regions = masks() if masked else [None]
    x = picture(0)
    evaluation = objective(vgg, side, regions)(x)
    assert evaluation.loss == pytest.approx(closed_form(vgg, x, regions), rel=1e-9)
    assert list(evaluation.parts) == ["content", "style", "total_variation", "continuity"]


@pytest.mark.parametrize("side", [None, 16])
@pytest.mark.parametrize("masked", [False, True])
def test_the_gradient_is_that_of_finite_differences(
    vgg: VGG19Features, side: int | None, masked: bool
) -> None:
    at = objective(vgg, side, masks() if masked else None)
    x = picture(1)
    gradient = at(x).gradient
    torch.manual_seed(0)
    for _ in range(1 if side else 3):
        direction = torch.randn_like(x)
        step = 1e-6
        difference = (at(x + step * direction).loss - at(x - step * direction).loss) / (2 * step)
        assert float((gradient * direction).sum()) == pytest.approx(difference, rel=1e-5)


@pytest.mark.parametrize("masked", [False, True])
def test_tiles_give_the_gradient_of_the_whole(vgg: VGG19Features, masked: bool) -> None:
    regions = masks() if masked else None
    whole, tiled = (objective(vgg, side, regions)(picture(2)) for side in (None, 16))
    assert tiled.loss == pytest.approx(whole.loss, rel=1e-12)
    torch.testing.assert_close(tiled.gradient, whole.gradient, rtol=1e-9, atol=1e-15)


@pytest.mark.parametrize("side", [None, 16])
def test_a_part_without_weight_is_not_computed(vgg: VGG19Features, side: int | None) -> None:
    weights = {"perceptual": 0.0, "total_variation": 0.0, "continuity": 0.0}
    assert set(objective(vgg, side, **weights)(picture(0)).parts) == {"style"}
    weights |= {"perceptual": 1.0, "style": 0.0}
    assert set(objective(vgg, side, **weights)(picture(0)).parts) == {"content"}


def test_bfloat16_features_come_close_with_fp32_sums() -> None:
    network = VGG19Features("random:3", LAYERS)
    x = picture(0).float()
    gradients = []
    for bf16 in (False, True):
        features = FeaturesInTiles(network, SIZE, LAYERS, bf16=bf16)
        grams = features.grams(picture(10).float())
        assert {g.dtype for g in grams.values()} == {torch.float32}
        region = Region({n: g[0] for n, g in grams.items()})
        at = PictureObjective(
            features, loss_config(continuity=0), features.of_whole(picture(20).float()), [region]
        )
        gradients.append(at(x).gradient.flatten())
    assert gradients[1].dtype == torch.float32
    assert F.cosine_similarity(*gradients, dim=0) > 0.99
