"""A region of interest that stays faithful within a bound, while the rest steps back.

In its own units the region keeps every voxel but for an emphasis of local contrast (unsharp
masking: what a voxel has more or less than the mean around it), cut off at the bound. The bound is
looked at again in what is written, after rounding.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor

from medstyle_gan.config import Config
from medstyle_gan.config.highlight_section import HighlightConfig
from medstyle_gan.errors import UserError
from medstyle_gan.inference.quantization import quantize
from medstyle_gan.inference.saliency import default_window, propose_region, style_saliency
from medstyle_gan.networks import VGG19Features

_DEFAULT_SHARE = 20  # the bound is the intensity range over this
_AMBER = (1.0, 0.5, -1.0)


@dataclass(frozen=True, eq=False)
class Highlight:
    """A region of interest in the slices of an image.

    Attributes:
        settings: `stylize.highlight`.
        region: bool `(N, H, W)`, the right way up.
        proposed: whether saliency chose it.
        bound: most that a voxel of it may change by, in native units.
        half_range: native units of 1 in [-1, 1].
    """

    settings: HighlightConfig
    region: np.ndarray
    proposed: bool
    bound: float
    half_range: float

    @property
    def rest(self) -> np.ndarray:
        """Bool `(N, H, W)`: all but the region."""
        return ~self.region

    def muted(self, contents: Tensor) -> Tensor:
        """`(N, C, H, W)` in [-1, 1], darker; black stays black."""
        return (contents + 1) * (1 - self.settings.muting) - 1

    def draw_outline(self, images: Tensor, faded: Tensor | None = None) -> None:
        """Draw the line around the region, outside it: white, or amber in colour.

        A black one lies around it, so that it is seen on every ground.

        Args:
            images: `(N, C, H, W)` in [-1, 1], drawn in.
            faded: `(N, 1, H, W)`, how much of them is written; becomes 1 at the line.
        """
        if not self.settings.outline:
            return
        cross = ndimage.generate_binary_structure(2, 1)[None]
        width = self.settings.outline
        inner, outer = (
            torch.from_numpy(ndimage.binary_dilation(self.region, cross, iterations=n))
            for n in (width, 2 * width)
        )
        region = torch.from_numpy(self.region)
        colour = _AMBER if images.shape[1] == 3 else (1.0,)
        for channel, value in enumerate(colour):
            images[:, channel][outer & ~region] = -1.0
            images[:, channel][inner & ~region] = value
        if faded is not None:
            faded[:, 0][outer & ~region] = 1.0

    def emphasis(self, contents: Tensor) -> np.ndarray:
        """What the region gets on top, `(N, H, W)` in native units, 0 outside it.

        Args:
            contents: `(N, C, H, W)` in [-1, 1].
        """
        if not self.settings.emphasis:
            return np.zeros(self.region.shape)
        grey = contents.mean(dim=1).double().numpy()
        width = max(2.0, min(grey.shape[1:]) / 32)
        detail = grey - ndimage.gaussian_filter(grey, (0, width, width))
        added = self.settings.emphasis * self.half_range * detail
        limited: np.ndarray = np.clip(added, -self.bound, self.bound) * self.region
        return limited

    def in_units(
        self,
        own: np.ndarray,
        rest: np.ndarray,
        region: np.ndarray,
        added: np.ndarray,
        dtype: np.dtype,
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """A grey volume with its region, as it is written, and what the sidecar says.

        Args:
            own: `(X, Y, Z)` as it was, in native units.
            rest: what the rest becomes, likewise.
            region: bool, likewise.
            added: the emphasis, likewise.
            dtype: what is written.

        Raises:
            UserError: the type cannot hold the region within the bound.
        """
        values = rest.copy()
        limit = np.floor(self.bound)  # so that rounding to whole numbers breaks no bound
        if dtype.kind == "f":
            top = np.asarray(np.abs(own[region]).max() + self.bound, dtype)
            limit = max(0.0, self.bound - float(np.spacing(top)))
        values[region] = own[region] + np.clip(added[region], -limit, limit)
        array, _ = quantize(values, dtype)
        return array, self._facts(_largest_change(own, array, region, self.bound))

    def in_levels(
        self, own: np.ndarray, rest: np.ndarray, region: np.ndarray, added: np.ndarray
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """The same of 8-bit pictures and colour, compared with the image as 8 bits show it.

        Args:
            own: `(..., C)` as it was, in grey levels of 255.
            rest: what the rest becomes, likewise.
            region: bool `(...)`.
            added: the emphasis `(...)`, in native units.
        """
        per_unit = 127.5 / self.half_range
        byte = np.dtype(np.uint8)
        shown, _ = quantize(own, byte)
        values = rest.copy()
        bound, levels = self.bound * per_unit, added[region][..., None] * per_unit
        limit = np.floor(bound)
        values[region] = shown[region] + np.clip(levels, -limit, limit)
        array, _ = quantize(values, byte)
        return array, self._facts(_largest_change(shown, array, region, bound) / per_unit)

    def _facts(self, largest: float) -> dict[str, Any]:
        return {
            "region": "proposed by saliency" if self.proposed else "mask",
            "voxels": int(self.region.sum()),
            "bound": self.bound,
            "largest_change": largest,
            "rest": self.settings.rest,
        }


def find_highlight(
    config: Config,
    contents: Tensor,
    body: np.ndarray,
    masks: list[np.ndarray],
    half_range: float,
    device: torch.device,
) -> Highlight | None:
    """The region of interest: the mask, or what stands out; None where none is asked for.

    Args:
        config: its `stylize.highlight`, `loss.style.layers` and `vgg` are used.
        contents: `(N, C, H, W)` in [-1, 1].
        body: bool `(N, H, W)`.
        masks: bool `(N, H, W)`, at most one.
        half_range: native units of 1 in [-1, 1].
        device: where the VGG-19 computes.

    Raises:
        UserError: several masks, nothing stands out, or the region leaves no rest.
    """
    settings = config.stylize.highlight
    if settings.region == "off":
        return None
    if len(masks) > 1:
        raise UserError(
            f"{len(masks)} masks given, but stylize.highlight has one region of interest; give one "
            "mask that holds all of it"
        )
    if masks:
        region = masks[0]
    else:
        size = contents.shape[2:]
        window = settings.window or default_window(size)
        vgg = VGG19Features(config.vgg.weights, config.loss.style.layers).to(device)
        inside = torch.from_numpy(body.astype(np.float32))[:, None]
        saliency = style_saliency(contents, inside, vgg, window, device)
        margin = min(size) // 10 if settings.margin is None else settings.margin
        region = propose_region(saliency, body, settings.share, settings.regions, margin)
    if not (body & ~region).any():
        raise UserError(
            "stylize.highlight: the region of interest covers the whole body, so there is no rest "
            "to step back; give a smaller --mask"
        )
    bound = 2 * half_range / _DEFAULT_SHARE if settings.bound is None else settings.bound
    return Highlight(settings, region, not masks, bound, half_range)


def _largest_change(
    own: np.ndarray, written: np.ndarray, region: np.ndarray, bound: float
) -> float:
    """How much the region's voxels changed at most, as written; beyond the bound it is refused."""
    change = np.abs(written[region].astype(np.float64) - own[region].astype(np.float64))
    largest = float(change.max())
    # A float64 scan may have values that float32 cannot hold.
    precision = 0.0
    if written.dtype.kind == "f":
        precision = float(np.spacing(np.abs(written[region]).max()))
    if largest > bound + precision:
        raise UserError(
            f"the region of interest would change by {largest:g}, beyond the bound of {bound:g}, "
            f"when it is written as {written.dtype}; leave inference.dtype at auto, or raise "
            "stylize.highlight.bound"
        )
    return largest
