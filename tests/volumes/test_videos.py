"""MP4s, read back frame by frame."""

from __future__ import annotations

import builtins
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from medstyle_gan.errors import UserError
from medstyle_gan.volumes import write_video

av = pytest.importorskip("av", reason="PyAV is not installed (extra video)")


def frames_of(path: Path) -> tuple[list[np.ndarray], Any]:
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
        aspect, rate = stream.sample_aspect_ratio, stream.average_rate
        return frames, (container.metadata, aspect, rate)


def ramps(count: int, rows: int, columns: int, channels: int) -> list[np.ndarray]:
    """Smooth pictures, each of another brightness; H.264 keeps them nearly."""
    down = np.linspace(60, 120, rows)[:, None, None]
    across = np.linspace(0, 40, columns)[None, :, None]
    tints = np.array([0, 15, 30])[:channels]
    arrays = [(down + across + tints + 15 * i).astype(np.uint8) for i in range(count)]
    return [array[..., 0] for array in arrays] if channels == 1 else arrays


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("size", [(24, 20), (270, 301)])
def test_frames_come_back_in_order_enlarged_and_even(
    tmp_path: Path, size: tuple[int, int], channels: int
) -> None:
    arrays = ramps(5, *size, channels)
    write_video(tmp_path / "new" / "a.mp4", arrays, rate=8, aspect=2.0, comment="not acquired")
    frames, (metadata, aspect, rate) = frames_of(tmp_path / "new" / "a.mp4")
    assert len(frames) == 5
    times = 13 if size == (24, 20) else 1  # the least whole number that gives 256 pixels
    rows, columns = (side * times + side * times % 2 for side in size)
    for frame, array in zip(frames, arrays, strict=True):
        assert frame.shape == (rows, columns, 3)
        shown = frame[times // 2 : size[0] * times : times, times // 2 : size[1] * times : times]
        expected = array if array.ndim == 3 else np.repeat(array[..., None], 3, axis=-1)
        assert np.abs(shown.astype(int) - expected).max() <= 8
    assert metadata["comment"] == "not acquired"
    assert float(aspect) == 0.5  # width over height of a pixel that is twice as tall as wide
    assert rate == 8


def test_the_same_pictures_make_the_same_bytes(tmp_path: Path) -> None:
    for name in ("a.mp4", "b.mp4"):
        write_video(tmp_path / name, ramps(3, 24, 20, 3))
    assert (tmp_path / "a.mp4").read_bytes() == (tmp_path / "b.mp4").read_bytes()


def test_a_video_needs_its_ending_and_pictures_of_bytes(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"written as \.mp4"):
        write_video(tmp_path / "a.avi", ramps(1, 24, 20, 1))
    with pytest.raises(ValueError, match="needs a picture"):
        write_video(tmp_path / "a.mp4", [])
    with pytest.raises(ValueError, match="uint8"):
        write_video(tmp_path / "a.mp4", [np.zeros((8, 8))])
    assert not list(tmp_path.iterdir())


def test_without_the_library_the_message_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = builtins.__import__

    def without_av(name: str, *rest: Any, **more: Any) -> Any:
        if name == "av":
            raise ImportError(name)
        return real(name, *rest, **more)

    monkeypatch.setattr(builtins, "__import__", without_av)
    with pytest.raises(UserError, match=r"pip install 'medstyle-gan\[video\]'"):
        write_video(tmp_path / "a.mp4", ramps(1, 24, 20, 1))
    assert not list(tmp_path.iterdir())
