"""A generator over a whole volume, a few planes at a time, with the norms of the whole.

Cut into windows, a volume gets as many instance norms as windows, and seams where they meet.
Known ways around it estimate a window's statistics from its neighbours' (Ho et al. 2022,
"Ultra-high-resolution unpaired stain transformation via kernelized instance normalization"; Ho
et al. 2024, "Every pixel has its moments") or from a thumbnail (Chen et al. 2022, "Towards
ultra-resolution neural style transfer via thumbnail instance normalization"). Here they are exact:
the network is gone through layer by layer instead of window by window. Between two norms some
planes and their neighbours give some planes (a halo as wide as the kernels, as Alwani et al. 2016,
"Fused-layer CNN accelerators"); at a norm the planes are kept until all are there, and with them
the mean and variance of the whole. Nothing is computed twice but a few planes' normalisation,
where windows that overlap by half compute everything eight times.

A stack of slices goes the same way through a 2-D network, with statistics that neighbouring
slices share.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from monai.networks.blocks.convolutions import ResidualUnit
from monai.networks.layers.simplelayers import SkipConnection
from monai.networks.nets.unet import UNet
from torch import Tensor, nn

from medstyle_gan.inference.network.arithmetic import arithmetic, refuse_diverged
from medstyle_gan.inference.network.feature_maps import (
    Computed,
    FeatureMaps,
    FeatureMemory,
    Given,
    Padded,
)
from medstyle_gan.inference.network.network import Network, OnProgress
from medstyle_gan.inference.network.statistics import SliceMoments, WholeMoments
from medstyle_gan.networks import ResNetGenerator, UNetGenerator
from medstyle_gan.networks.convolutions import OutputConv, ResizeConv
from medstyle_gan.networks.guided_filter import GuidedFilter
from medstyle_gan.networks.padding import ReflectionPad
from medstyle_gan.networks.precision import at_least_fp32
from medstyle_gan.networks.resnet import Code, ResidualBlock, towards_the_ends
from medstyle_gan.networks.winograd import WinogradConv

_GIBIBYTE = 2**30
_NORMS = (nn.InstanceNorm2d, nn.InstanceNorm3d)
_CONVOLUTIONS = (nn.Conv2d, nn.Conv3d)
_TRANSPOSED = (nn.ConvTranspose2d, nn.ConvTranspose3d)
_POINTWISE = (nn.ReLU, nn.PReLU, nn.LeakyReLU, nn.Tanh, nn.Identity, nn.Dropout)
_OTHERS = (ReflectionPad, OutputConv, ResizeConv, WinogradConv, GuidedFilter)
_NESTED = (
    *(nn.Sequential, ResidualBlock, ResNetGenerator),
    *(UNetGenerator, UNet, SkipConnection, ResidualUnit),
)


def can_stream(module: nn.Module) -> bool:
    """Whether all of a network's layers are known here; compiled ones and others are not."""
    if isinstance(module, (*_CONVOLUTIONS, *_TRANSPOSED)):
        return module.groups == 1 and set(module.dilation) == {1} and module.padding != "same"
    if isinstance(module, (*_NORMS, *_POINTWISE, *_OTHERS)):
        return not module.training
    if isinstance(module, ResNetGenerator):
        return can_stream(module.layers)  # what makes its codes is not in the images' way
    if isinstance(module, SkipConnection) and module.mode != "cat":
        return False
    return isinstance(module, _NESTED) and all(can_stream(m) for m in module.children())


