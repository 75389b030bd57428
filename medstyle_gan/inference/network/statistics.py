"""The statistics of instance norms: of a whole volume, or shared by neighbouring slices."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from medstyle_gan.inference.network.feature_maps import Computed, FeatureMaps


class WholeMoments:
    """Mean and variance of each channel of one volume, gathered piece by piece.

    Pieces are put together by the formula of Chan et al. (1983, "Algorithms for computing the
    sample variance"), in double precision.
    """

    def __init__(self) -> None:
        self._count = 0
        self._mean = self._squares = torch.zeros((), dtype=torch.float64)

    def add(self, piece: Tensor) -> None:
        """Take over some rows `(1, C, x, Y, Z)`."""
        variance, mean = (t.cpu().double() for t in _moments(piece, (0, 2, 3, 4)))
        count = piece[0, 0].numel()
        total = self._count + count
        change = mean - self._mean
        self._squares = self._squares + variance * count + change**2 * (self._count * count / total)
        self._mean = self._mean + change * (count / total)
        self._count = total

    def normalized(
        self, maps: FeatureMaps, eps: float, weight: Tensor | None, bias: Tensor | None
    ) -> FeatureMaps:
        """The volume's maps as an instance norm of the whole gives them."""
        mean, variance = self._mean, self._squares / self._count

        def normalize(x: Tensor) -> Tensor:
            center, spread = (m.to(x.device, torch.float32) for m in (mean, variance))
            return F.batch_norm(x, center, spread, weight, bias, training=False, eps=eps)

        return Computed([maps], normalize)


class SliceMoments:
    """Mean and variance of each channel that a slice shares with its neighbours.

    They are those of all pixels of the slices within reach, a slice's pixels weighing as a
    Gaussian around the slice says: an instance norm over a soft slab of the stack.

    Args:
        reach: slices on each side; the Gaussian's standard deviation is half of it. 0 gives
            every slice its own, as a plain instance norm.
    """

    def __init__(self, reach: int) -> None:
        self._reach = reach
        self._variances: list[Tensor] = []
        self._means: list[Tensor] = []

    def add(self, piece: Tensor) -> None:
        """Take over some slices `(n, C, H, W)`."""
        variance, mean = _moments(piece, (2, 3))
        self._variances.append(variance)
        self._means.append(mean)

    def normalized(
        self, maps: FeatureMaps, eps: float, weight: Tensor | None, bias: Tensor | None
    ) -> FeatureMaps:
        """The stack's maps as instance norms of the shared statistics give them."""
        mean, variance = torch.cat(self._means), torch.cat(self._variances)
        weights = neighbour_weights(len(mean), self._reach).to(mean)
        shared = weights @ mean
        # The spread within slices, and that of their means around the shared one.
        apart = (mean[None] - shared[:, None]).square()
        variance = weights @ variance + torch.einsum("ij,ijc->ic", weights, apart)
        return _ScaledSlices(maps, shared, variance, eps, weight, bias)


class _ScaledSlices(FeatureMaps):
    """Each slice with its own mean and variance."""

    def __init__(
        self,
        source: FeatureMaps,
        mean: Tensor,
        variance: Tensor,
        eps: float,
        weight: Tensor | None,
        bias: Tensor | None,
    ) -> None:
        self._source, self._mean = source, mean
        self._scale, self._bias = torch.rsqrt(variance + eps), bias
        if weight is not None:
            self._scale = self._scale * weight
        self.axis, self.rows = source.axis, source.rows

    def _rows(self, begin: int, end: int) -> Tensor:
        """Normalise the rows."""
        x = self._source.read(begin, end)
        scale, mean = self._scale[begin:end], self._mean[begin:end]
        shift = -mean * scale if self._bias is None else self._bias - mean * scale
        scaled = torch.addcmul(shift[..., None, None], x.float(), scale[..., None, None])
        return scaled.to(x.dtype)


def neighbour_weights(slices: int, reach: int) -> Tensor:
    """How much each slice counts in each slice's statistics.

    Args:
        slices: in the stack.
        reach: see `SliceMoments`.

    Returns:
        `(slices, slices)` float32, rows of sum 1, 0 beyond the reach.
    """
    if reach == 0:
        return torch.eye(slices)
    distance = (torch.arange(slices)[:, None] - torch.arange(slices)).abs().float()
    weights = torch.exp(-0.5 * (distance / (reach / 2)) ** 2) * (distance <= reach)
    return weights / weights.sum(dim=1, keepdim=True)


def _moments(piece: Tensor, axes: tuple[int, ...]) -> tuple[Tensor, Tensor]:
    """Variance (of all, not of a sample) and mean, in fp32 whatever the maps are in."""
    variance, mean = torch.var_mean(piece.float(), axes, correction=0)
    return variance, mean
