"""AdaIN at run time: how much of a style, several styles, and where they go."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from medstyle_gan.errors import UserError
from medstyle_gan.methods import AdaINTransfer, Guidance, StyleReference
from medstyle_gan.networks import AdaINDecoder
from medstyle_gan.networks.adain import adain, channel_statistics
from tests.methods.learned_styles import pictures, vgg


def transfer(alpha: float = 1.0) -> AdaINTransfer:
    torch.manual_seed(0)
    return AdaINTransfer(vgg(), AdaINDecoder(3, width=4).eval(), 3, alpha)


def features(image: Tensor) -> Tensor:
    return vgg()(image)["relu4_1"]


def code(method: AdaINTransfer, styles: list[StyleReference], *regions: Tensor) -> Tensor:
    look = method.encode_style(styles)
    content = method.encode_content(pictures(0, size=(32, 48)))
    return method.transfer(content, look, Guidance(regions=list(regions) or None)).features


CONTENT = pictures(0, size=(32, 48))
ONE, TWO = StyleReference([pictures(1, 3)]), StyleReference([pictures(2, 3, (40, 24))], weight=3)
LEFT = torch.zeros(1, 1, 32, 48)
LEFT[..., :24] = 1


def styled(style: StyleReference) -> Tensor:
    return adain(features(CONTENT), channel_statistics(features(style.images[0])))


def test_alpha_goes_from_the_contents_features_to_the_styled_ones() -> None:
    assert torch.equal(code(transfer(0.0), [ONE]), features(CONTENT))
    torch.testing.assert_close(code(transfer(1.0), [ONE]), styled(ONE))
    expected = 0.7 * features(CONTENT) + 0.3 * styled(ONE)
    torch.testing.assert_close(code(transfer(0.3), [ONE]), expected, rtol=1e-4, atol=1e-5)


def test_styles_are_blended_as_the_weighted_sum_of_their_transfers() -> None:
    expected = 0.25 * styled(ONE) + 0.75 * styled(TWO)
    torch.testing.assert_close(code(transfer(), [ONE, TWO]), expected, rtol=1e-4, atol=1e-4)


def test_a_region_keeps_the_style_in_it_and_has_its_own_statistics() -> None:
    result = code(transfer(), [ONE], LEFT)
    assert torch.equal(result[..., 3:], features(CONTENT)[..., 3:])
    inside = features(CONTENT)[..., :3]
    expected = adain(inside, channel_statistics(features(ONE.images[0])))
    torch.testing.assert_close(result[..., :3], expected, rtol=1e-3, atol=1e-4)


def test_each_style_goes_to_its_region_and_an_empty_one_changes_nothing() -> None:
    even = StyleReference(TWO.images)
    result = code(transfer(), [ONE, even], LEFT, 1 - LEFT)
    torch.testing.assert_close(result[..., :3], code(transfer(), [ONE], LEFT)[..., :3])
    torch.testing.assert_close(result[..., 3:], code(transfer(), [even], 1 - LEFT)[..., 3:])
    nothing = torch.zeros_like(LEFT)
    assert torch.equal(code(transfer(), [ONE], nothing), features(CONTENT))
    torch.testing.assert_close(
        code(transfer(), [ONE, even], LEFT, nothing), code(transfer(), [ONE], LEFT)
    )


def test_overlapping_regions_share_and_weights_are_strengths() -> None:
    everywhere = torch.ones_like(LEFT)
    even = StyleReference(TWO.images)
    half = (styled(ONE) + styled(TWO)) / 2
    result = code(transfer(), [ONE, even], everywhere, everywhere)
    torch.testing.assert_close(result, half, rtol=1e-3, atol=1e-4)
    weaker = code(transfer(), [ONE, TWO], LEFT, 1 - LEFT)  # a third of the strength of TWO
    own = features(CONTENT)[..., :3]
    full = code(transfer(), [ONE], LEFT)[..., :3]
    torch.testing.assert_close(weaker[..., :3], own + (full - own) / 3, rtol=1e-3, atol=1e-4)


def test_slices_of_one_style_count_together_and_only_within_their_masks() -> None:
    images = [pictures(3, 3), pictures(4, 3)]
    found = transfer().encode_style([StyleReference(images)]).statistics[0]
    both = torch.cat([features(image).flatten(2) for image in images], dim=2)[..., None]
    torch.testing.assert_close(found.mean, both.mean((2, 3), keepdim=True))
    expected = (both.var((2, 3), correction=0, keepdim=True) + 1e-5).sqrt()
    torch.testing.assert_close(found.deviation, expected, rtol=1e-4, atol=1e-5)
    mask = torch.zeros(1, 1, 32, 32)
    mask[..., :16] = 1
    masked = transfer().encode_style([StyleReference(images[:1], masks=[mask])]).statistics[0]
    torch.testing.assert_close(masked.mean, channel_statistics(features(images[0])[..., :2]).mean)


@pytest.mark.parametrize("size", [(32, 48), (37, 21), (16, 16)])
def test_any_size_comes_back_in_its_own(size: tuple[int, int]) -> None:
    result = transfer()(pictures(0, size=size), [ONE])
    assert result.shape == (1, 3, *size)
    assert float(result.abs().max()) <= 1


def test_sizes_are_filled_up_by_reflection() -> None:
    method, image = transfer(), pictures(0, size=(37, 32))
    content = method.encode_content(image)
    filled = F.pad(image, (0, 0, 1, 2), mode="reflect")
    torch.testing.assert_close(content.features, features(filled))
    decoded = method.decode(content)
    expected = method.decoder(features(filled))[:, :, 1:38].clamp(-1, 1)
    torch.testing.assert_close(decoded, expected)


def test_no_gradient_is_kept() -> None:
    assert not transfer()(CONTENT, [ONE]).requires_grad


@pytest.mark.parametrize(
    ("styles", "words"),
    [
        ([StyleReference([pictures(1, 3, (15, 40))])], "15x40 is too small.*16 pixels"),
        ([StyleReference([pictures(1)], weight=0)], "weights sum to 0"),
        ([StyleReference([pictures(1)], masks=[torch.zeros(1, 1, 32, 32)])], "leaves nothing"),
    ],
)
def test_styles_that_say_nothing_are_refused(styles: list[StyleReference], words: str) -> None:
    with pytest.raises(UserError, match=words):
        transfer().encode_style(styles)
    with pytest.raises(UserError, match="8x40 is too small"):
        transfer().encode_content(pictures(0, size=(8, 40)))
