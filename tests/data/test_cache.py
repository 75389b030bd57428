from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from medstyle_gan.config.data_section import DataConfig
from medstyle_gan.data import cache_entry, content_index
from medstyle_gan.data.body import body_box, body_occupancy
from medstyle_gan.data.cache import prepare_collection
from medstyle_gan.data.collection import Collection, find_collection
from medstyle_gan.data.preprocessing import prepare_volume, to_slices
from medstyle_gan.errors import UserError
from medstyle_gan.volumes import read_volume

DataSettings = Callable[..., DataConfig]
PATTERN = r"(sub-[A-Za-z0-9]+)"


@pytest.fixture
def scans(folders: Any) -> Collection:
    return find_collection(str(folders.scans), PATTERN)


@pytest.fixture
def config(data_settings: DataSettings, tmp_path: Path) -> DataConfig:
    return data_settings(cache={"folder": str(tmp_path / "cache")}, spacing=(3.0, 3.0, None))


@pytest.fixture
def no_work_left(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    def forbid() -> None:
        def refuse(*args: object) -> None:
            raise AssertionError("this was done before")

        monkeypatch.setattr(cache_entry, "prepare_volume_file", refuse)
        monkeypatch.setattr(content_index, "hash_content", refuse)

    return forbid


@pytest.mark.parametrize("plane", ["axial", "coronal", "sagittal"])
@pytest.mark.parametrize("memory_map", [True, False])
def test_cached_slices_are_the_prepared_volumes(
    scans: Collection,
    data_settings: DataSettings,
    tmp_path: Path,
    plane: str,
    memory_map: bool,
) -> None:
    config = data_settings(
        plane=plane,
        spacing=(None, 3.0, None),
        cache={"folder": str(tmp_path), "memory_map": memory_map},
    )
    cached = prepare_collection(scans, config, "scan")
    for item, volume in zip(scans, cached, strict=True):
        prepared = prepare_volume(read_volume(item.path), config, "scan")
        expected = to_slices(prepared.array, plane)
        np.testing.assert_array_equal(volume.slices, expected)
        assert volume.shape == expected.shape
        for index in (0, len(volume) - 1):
            np.testing.assert_array_equal(volume.read(index), expected[index])
        mask = to_slices(prepared.foreground[None], plane)[:, 0]
        np.testing.assert_allclose(volume.foreground_share, mask.mean(axis=(1, 2)), atol=1e-5)
        assert volume.box == body_box(prepared.foreground)
        np.testing.assert_allclose(
            volume.occupancy, body_occupancy(prepared.foreground, volume.box), rtol=5e-3
        )
        if plane == "axial":
            begin, end = (3, 0, 2), (38, volume.grid[1], 9)
            part = prepared.array[:, 3:38, :, 2:9]
            np.testing.assert_array_equal(volume.read_box(begin, end), part)
            assert volume.grid == prepared.array.shape[1:]
        assert mask[volume.body[0]].any()
        assert mask[volume.body[1]].any()
        assert volume.scale == prepared.scale
        assert volume.spacing == prepared.spacing
        assert volume.background == prepared.background


def test_a_slice_read_can_be_changed_without_changing_the_cache(
    scans: Collection, config: DataConfig
) -> None:
    for settings in (
        config,
        config.model_copy(update={"cache": config.cache.model_copy(update={"memory_map": False})}),
    ):
        volume = prepare_collection(scans, settings, "scan")[0]
        image = volume.read(3)
        before = image.copy()
        image[:] = 9
        np.testing.assert_array_equal(volume.read(3), before)


def test_the_second_run_neither_reads_nor_prepares(
    scans: Collection, config: DataConfig, no_work_left: Callable[[], None]
) -> None:
    calls: list[tuple[int, int]] = []
    first = prepare_collection(scans, config, "scan", lambda *done: calls.append(done))
    assert calls == [(1, 4), (2, 4), (3, 4), (4, 4)]
    no_work_left()
    second = prepare_collection(scans, config, "scan")
    assert [v.path for v in second] == [v.path for v in first]
    assert second.scale == first.scale


def test_a_copy_elsewhere_is_prepared_only_once(
    scans: Collection, config: DataConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = prepare_collection(scans, config, "scan")
    for item in scans:
        shutil.copy(item.path, tmp_path / item.path.name)
    copies = find_collection(str(tmp_path / "*.nii.gz"), PATTERN)
    monkeypatch.setattr(cache_entry, "prepare_volume_file", None)
    assert [v.path for v in prepare_collection(copies, config, "scan")] == [v.path for v in first]


@pytest.mark.parametrize(
    "change",
    [
        {"spacing": (2.5, 3.0, None)},
        {"plane": "coronal"},
        {"intensity": {"scan": {"name": "zscore"}}},
        {"intensity": {"scan": {"name": "percentile", "clip": False}}},
    ],
)
def test_settings_that_matter_make_new_entries(
    scans: Collection, config: DataConfig, data_settings: DataSettings, change: dict[str, Any]
) -> None:
    first = prepare_collection(scans, config, "scan")
    other = data_settings(
        **{"cache": config.cache.model_dump(), "spacing": (3.0, 3.0, None), **change}
    )
    assert not {v.path for v in first} & {v.path for v in prepare_collection(scans, other, "scan")}


def test_settings_that_do_not_matter_make_none(
    scans: Collection, config: DataConfig, no_work_left: Callable[[], None]
) -> None:
    prepare_collection(scans, config, "scan")
    no_work_left()
    other = config.model_copy(update={"sample_size": (64, 64), "workers": 2})
    prepare_collection(scans, other, "scan")


def test_a_changed_file_is_prepared_again(
    head: Callable[..., np.ndarray],
    write_nifti: Callable[..., Path],
    config: DataConfig,
    tmp_path: Path,
) -> None:
    path = write_nifti(tmp_path / "d/sub-01.nii", head(0))
    found = find_collection(str(tmp_path / "d"), PATTERN)
    before = prepare_collection(found, config, "scan")[0].slices
    stat = path.stat()
    write_nifti(path, head(1))
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))  # same size and modification time
    after = prepare_collection(found, config, "scan")[0].slices
    assert not np.array_equal(before, after)


