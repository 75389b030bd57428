from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from medstyle_gan.networks.attention import SelfAttention


def looking(channels: int, heads: int, dims: int) -> SelfAttention:
    torch.manual_seed(0)
    attention = SelfAttention(channels, heads, dims).double()
    nn.init.constant_(attention.share, 0.7)
    return attention


@pytest.mark.parametrize(("heads", "size"), [(1, (5, 4)), (2, (3, 4, 2))])
def test_it_is_torchs_multi_head_attention_of_the_positions(
    heads: int, size: tuple[int, ...]
) -> None:
    channels, attention = 6, looking(6, heads, len(size))
    theirs = nn.MultiheadAttention(channels, heads, batch_first=True).double()
    with torch.no_grad():
        theirs.in_proj_weight.copy_(attention.to_parts.weight.flatten(1))
        theirs.in_proj_bias.copy_(attention.to_parts.bias)
        theirs.out_proj.weight.copy_(attention.out.weight.flatten(1))
        theirs.out_proj.bias.copy_(attention.out.bias)
    x = torch.randn(2, channels, *size, dtype=torch.float64)
    flat = x.flatten(2)
    normalized = (flat - flat.mean(2, keepdim=True)) / (
        flat.var(2, correction=0, keepdim=True) + 1e-5
    ).sqrt()
    rows: Tensor = normalized.mT
    seen, _ = theirs(rows, rows, rows)
    torch.testing.assert_close(attention(x), x + 0.7 * seen.mT.unflatten(2, size))


def test_at_first_it_changes_nothing_and_can_begin_to() -> None:
    attention, x = SelfAttention(4, 2, 2), torch.randn(1, 4, 5, 5)
    assert torch.equal(attention(x), x)
    attention(x).square().sum().backward()
    assert float(attention.share.grad.abs()) > 0


def test_where_things_are_does_not_count() -> None:
    attention, x = looking(4, 2, 2), torch.randn(1, 4, 6, 5, dtype=torch.float64)
    torch.testing.assert_close(attention(x.flip(2)), attention(x).flip(2))


def test_heads_must_divide_the_channels() -> None:
    with pytest.raises(ValueError, match="do not divide"):
        SelfAttention(6, 4, 2)
