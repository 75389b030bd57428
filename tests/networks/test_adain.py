"""AdaIN against torch's instance norm, and its invariants."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from medstyle_gan.errors import UserError
from medstyle_gan.networks import AdaINDecoder
from medstyle_gan.networks.adain import Statistics, adain, channel_statistics


def features(seed: int, images: int = 2, size: tuple[int, int] = (6, 7)) -> Tensor:
    rng = torch.Generator().manual_seed(seed)
    spread = torch.rand(1, 5, 1, 1, generator=rng) * 3 + 0.5
    return spread * torch.randn(images, 5, *size, generator=rng) + seed


def test_it_is_an_instance_norm_with_the_styles_deviation_and_mean() -> None:
    content, style = features(0), features(3, size=(9, 4))
    mean, deviation = style.mean((2, 3)), (style.var((2, 3), correction=0) + 1e-5).sqrt()
    expected = F.instance_norm(content, eps=1e-5)
    expected = expected * deviation[..., None, None] + mean[..., None, None]
    torch.testing.assert_close(adain(content, channel_statistics(style)), expected)


def test_a_style_that_is_the_content_changes_nothing() -> None:
    content = features(1)
    content[:, 2] = 4.0  # a channel without any deviation
    result = adain(content, channel_statistics(content))
    torch.testing.assert_close(result, content, rtol=0, atol=1e-4)


def test_the_result_has_the_styles_statistics() -> None:
    style = features(2, size=(8, 8))
    result = adain(features(0), channel_statistics(style))
    torch.testing.assert_close(result.mean((2, 3)), style.mean((2, 3)), rtol=0, atol=1e-4)
    own, wanted = result.std((2, 3), correction=0), style.std((2, 3), correction=0)
    torch.testing.assert_close(own, wanted, rtol=0, atol=1e-4)


def test_one_style_serves_several_images() -> None:
    style = channel_statistics(features(2, images=1))
    both = adain(features(0), style)
    torch.testing.assert_close(both[1:], adain(features(0)[1:], style))


def test_weights_choose_the_positions_that_count() -> None:
    content, weights = features(0), torch.zeros(1, 1, 6, 7)
    weights[..., 1:4, 2:6] = 1
    torch.testing.assert_close(
        channel_statistics(content, weights), channel_statistics(content[..., 1:4, 2:6])
    )
    torch.testing.assert_close(
        channel_statistics(content, torch.full_like(weights, 0.3)), channel_statistics(content)
    )


def test_bfloat16_features_have_statistics_in_fp32() -> None:
    content = features(0).bfloat16()
    own = channel_statistics(content)
    assert own.mean.dtype == own.deviation.dtype == torch.float32
    assert adain(content, own).dtype == torch.float32


def test_a_single_position_is_refused() -> None:
    with pytest.raises(UserError, match="1x1 have no statistics"):
        channel_statistics(torch.ones(1, 5, 1, 1))
    with pytest.raises(UserError, match="1x1"):
        adain(torch.ones(1, 5, 1, 1), Statistics(torch.zeros(1), torch.ones(1)))


# ------------------------------------------------------------------------------------ decoder


def plain_decoder(decoder: AdaINDecoder) -> nn.Sequential:
    """The paper's layers one by one, with the decoder's weights."""
    plain: list[nn.Module] = []
    convolutions = [m for m in decoder.modules() if isinstance(m, nn.Conv2d)]
    for index, ours in enumerate(convolutions):
        if index in (1, 5, 7):
            plain.append(nn.Upsample(scale_factor=2, mode="nearest"))
        conv = nn.Conv2d(ours.in_channels, ours.out_channels, 3)
        conv.load_state_dict(ours.state_dict())
        plain += [nn.ReflectionPad2d(1), conv]
        if index < len(convolutions) - 1:
            plain.append(nn.ReLU())
    return nn.Sequential(*plain)


@pytest.mark.parametrize("channels", [1, 3])
def test_the_decoder_is_the_papers_of_nearest_doublings_and_reflections(channels: int) -> None:
    torch.manual_seed(0)
    decoder = AdaINDecoder(channels, width=4)
    code = torch.randn(2, 512, 3, 2)
    image = decoder(code)
    assert image.shape == (2, channels, 24, 16)
    torch.testing.assert_close(image, plain_decoder(decoder)(code), rtol=1e-4, atol=1e-6)


def test_the_full_decoder_has_the_papers_parameters() -> None:
    with torch.device("meta"):
        decoder = AdaINDecoder(3)
    widths = [(512, 256), *[(256, 256)] * 3, (256, 128), (128, 128), (128, 64), (64, 64), (64, 3)]
    assert sum(p.numel() for p in decoder.parameters()) == sum(9 * a * b + b for a, b in widths)
