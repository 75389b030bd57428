"""The networks of a bundle, whatever its format, on a device and in a precision."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import nn

from medstyle_gan.errors import UserError
from medstyle_gan.inference.bundles.bundle import Bundle
from medstyle_gan.inference.bundles.generators import refuse_undirected, restore_generators
from medstyle_gan.inference.bundles.onnx_graphs import OnnxGenerator
from medstyle_gan.inference.network.arithmetic import resolve_device
from medstyle_gan.networks.precision import Precision, resolve_precision


@dataclass(frozen=True)
class Networks:
    """Generators that are ready to translate.

    Attributes:
        generators: direction → generator in evaluation mode.
        device: where batches go.
        precision: arithmetic.
    """

    generators: dict[str, nn.Module]
    device: torch.device
    precision: Precision


def load_networks(
    bundle: Bundle, device: str, precision: Literal["auto", "fp32", "bf16"]
) -> Networks:
    """Make a bundle's generators.

    Args:
        bundle: with weights, or with ONNX graphs, which compute in fp32 and by default on the
            CPU.
        device: `auto` (a GPU where there is one), `cpu`, `cuda`, `cuda:1`, …
        precision: `auto` takes bf16 where the hardware multiplies it natively.

    Raises:
        UserError: for a device or precision that cannot be had here, weights that do not fit
            the bundle's config, graphs where onnxruntime is missing, and a model that translates
            nothing by itself.
    """
    refuse_undirected(bundle)
    if not bundle.graphs:
        place = resolve_device(device)
        return Networks(
            {d: generator.to(place) for d, generator in restore_generators(bundle).items()},
            place,
            resolve_precision(precision, place),
        )
    if precision == "bf16":
        raise UserError(
            "precision bf16: an ONNX model computes in fp32; take auto or fp32, or export the "
            "model as safetensors"
        )
    place = resolve_device("cpu" if device == "auto" else device)
    return Networks(
        {d: OnnxGenerator(bundle.graphs[d], place.type).eval() for d in bundle.directions},
        place,
        "fp32",
    )
