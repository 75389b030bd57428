"""Writes MP4 videos (H.264, which every browser and slide program plays) of slices."""

from __future__ import annotations

import os
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path
from types import ModuleType

import numpy as np

from medstyle_gan.errors import UserError
from medstyle_gan.volumes.atomic import atomic_file

VIDEO_SUFFIX = ".mp4"
# x264's constant quality: differences from the pictures are hardly seen.
_OPTIONS = {"crf": "14", "preset": "medium"}


def require_av() -> ModuleType:
    """PyAV, whose wheels bring FFmpeg's libraries with them.

    Raises:
        UserError: It is not installed.
    """
    try:
        import av
    except ImportError as error:
        raise UserError(
            "MP4 needs PyAV, which is not installed: pip install 'medstyle-gan[video]'"
        ) from error
    return av


def write_video(
    path: str | os.PathLike[str], arrays: Sequence[np.ndarray], rate: int = 10, comment: str = ""
) -> None:
    """Writes an MP4 that shows pictures one after the other, whole or not at all.

    An odd side gets one more row or column, a copy of its last one, as H.264 wants even ones.
    Colours are coded at half the resolution: small pictures are better enlarged before.

    Args:
        path: Ends in `.mp4`; the folder is made if it is missing.
        arrays: (H, W), (H, W, 1) or (H, W, 3) uint8, row 0 on top, all of one size.
        rate: Pictures a second.
        comment: What the file says of itself.

    Raises:
        UserError: The name does not end in `.mp4`, PyAV is not installed, the folder is not
            writable, or the disk full.
        ValueError: Another shape or type, or no picture.
    """
    path = Path(path)
    if path.suffix.lower() != VIDEO_SUFFIX:
        raise UserError(f"{path}: a video is written as .mp4; change the file's ending")
    if not len(arrays):
        raise ValueError("a video needs a picture")
    av = require_av()
    frames = [_frame(array) for array in arrays]
    height, width = frames[0].shape[:2]
    encoded = BytesIO()
    with av.open(encoded, "w", format="mp4") as container:
        container.metadata["comment"] = comment
        stream = container.add_stream("libx264", rate=rate, options=_OPTIONS)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        stream.codec_context.thread_count = 1  # the same bytes on every machine
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode())
    with atomic_file(path) as file:
        file.write(encoded.getbuffer())


def _frame(array: np.ndarray) -> np.ndarray:
    """(rows, columns, 3) uint8 with even sides."""
    array = np.asarray(array)
    array = array[..., None] if array.ndim == 2 else array
    if array.ndim != 3 or array.dtype != np.uint8 or array.shape[2] not in (1, 3):
        raise ValueError(f"a frame is (H, W, 1|3) uint8, not {array.shape} {array.dtype}")
    rows, columns = array.shape[:2]
    even = np.pad(array, ((0, rows % 2), (0, columns % 2), (0, 0)), mode="edge")
    return np.ascontiguousarray(np.broadcast_to(even, (*even.shape[:2], 3)))
