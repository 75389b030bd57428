"""Small networks that a generator's features are compared through (Park et al. 2020)."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn

from medstyle_gan.networks.precision import at_least_fp32

# Of untrained heads most rows are ten to a hundred times as long.
_SHORT = 1e-3


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
        return {name: _of_length_one(self.heads[name](x)) for name, x in features.items()}


def _of_length_one(x: Tensor) -> Tensor:
    """Rows divided by their length; near 0, where that has no direction, they stay short.

    A place whose ReLUs are all shut would otherwise have a gradient of 1 / 0.
    """
    x = at_least_fp32(x)
    return x / (x.square().sum(dim=1, keepdim=True) + _SHORT**2).sqrt()
