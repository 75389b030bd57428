"""Patches that stay recognisable: PatchNCE (Park et al. 2020), an InfoNCE of places in an image.

"Contrastive learning for unpaired image-to-image translation", ECCV 2020; InfoNCE of van den Oord
et al. 2018.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from medstyle_gan.networks.precision import at_least_fp32


def patch_nce(queries: Tensor, keys: Tensor, temperature: float = 0.07) -> Tensor:
    """How surely each place of a translation is told from all other places by its scan's.

    The cross-entropy of N classes, of which place i's is i:
    −mean_i log( exp(q_i·k_i / τ) / Σ_j exp(q_i·k_j / τ) ), in fp32.

    Args:
        queries: of a translation's places `(N, D)`, of length 1.
        keys: of the same places of its scan; no gradient flows to them.
        temperature: τ.

    Returns:
        A scalar, at least 0; log N where nothing is told from anything.
    """
    with torch.autocast(queries.device.type, enabled=False):
        likeness = at_least_fp32(queries) @ at_least_fp32(keys.detach()).mT
        places = torch.arange(len(queries), device=queries.device)
        return F.cross_entropy(likeness / temperature, places)
