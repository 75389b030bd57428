"""What is known of a batch's images beside their voxels."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from torch import Tensor

_DOMAINS = ("scan", "style")


@dataclass(frozen=True)
class BatchFacts:
    """Facts of a batch's images, as far as a training asks for them.

    Attributes:
        masks: domain → bool `(B, 1 or slices, *spatial)`, where the body is.
        heights: domain → `(B,)` relative heights in the body, in [0, 1].
        pair_weight: `(B, 1 or slices, *spatial)` in [0, 1], where the style image of a declared
            pair shows what the scan shows; None without pairs.
    """

    masks: Mapping[str, Tensor] = field(default_factory=dict)
    heights: Mapping[str, Tensor] = field(default_factory=dict)
    pair_weight: Tensor | None = None

    @classmethod
    def of(cls, batch: Mapping[str, Tensor]) -> BatchFacts:
        """Those that stand in a batch as `scan_mask`, `scan_height`, ..., `pair_weight`."""
        found = {
            kind: {d: batch[f"{d}_{kind}"] for d in _DOMAINS if f"{d}_{kind}" in batch}
            for kind in ("mask", "height")
        }
        return cls(found["mask"], found["height"], batch.get("pair_weight"))


NOTHING = BatchFacts()
