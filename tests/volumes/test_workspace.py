from __future__ import annotations

import gc
import mmap
from pathlib import Path

import numpy as np
import pytest

from medstyle_gan.errors import UserError
from medstyle_gan.volumes import workspace as module
from medstyle_gan.volumes.workspace import Workspace, copy_in_blocks, release, slabs, slow_axis


def file_of(array: np.ndarray) -> mmap.mmap | None:
    owner: object = array
    while isinstance(owner, np.ndarray):
        owner = owner.base
    return owner if isinstance(owner, mmap.mmap) else None


def resident(array: np.ndarray) -> int:
    """KiB of a file-backed array that are in this process's memory, as the kernel counts them."""
    start = f"{array.__array_interface__['data'][0]:x}-"
    lines = iter(Path("/proc/self/smaps").read_text().splitlines())
    assert any(line.startswith(start) for line in lines)
    return next(int(line.split()[1]) for line in lines if line.startswith("Rss:"))


def test_arrays_lie_in_memory_until_it_is_used_up_and_again_when_it_is_free(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path, memory=1000)
    first = workspace.empty((100, 8), np.uint8)
    view = first[3:, ::2]
    second = workspace.empty((100, 3), np.uint8)
    assert file_of(first) is None
    assert file_of(second) is not None
    del first
    gc.collect()
    assert file_of(workspace.empty((300,), np.uint8)) is not None  # the view still holds it
    del view
    gc.collect()
    assert file_of(workspace.empty((800,), np.uint8)) is None
    assert file_of(Workspace().empty((5,), np.uint8)) is None


def test_files_have_no_name_and_their_space_comes_back(tmp_path: Path) -> None:
    def free() -> int:
        return len(list(Path("/proc/self/map_files").iterdir()))

    before = free()
    array = Workspace(tmp_path, memory=0).full((4, 5, 6), np.float32, 2.5, slowest=2)
    assert (array == 2.5).all()
    assert list(tmp_path.iterdir()) == []
    assert free() == before + 1
    del array
    gc.collect()
    assert free() == before


@pytest.mark.parametrize("slowest", [None, 0, 1, 2])
def test_slices_along_the_slowest_axis_lie_in_one_piece(
    tmp_path: Path, slowest: int | None
) -> None:
    for workspace in (Workspace(), Workspace(tmp_path, memory=0)):
        array = workspace.empty((3, 4, 5), np.int16, slowest)
        assert array.shape == (3, 4, 5)
        axis = slowest or 0
        assert slow_axis(array) == axis
        assert np.take(array, 1, axis).nbytes == array.strides[axis]


def test_released_pages_are_no_longer_resident_and_keep_their_values(tmp_path: Path) -> None:
    array = Workspace(tmp_path, memory=0).empty((1 << 20,), np.uint8)
    array[:] = 7
    assert resident(array) == 1024
    release(array[5:].reshape(-1, 1))  # through a view of a view
    assert resident(array) == 0
    assert (array == 7).all()
    release(np.zeros(3))  # others are left alone


@pytest.mark.parametrize("multiple", [1, 3])
@pytest.mark.parametrize("axis", [0, 1, 2])
def test_slabs_cover_an_array_once_and_stay_small(
    axis: int, multiple: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "SLAB_VOXELS", 100)
    count = np.zeros((6, 7, 8), int)
    for slab in slabs(count.shape, axis, multiple):
        count[slab] += 1
        thickness = slab[axis].stop - slab[axis].start
        assert count[slab].size <= 100 or thickness <= multiple
        assert slab[axis].start % multiple == 0
    assert (count == 1).all()


def test_copying_in_blocks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SLAB_VOXELS", 10)
    source = Workspace(tmp_path, memory=0).empty((4, 5, 6), np.int16, slowest=1)
    source[...] = np.arange(120).reshape(4, 5, 6)
    out = np.empty((6, 5, 4), np.float32)
    copy_in_blocks(out, source.transpose(2, 1, 0)[::-1])
    np.testing.assert_array_equal(out, np.arange(120).reshape(4, 5, 6).transpose(2, 1, 0)[::-1])


def test_a_disk_without_space_is_told_before_anything_is_written(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"cannot hold 1048576.00 GiB of temporary files"):
        Workspace(tmp_path, memory=0).empty((1 << 50,), np.uint8)
    assert list(tmp_path.iterdir()) == []
