"""Self-attention over the positions of feature maps (Vaswani et al. 2017; Zhang et al. 2019)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from medstyle_gan.networks.convolutions import CONV


class SelfAttention(nn.Module):
    """x + share · attention(norm(x)), each position looking at all others, in 2-D and 3-D.

    The share is learned and 0 at first, as in "Self-attention generative adversarial networks"
    (Zhang et al. 2019): a network begins as it would without. There are no positional codes: what
    is seen counts, not where.

    Args:
        channels: of input and output.
        heads: parts of the channels that look by themselves; they must divide them.
        dims: 2 or 3 spatial dimensions.
    """

    def __init__(self, channels: int, heads: int, dims: int) -> None:
        super().__init__()
        if channels % heads:
            raise ValueError(f"{heads} heads do not divide {channels} channels")
        self.heads = heads
        self.to_parts = CONV[dims](channels, 3 * channels, 1)
        self.out = CONV[dims](channels, channels, 1)
        self.share = nn.Parameter(torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        """Let the positions of `(B, channels, *spatial)` look at each other."""
        # An instance norm; no module, so that no code of a switchable generator is for it.
        parts = (
            self.to_parts(F.group_norm(x, x.shape[1])).flatten(2).unflatten(1, (3, self.heads, -1))
        )
        query, key, value = parts.transpose(-1, -2).unbind(1)  # each (B, heads, positions, width)
        seen = F.scaled_dot_product_attention(query, key, value)
        seen = seen.transpose(-1, -2).flatten(1, 2).unflatten(2, x.shape[2:])
        return x + self.share * self.out(seen)