def stream(
    network: Network, images: np.ndarray, on_progress: OnProgress | None = None
) -> np.ndarray:
    """Send a volume or a stack of slices through a generator, a few rows at a time.

    In memory are `inference.feature_memory` of feature maps and what some rows take; the rest
    of the maps is in temporary files.

    Args:
        network: its generator can be streamed, see `can_stream`.
        images: `(1, C, X, Y, Z)` for a 3-D generator, `(N, C, H, W)` for a 2-D one, in [-1, 1],
            in channels and sizes that it takes. Slices are in their order, and share their
            statistics as `inference.slice_statistics` says.
        on_progress: called with the share that is done, in [0, 1].

    Returns:
        `(1 | N, C', *spatial)` float32 in [-1, 1].

    Raises:
        UserError: where the generator gives NaN or infinity, or the disk is full.
    """
    memory = FeatureMemory(network.device, feature_memory_bytes(network))
    walk = Walk(network, memory, on_progress)
    with arithmetic(network.device, network.precision):
        given = Given(images, 2 if images.ndim == 5 else 0, network.device)
        maps = walk.through(network.generator, given)
        channels = network.out_channels * network.data.sample_slices
        translated = np.empty((len(images), channels, *images.shape[2:]), np.float32)
        for begin, end, piece in maps.pieces():
            where = (slice(None),) * maps.axis + (slice(begin, end),)
            translated[where] = piece.float().cpu().numpy()
            walk.report(end / maps.rows)
    refuse_diverged(translated)
    return translated


def feature_memory_bytes(network: Network) -> int:
    """Bytes of feature maps that are kept in memory at most."""
    return int(network.inference.feature_memory * _GIBIBYTE)


class Walk:
    """Goes through a network's layers, each of which makes maps of maps.

    Args:
        network: whose settings say how.
        memory: keeps the maps.
        on_progress: called with the share that is done, in [0, 1].
    """

    def __init__(
        self, network: Network, memory: FeatureMemory, on_progress: OnProgress | None = None
    ) -> None:
        self._memory = memory
        self._reach = network.inference.slice_statistics
        self._on_progress = on_progress
        self._norms_done = 0
        self._codes: Sequence[Code] | None = None
        # Each norm is a pass over all rows, and so is the end.
        self._passes = 1 + sum(isinstance(m, _NORMS) for m in network.generator.modules())

    def report(self, share: float) -> None:
        """Say which share of the present pass is done."""
        if self._on_progress is not None:
            self._on_progress((self._norms_done + share) / self._passes)

    def through(self, module: nn.Module, maps: FeatureMaps) -> FeatureMaps:
        """The maps that a module makes; computed now up to its last norm."""
        if isinstance(module, _NORMS):
            return self._normalized(module, maps)
        if isinstance(module, nn.ReLU):  # not in place: maps may be kept ones
            return Computed([maps], F.relu)
        alone = (*_CONVOLUTIONS, *_TRANSPOSED, *_OTHERS) if maps.axis == 0 else ()
        if isinstance(module, (*_POINTWISE, *alone)):  # each row by itself
            return Computed([maps], module)
        if isinstance(module, ReflectionPad):
            return Padded(maps, module.width, "reflect")
        if isinstance(module, nn.Conv3d):
            return _convolved(module, maps)
        if isinstance(module, OutputConv):
            return _valid(module, module.kernel_size, 1, maps)
        if isinstance(module, ResizeConv):
            padded = Padded(maps, 1, "replicate")
            kernel, bias = module.doubling_kernel(), module.conv.bias
            return _Transposed(
                padded, kernel, bias, stride=2, padding=module.padding, output_padding=0
            )
        if isinstance(module, nn.ConvTranspose3d):
            settings: dict[str, int] = {
                name: getattr(module, name)[0] for name in ("stride", "padding", "output_padding")
            }
            return _Transposed(maps, module.weight, module.bias, **settings)
        return self._nested(module, maps)

    def _nested(self, module: nn.Module, maps: FeatureMaps) -> FeatureMaps:
        if isinstance(module, nn.Sequential):
            for child in module:
                maps = self.through(child, maps)
            return maps
        if isinstance(module, ResNetGenerator):
            self._codes = module.instance_codes()
            if not module.residual and module.guided_filter is None:
                return self.through(module.layers, maps)
            kept = self._memory.keep(maps)
            made = self.through(module.layers, kept)
            if module.residual:
                made = Computed([kept, made], towards_the_ends)
            return self._guided(module.guided_filter, kept, made)
        if isinstance(module, UNetGenerator):
            kept = maps if module.guided_filter is None else self._memory.keep(maps)
            answer = self.through(module.unet.model, kept)
            made = Computed([answer], lambda x: at_least_fp32(x).tanh())
            return self._guided(module.guided_filter, kept, made)
        # What two branches read is computed once.
        kept = self._memory.keep(maps)
        if isinstance(module, ResidualBlock):
            return self._memory.keep(Computed([kept, self.through(module.body, kept)], torch.add))
        if isinstance(module, ResidualUnit):
            branches = [self.through(module.residual, kept), self.through(module.conv, kept)]
            return Computed(branches, torch.add)
        assert isinstance(module, SkipConnection)  # see `can_stream`
        branches = [kept, self.through(module.submodule, kept)]
        return Computed(branches, lambda *both: torch.cat(both, dim=module.dim))

    def _guided(
        self, layer: GuidedFilter | None, guide: FeatureMaps, made: FeatureMaps
    ) -> FeatureMaps:
        """What a network's last layer, where it has one, makes of its input and its answer."""
        if layer is None:
            return made
        if made.axis == 0:  # each slice by itself
            return Computed([guide, made], layer)
        reach = layer.reach
        # Neighbouring rows need the same ones: they are not computed anew for each.
        sources = [Padded(x, reach, "replicate") for x in (guide, self._memory.keep(made))]
        return Computed(
            sources,
            layer.valid,
            rows=made.rows,
            needs=lambda begin, end: (begin, end + 2 * reach),
        )

    def _normalized(self, layer: Any, maps: FeatureMaps) -> FeatureMaps:
        moments = WholeMoments() if maps.axis else SliceMoments(self._reach)

        def look(begin: int, end: int, piece: Tensor) -> None:
            moments.add(piece)
            self.report(end / maps.rows)

        kept = self._memory.keep(maps, look)
        code = (layer.weight, layer.bias)
        if self._codes is not None:
            code = self._codes[self._norms_done]
        self._norms_done += 1
        return moments.normalized(kept, layer.eps, *code)


