"""A picture through a generator: a picture of the same size comes out."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

from medstyle_gan.data.intensity import FittedScale
from medstyle_gan.data.preprocessing import display_image, prepare_picture, to_slices
from medstyle_gan.data.words import Direction
from medstyle_gan.inference.network.network import Network
from medstyle_gan.inference.network.stacks import translate_stack
from medstyle_gan.inference.quantization import quantize
from medstyle_gan.inference.structure import with_structure_of
from medstyle_gan.inference.translation import Translation, count_clipped
from medstyle_gan.methods.affine_structure import gradient_correlation
from medstyle_gan.volumes import Picture, read_picture

# A colour style is made of 8-bit RGB pictures, and NIfTI's RGB is 8-bit too.
COLOUR_SCALE = FittedScale(center=127.5, half_range=127.5, clip=True)


def translate_picture(
    network: Network, picture: Picture | str | Path, direction: Direction
) -> Translation[np.ndarray]:
    """Translate a picture, resized to what the training saw and back.

    Args:
        network: the direction's generator.
        picture: a picture or its file.
        direction: which way.

    Returns:
        `(H, W, 1 | 3)` uint8 with row 0 at the top, black and white being the ends of the
        intensity scale.

    Raises:
        UserError: for an unusable picture.
    """
    picture = picture if isinstance(picture, Picture) else read_picture(picture)
    prepared = prepare_picture(picture, network.data)
    unit = translate_stack(network, to_slices(prepared.array, "axial"), -1.0)
    upright = np.atleast_3d(display_image(unit[0]))
    resized = F.interpolate(
        torch.from_numpy(np.ascontiguousarray(np.moveaxis(upright, -1, 0)))[None],
        size=picture.array.shape[:2],
        mode="bilinear",
        antialias=True,
    )
    correlation: float | None = None
    if network.inference.structure == "preserved":
        own = np.moveaxis(prepared.scale.to_unit(picture.array.astype(np.float32)), -1, 0)
        content = torch.from_numpy(np.ascontiguousarray(own))[None]
        resized = with_structure_of(content, resized, network.inference)
        correlation = gradient_correlation(content, resized)
    native = COLOUR_SCALE.from_unit(np.moveaxis(resized[0].numpy(), 0, -1))
    pixels, beyond = quantize(native, np.dtype(np.uint8))
    return Translation(
        image=pixels,
        direction=direction,
        input_scale=prepared.scale,
        output_scale=COLOUR_SCALE,
        background=None,
        clipped=count_clipped(picture.array, prepared.scale, beyond),
        gradient_correlation=correlation,
    )
