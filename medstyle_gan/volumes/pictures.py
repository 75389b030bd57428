"""Reads PNG and JPEG pictures as they are meant to be seen, and writes them, and GIFs."""

from __future__ import annotations

import os
import warnings
from collections.abc import Mapping, Sequence
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError
from PIL.PngImagePlugin import PngInfo

from medstyle_gan.errors import UserError
from medstyle_gan.volumes.atomic import atomic_file
from medstyle_gan.volumes.checks import unchanged
from medstyle_gan.volumes.volume import Picture

PICTURE_SUFFIXES = (".png", ".jpg", ".jpeg")
# Nearly lossless: the highest that Pillow advises, and colour in full resolution.
_JPEG_OPTIONS = {"quality": 95, "subsampling": 0}


def read_picture(path: str | os.PathLike[str]) -> Picture:
    """Reads a picture.

    Grey stays one channel (8 or 16 bits), 16-bit colour becomes 8-bit; palettes and CMYK
    become RGB; transparent parts lie over white; a camera's rotation mark is obeyed. Colour
    profiles are not applied.

    Raises:
        UserError: Missing, empty, truncated, animated, far too large, changing meanwhile, or
            not PNG or JPEG (GIF, for one).
    """
    path = Path(path)
    try:
        with unchanged([path]), warnings.catch_warnings():
            # Pillow only warns of a decompression bomb until it is twice that size.
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(path, formats=("PNG", "JPEG")) as image:
                frames = getattr(image, "n_frames", 1)
                if frames > 1 and image.format == "PNG":  # JPEG's further frames are previews
                    raise UserError(
                        f"{path}: is an animation of {frames} frames; save one as a picture"
                    )
                image.load()
                array = _as_seen(ImageOps.exif_transpose(image))
    except FileNotFoundError as error:
        raise UserError(f"{path}: there is no such file; check the path") from error
    except IsADirectoryError as error:
        raise UserError(f"{path}: is a folder, where a picture is needed") from error
    except PermissionError as error:
        raise UserError(f"{path}: may not be read; change its permissions") from error
    except UnidentifiedImageError as error:
        what = "is empty (0 bytes)" if path.stat().st_size == 0 else "is neither PNG nor JPEG"
        raise UserError(f"{path}: {what}; save the picture as PNG or JPEG") from error
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise UserError(
            f"{path}: has more than {Image.MAX_IMAGE_PIXELS:,} pixels; make it smaller first"
        ) from error
    except (OSError, SyntaxError, ValueError) as error:  # Pillow has no error of its own for these
        raise UserError(
            f"{path}: is truncated or damaged ({error}); copy or save the picture again"
        ) from error
    return Picture(array, 65535.0 if array.dtype == np.uint16 else 255.0, path)


def write_picture(
    path: str | os.PathLike[str], array: np.ndarray, text: Mapping[str, str] | None = None
) -> None:
    """Writes a PNG or JPEG, whole or not at all, with no metadata but what is given.

    Args:
        path: Ends in `.png`, `.jpg` or `.jpeg` (lossy); the folder is made if it is missing.
        array: (H, W, 1), (H, W, 3) or (H, W), uint8, row 0 on top; for PNG also grey uint16.
        text: Keyword → text of a PNG's text chunks (a JPEG has none).

    Raises:
        UserError: Another ending, the folder is not writable, or the disk full.
        ValueError: Another shape or type.
    """
    path = Path(path)
    if path.suffix.lower() not in PICTURE_SUFFIXES:
        raise UserError(
            f"{path}: a picture is written as {', '.join(PICTURE_SUFFIXES)}; change the file's "
            "ending"
        )
    png = path.suffix.lower() == ".png"
    # Encoded in memory: given a file, Pillow's encoder hides that the disk was full.
    encoded = encode_png(array, text) if png else _encode_jpeg(array)
    with atomic_file(path) as file:
        file.write(encoded)


def encode_png(array: np.ndarray, text: Mapping[str, str] | None = None) -> bytes:
    """A picture as the bytes of a PNG.

    Args:
        array: As for `write_picture`.
        text: Keyword → text of its text chunks.

    Raises:
        ValueError: Another shape or type.
    """
    chunks = PngInfo()
    for keyword, words in (text or {}).items():
        chunks.add_itxt(keyword, words)
    encoded = BytesIO()
    _image(array, deep=True).save(encoded, format="PNG", pnginfo=chunks)
    return encoded.getvalue()


def _encode_jpeg(array: np.ndarray) -> bytes:
    encoded = BytesIO()
    _image(array, deep=False).save(encoded, format="JPEG", **_JPEG_OPTIONS)
    return encoded.getvalue()


def _image(array: np.ndarray, deep: bool) -> Image.Image:
    """Pillow's image of an array; `deep` allows grey uint16."""
    array = np.asarray(array)
    if array.ndim == 3 and array.shape[2] == 1:
        array = array[..., 0]
    deep = deep and array.dtype == np.uint16 and array.ndim == 2
    shaped = array.ndim == 2 or array.shape[2:] == (3,)
    if not deep and (array.dtype != np.uint8 or not shaped):
        raise ValueError(f"a picture is (H, W, 1|3) uint8, not {array.shape} {array.dtype}")
    return Image.fromarray(np.ascontiguousarray(array))


def write_animation(
    path: str | os.PathLike[str],
    arrays: Sequence[np.ndarray],
    milliseconds: int = 100,
    comment: str = "",
) -> None:
    """Writes a GIF that shows pictures one after the other without end, whole or not at all.

    Args:
        path: Ends in `.gif`; the folder is made if it is missing.
        arrays: As for `write_picture`, all of one shape. Colours are reduced to 256 a picture.
        milliseconds: How long each is shown.
        comment: What the file says of itself.

    Raises:
        UserError: The name does not end in `.gif`, the folder is not writable, or the disk full.
        ValueError: Another shape or type, or no picture.
    """
    path = Path(path)
    if path.suffix.lower() != ".gif":
        raise UserError(f"{path}: an animation is written as .gif; change the file's ending")
    if not len(arrays):
        raise ValueError("an animation needs a picture")
    first, *others = [_image(array, deep=False) for array in arrays]
    encoded = BytesIO()
    first.save(
        encoded,
        format="GIF",
        save_all=True,
        append_images=others,
        duration=milliseconds,
        loop=0,
        comment=comment.encode(),
    )
    with atomic_file(path) as file:
        file.write(encoded.getbuffer())


def _as_seen(image: Image.Image) -> np.ndarray:
    """(H, W, 1|3) uint8 or uint16."""
    if image.mode.startswith("I"):  # 16-bit grey, whose mode's name depends on Pillow's version
        return np.asarray(image).astype(np.uint16)[..., None]
    grey = image.mode in ("1", "L", "LA", "La")
    if image.has_transparency_data:
        layer = image.convert("RGBA")
        image = Image.new("RGBA", layer.size, "white")
        image.alpha_composite(layer)
    array = np.asarray(image.convert("RGB"))
    return array[..., :1].copy() if grey else array.copy()
