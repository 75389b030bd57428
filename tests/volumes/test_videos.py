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


def frames_of(path: Path) -> tuple[list[np.ndarray], dict[str, str], Any]:
    with av.open(str(path)) as container:
        frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
        return frames, dict(container.metadata), container.streams.video[0].average_rate


def ramps(count: int, rows: int, columns: int, channels: int) -> list[np.ndarray]:
    """Smooth pictures, each of another brightness; H.264 keeps them nearly."""
    down = np.linspace(60, 120, rows)[:, None, None]
    across = np.linspace(0, 40, columns)[None, :, None]
    tints = np.array([0, 15, 30])[:channels]
    arrays = [(down + across + tints + 15 * i).astype(np.uint8) for i in range(count)]
    return [array[..., 0] for array in arrays] if channels == 1 else arrays


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("size", [(24, 20), (71, 102)])
def test_frames_come_back_in_order_and_even(
    tmp_path: Path, size: tuple[int, int], channels: int
) -> None:
    arrays = ramps(5, *size, channels)
    write_video(tmp_path / "new" / "a.mp4", arrays, rate=8, comment="not acquired")
    frames, metadata, rate = frames_of(tmp_path / "new" / "a.mp4")
    assert len(frames) == 5
    for frame, array in zip(frames, arrays, strict=True):
        assert frame.shape == (size[0] + size[0] % 2, size[1] + size[1] % 2, 3)
        shown = frame[: size[0], : size[1]].astype(int)
        expected = array if array.ndim == 3 else np.repeat(array[..., None], 3, axis=-1)
        assert np.abs(shown - expected).max() <= 8
    assert metadata["comment"] == "not acquired"
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
