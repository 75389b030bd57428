from __future__ import annotations

import piq
import pytest
import torch
from torch import Tensor, nn
from torch.autograd import gradcheck

from medstyle_gan.losses import gram_matrix, style_distance


def _features(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


@pytest.mark.parametrize("spatial", [(5, 7), (3, 4, 5)])
def test_each_gram_is_its_images_features_times_themselves(spatial: tuple[int, ...]) -> None:
    features = _features(2, 4, *spatial)
    gram = gram_matrix(features)
    assert gram.shape == (2, 4, 4)
    for image, own in zip(features, gram, strict=True):
        expected = torch.einsum("ip,jp->ij", image.flatten(1), image.flatten(1)) / image.numel()
        torch.testing.assert_close(own, expected)
        assert torch.linalg.eigvalsh(own).min() > -1e-12


def test_the_gram_does_not_know_where_things_are() -> None:
    features = _features(1, 3, 4, 6)
    moved = features.flatten(2)[..., torch.randperm(24)].view_as(features)
    torch.testing.assert_close(gram_matrix(moved), gram_matrix(features))


def test_the_gram_of_a_larger_copy_is_the_same() -> None:
    features = _features(1, 3, 4, 6)
    torch.testing.assert_close(gram_matrix(features.repeat(1, 1, 2, 3)), gram_matrix(features))


def test_the_gradients_of_gram_and_distance_pass_finite_differences() -> None:
    features = _features(2, 3, 3, 4).requires_grad_()
    target = gram_matrix(_features(2, 3, 5, 5))
    assert gradcheck(gram_matrix, (features,))
    assert gradcheck(lambda f: style_distance({"a": f}, {"a": target}, ["a"]), (features,))


def test_it_is_piqs_style_loss_without_its_scale() -> None:
    torch.manual_seed(0)
    extractor = nn.Sequential(nn.Conv2d(3, 6, 3, padding=1), nn.ReLU())
    x, target = torch.rand(2, 3, 3, 12, 14)
    theirs = piq.StyleLoss(
        feature_extractor=extractor, layers=["1"], mean=[0.0] * 3, std=[1.0] * 3
    )(x, target)
    features, target_features = extractor(x), extractor(target)
    ours = style_distance({"a": features}, {"a": gram_matrix(target_features)}, ["a"])
    torch.testing.assert_close(ours * (6 * 12 * 14) ** 2, theirs)


def test_gatys_term_is_a_quarter_of_the_squared_channels_times_ours() -> None:
    channels, positions = 4, 5 * 6
    features, target = _features(2, channels, 5, 6)[:, None]
    difference = sum(
        sign * (rows @ rows.T)
        for sign, rows in ((1, features[0].flatten(1)), (-1, target[0].flatten(1)))
    )
    gatys = difference.square().sum() / (4 * channels**2 * positions**2)
    ours = style_distance({"a": features}, {"a": gram_matrix(target)}, ["a"])
    torch.testing.assert_close(ours * channels**2 / 4, gatys)


def test_each_image_is_held_against_its_own_target() -> None:
    features, targets = _features(2, 3, 4, 5, 5)
    grams = gram_matrix(targets)
    alone = [
        style_distance({"a": f[None]}, {"a": g[None]}, ["a"])
        for f, g in zip(features, grams, strict=True)
    ]
    together = style_distance({"a": features}, {"a": grams}, ["a"])
    torch.testing.assert_close(together, torch.stack(alone).mean())
    of_the_mean = (gram_matrix(features).mean(0) - grams.mean(0)).square().mean()
    assert not torch.allclose(together, of_the_mean)


def test_a_collections_gram_is_everyones_target() -> None:
    features = _features(3, 4, 5, 5)
    collection = gram_matrix(_features(1, 4, 6, 6))[0]
    repeated = collection.expand(3, 4, 4)
    torch.testing.assert_close(
        style_distance({"a": features}, {"a": collection}, ["a"]),
        style_distance({"a": features}, {"a": repeated}, ["a"]),
    )


def test_grams_may_stand_for_features() -> None:
    features = {"a": _features(2, 4, 5, 5), "b": _features(2, 3, 4, 4)}
    grams = {name: gram_matrix(f) for name, f in features.items()}
    target = {name: 2 * gram for name, gram in grams.items()}
    torch.testing.assert_close(
        style_distance(grams, target, ["a", "b"]), style_distance(features, target, ["a", "b"])
    )


def test_layers_have_equal_weights_or_the_ones_given() -> None:
    grams = {"a": torch.ones(1, 2, 2), "b": 3 * torch.ones(1, 4, 4)}
    target = {name: torch.zeros_like(gram) for name, gram in grams.items()}
    assert style_distance(grams, target, ["a", "b"]).item() == pytest.approx((1 + 9) / 2)
    weighted = style_distance(grams, target, ["b", "a"], [0.1, 2.0])
    assert weighted.item() == pytest.approx(0.1 * 9 + 2.0 * 1)
    with pytest.raises(ValueError, match="zip"):
        style_distance(grams, target, ["a", "b"], [1.0])


def test_targets_of_another_batch_or_layer_are_refused() -> None:
    features = {"a": torch.zeros(2, 4, 5, 5)}
    for shape in [(3, 4, 4), (1, 4, 4), (2, 3, 3)]:
        with pytest.raises(ValueError, match=r"a: Gram matrices \[2, 4, 4\]"):
            style_distance(features, {"a": torch.zeros(shape)}, ["a"])


def test_grams_stay_in_fp32_under_autocast() -> None:
    torch.manual_seed(0)
    features = (10 * torch.rand(1, 16, 32, 32)).bfloat16().requires_grad_()
    with torch.autocast("cpu", torch.bfloat16):
        gram = gram_matrix(features)
        distance = style_distance({"a": features}, {"a": torch.zeros(16, 16)}, ["a"])
    assert gram.dtype == distance.dtype == torch.float32
    torch.testing.assert_close(gram, gram_matrix(features.double()).float())
    distance.backward()
    assert features.grad is not None
    assert features.grad.isfinite().all()