def _convolved(layer: nn.Conv3d, maps: FeatureMaps) -> FeatureMaps:
    width = layer.padding[0]
    padded = Padded(maps, int(width), "zeros") if width else maps

    def convolve(x: Tensor) -> Tensor:
        return F.conv3d(x, layer.weight, layer.bias, layer.stride)

    return _valid(convolve, layer.kernel_size[0], layer.stride[0], padded)


def _valid(
    function: Callable[[Tensor], Tensor], width: int, stride: int, maps: FeatureMaps
) -> FeatureMaps:
    """What a convolution without padding makes of padded maps."""
    return Computed(
        [maps],
        function,
        rows=(maps.rows - width) // stride + 1,
        needs=lambda begin, end: (begin * stride, (end - 1) * stride + width),
    )


class _Transposed(FeatureMaps):
    """What a transposed convolution makes of a volume's maps.

    Row r of them is a sum over rows (r + padding - tap) / stride of the source.
    """

    def __init__(
        self,
        source: FeatureMaps,
        kernel: Tensor,
        bias: Tensor | None,
        stride: int,
        padding: int,
        output_padding: int,
    ) -> None:
        self._source, self._kernel, self._bias = source, kernel, bias
        self._stride, self._padding, self._output_padding = stride, padding, output_padding
        self.axis = source.axis
        self.rows = (source.rows - 1) * stride - 2 * padding + kernel.shape[2] + output_padding

    def _rows(self, begin: int, end: int) -> Tensor:
        """Compute the rows, and cut off those that other rows would add to."""
        stride, padding, more = self._stride, self._padding, self._output_padding
        first = max(-((self._kernel.shape[2] - 1 - begin - padding) // stride), 0)
        last = min((end - 1 + padding) // stride, self._source.rows - 1)
        made = F.conv_transpose3d(
            self._source.read(first, last + 1),
            self._kernel,
            self._bias,
            stride,
            (0, padding, padding),
            (0, more, more),
        )
        start = begin + padding - stride * first
        return made[:, :, start : start + end - begin]
