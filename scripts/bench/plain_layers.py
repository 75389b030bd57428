"""Networks as a textbook writes them: torch's own layers where ours compute the same cheaper."""

from __future__ import annotations

import copy
from typing import Any

from torch import nn

from medstyle_gan.networks.convolutions import OutputConv, ResizeConv
from medstyle_gan.networks.normalization import INSTANCE_NORM
from medstyle_gan.networks.padding import ReflectionPad

_REFLECTION: dict[int, Any] = {2: nn.ReflectionPad2d, 3: nn.ReflectionPad3d}
_REPLICATION: dict[int, Any] = {2: nn.ReplicationPad2d, 3: nn.ReplicationPad3d}
_NORM: dict[int, Any] = {2: nn.InstanceNorm2d, 3: nn.InstanceNorm3d}


def with_plain_layers(network: nn.Module, dims: int) -> nn.Module:
    """A copy that gives the same images from weights of its own.

    Args:
        network: a generator or discriminator of ours.
        dims: 2 or 3 spatial dimensions.
    """
    return _replaced(copy.deepcopy(network), dims)


def _replaced(module: nn.Module, dims: int) -> nn.Module:
    if isinstance(module, ResizeConv):
        doubling = nn.Upsample(scale_factor=2, mode=module.mode)
        return nn.Sequential(doubling, _REPLICATION[dims](1), module.conv)
    if isinstance(module, OutputConv):
        return module.conv
    if isinstance(module, ReflectionPad):
        reflection: nn.Module = _REFLECTION[dims](module.width)
        return reflection
    if isinstance(module, INSTANCE_NORM[dims]):
        norm: nn.Module = _NORM[dims](module.num_features, eps=module.eps)
        return norm
    for name, child in list(module.named_children()):
        setattr(module, name, _replaced(child, dims))
    return module
