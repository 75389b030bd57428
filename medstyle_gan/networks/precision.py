"""The arithmetic of the networks, and leaving it where sums are taken or images given out."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

Precision = Literal["fp32", "bf16"]

# Instruction sets that multiply bfloat16 natively; others convert, which is slower than fp32.
_NATIVE_ON_CPU = ("avx512_bf16", "amx_bf16")


def resolve_precision(
    precision: Literal["auto", "fp32", "bf16"], device: torch.device
) -> Precision:
    """Choose the arithmetic of a device.

    Args:
        precision: what was asked for; `auto` takes bf16 where the hardware multiplies it
            natively and fp32 elsewhere.
        device: where the networks run.

    Returns:
        `fp32` or `bf16`.
    """
    if precision != "auto":
        return precision
    if device.type == "cuda":
        native = torch.cuda.is_bf16_supported(including_emulation=False)
    elif device.type == "cpu":
        capabilities = torch.cpu.get_capabilities()
        native = any(capabilities.get(name, False) for name in _NATIVE_ON_CPU)
    else:
        native = False
    return "bf16" if native else "fp32"


def at_least_fp32(x: Tensor) -> Tensor:
    """Give half and bfloat16 tensors fp32's range and precision; leave others as they are."""
    return x.to(torch.promote_types(x.dtype, torch.float32))
