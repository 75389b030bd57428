"""Small networks that a generator's features are compared through (Park et al. 2020)."""

from __future__ import annotations

from collections.abc import Mapping

import torch.nn.functional as F
from torch import Tensor, nn

from medstyle_gan.networks.precision import at_least_fp32


class ProjectionHeads(nn.Module):
    """Two linear layers with a ReLU between for each layer of features, then length 1.

    Made with the networks, and not at the first batch as in the paper's code: checkpoints and
    optimisers have them from the start.

    Args:
        channels: layer's name → its features' channels.
        width: of both linear layers.
    """

    def __init__(self, channels: Mapping[str, int], width: int = 256) -> None:
        super().__init__()
        self.heads = nn.ModuleDict(
            {
                name: nn.Sequential(nn.Linear(taken, width), nn.ReLU(), nn.Linear(width, width))
                for name, taken in channels.items()
            }
        )
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.normal_(module.weight, 0.0, 0.02)
                nn.init.zeros_(module.bias)

    def forward(self, features: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Project features `(N, channels)` of each layer to `(N, width)` of length 1."""
        projected = {name: self.heads[name](x) for name, x in features.items()}
        return {name: F.normalize(at_least_fp32(x), eps=1e-7) for name, x in projected.items()}