def test_a_damaged_entry_is_made_again(scans: Collection, config: DataConfig) -> None:
    volume, other, *_ = prepare_collection(scans, config, "scan")
    whole = volume.slices.copy()
    volume.path.write_bytes(volume.path.read_bytes()[:500])
    other.path.with_suffix(".json").write_text("{")
    again = prepare_collection(scans, config, "scan")
    np.testing.assert_array_equal(again[0].slices, whole)
    assert len(again) == 4


def test_no_path_and_no_subject_stands_in_the_cache(
    head: Callable[..., np.ndarray],
    write_nifti: Callable[..., Path],
    config: DataConfig,
    tmp_path: Path,
) -> None:
    write_nifti(tmp_path / "Canary_Ada/sub-canary7_T1w.nii.gz", head(0))
    prepare_collection(find_collection(str(tmp_path / "Canary_Ada"), PATTERN), config, "scan")
    for file in Path(config.cache.folder or "").rglob("*"):
        assert "canary" not in str(file.relative_to(tmp_path)).lower()
        if file.is_file():
            assert b"canary" not in file.read_bytes().lower()


def test_every_unusable_file_is_named_with_its_reason(
    scans: Collection, config: DataConfig, tmp_path: Path, write_nifti: Callable[..., Path]
) -> None:
    (tmp_path / "sub-08.nii.gz").write_bytes(b"")
    write_nifti(tmp_path / "sub-09.nii", np.full((5, 5, 5), np.nan))
    specs = [str(scans.items[0].path), str(tmp_path / "*.nii*")]
    with pytest.raises(UserError, match="2 of 3 scan files") as caught:
        prepare_collection(find_collection(specs, PATTERN), config, "scan")
    assert "sub-08.nii.gz" in str(caught.value)
    assert "sub-09.nii" in str(caught.value)
    assert "NaN" in str(caught.value)


def test_no_readable_volume_is_said(config: DataConfig, tmp_path: Path) -> None:
    (tmp_path / "sub-08.nii.gz").write_bytes(b"junk")
    with pytest.raises(UserError, match="no volume is readable"):
        prepare_collection(find_collection(str(tmp_path), PATTERN), config, "scan")


def test_an_empty_collection_is_refused(config: DataConfig) -> None:
    with pytest.raises(UserError, match="empty"):
        prepare_collection(Collection((), "nothing"), config, "style")


def test_a_full_disk_leaves_no_half_entry_and_says_where_else(
    scans: Collection, config: DataConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(UserError, match=r"full.*data\.cache\.folder"):
            prepare_collection(scans, config, "scan")
    folder = Path(config.cache.folder or "")
    files = [file for file in folder.rglob("*") if file.is_file()]
    assert {file.parent.name for file in files} <= {"locks"}
    assert not any(file.stat().st_size for file in files)
    assert len(prepare_collection(scans, config, "scan")) == 4


def test_a_cache_folder_that_cannot_be_made_is_a_clear_error(
    scans: Collection, data_settings: DataSettings, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    config = data_settings(cache={"folder": str(tmp_path / "file/cache")})
    with pytest.raises(UserError, match=r"cache folder.*data\.cache\.folder"):
        prepare_collection(scans, config, "scan")


def test_the_environment_names_the_cache(
    scans: Collection,
    data_settings: DataSettings,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("MEDSTYLE_CACHE", str(tmp_path / "named"))
    cached = prepare_collection(scans, data_settings(), "scan")
    assert cached[0].path.parent == tmp_path / "named"


def test_what_a_killed_run_left_is_cleared_after_a_day(
    scans: Collection, config: DataConfig, tmp_path: Path
) -> None:
    folder = tmp_path / "cache"
    folder.mkdir()
    old, fresh = folder / ".medstyle-old.part", folder / ".medstyle-new.part"
    for part in (old, fresh):
        part.touch()
    os.utime(old, (0, 0))
    prepare_collection(scans, config, "scan")
    assert not old.exists()
    assert fresh.exists()


def test_pictures_in_colour_and_grey_become_one_collection_of_colour(
    folders: Any, data_settings: DataSettings, tmp_path: Path
) -> None:
    found = find_collection(str(folders.pictures), PATTERN)
    cached = prepare_collection(
        found, data_settings(cache={"folder": str(tmp_path)}, plane="coronal"), "style"
    )
    assert cached.channels == 3
    assert [v.shape[1] for v in cached] == [3, 1, 3]
    grey = cached[1]
    assert grey.is_picture
    assert grey.slices.shape[1] == 3
    image = grey.read(0)
    np.testing.assert_array_equal(image, np.repeat(image[:1], 3, axis=0))
    assert (cached.scale.center, cached.scale.half_range) == (127.5, 127.5)
    assert cached.integer
