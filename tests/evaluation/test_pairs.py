from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from medstyle_gan.config.data_section import PairsConfig
from medstyle_gan.errors import UserError
from medstyle_gan.evaluation import find_pairs
from medstyle_gan.volumes import Geometry, read_volume, write_volume


def find(folder: Path, **names: str):
    return find_pairs(PairsConfig(folder=str(folder), names=names))


def test_pairs_are_found_by_subject_with_their_masks(pair_folder: Path) -> None:
    (pair_folder / ".hidden").mkdir()
    (pair_folder / "notes").mkdir()
    pairs = find(pair_folder)
    assert [pair.subject for pair in pairs] == ["sub-201", "sub-202"]
    assert pairs[0].scan == pair_folder / "sub-201" / "scan.nii.gz"
    assert pairs[0].style == pair_folder / "sub-201" / "style.nii.gz"
    assert pairs[0].mask == pair_folder / "sub-201" / "mask.nii.gz"


def test_names_are_mapped_and_masks_optional(pair_folder: Path) -> None:
    for subject in pair_folder.iterdir():
        (subject / "scan.nii.gz").rename(subject / "T1W.nii.gz")
        (subject / "style.nii.gz").rename(subject / "T2W.nii.gz")
        (subject / "mask.nii.gz").unlink()
    pairs = find(pair_folder, scan="T1W", style="T2W")
    assert len(pairs) == 2
    assert find(pair_folder, scan="T1W.nii.gz", style="T2W.nii.gz") == pairs
    assert all(pair.mask is None for pair in pairs)


def test_real_pairs_share_their_grids(shared_data: Path) -> None:
    pairs = find(shared_data / "openms_tiny" / "val_pairs", scan="T1W", style="T2W")
    assert [pair.subject for pair in pairs] == ["patient12_s1"]
    assert pairs[0].mask is not None


def spoil_style_missing(folder: Path) -> None:
    (folder / "sub-201" / "style.nii.gz").unlink()


def spoil_two_files(folder: Path) -> None:
    shutil.copy(folder / "sub-202" / "scan.nii.gz", folder / "sub-202" / "scan.nii")


def spoil_nothing_named_so(folder: Path) -> None:
    for subject in folder.iterdir():
        for file in subject.iterdir():
            file.rename(subject / f"other_{file.name}")


def spoil_no_subfolder(folder: Path) -> None:
    for subject in list(folder.iterdir()):
        shutil.rmtree(subject)


def spoil_folder_missing(folder: Path) -> None:
    shutil.rmtree(folder)


def spoil_style_shape(folder: Path) -> None:
    path = folder / "sub-202" / "style.nii.gz"
    volume = read_volume(path)
    array = np.asarray(volume.array)[1:]
    write_volume(path, array, Geometry.from_affine(array.shape, volume.geometry.affine))


def spoil_mask_position(folder: Path) -> None:
    path = folder / "sub-202" / "mask.nii.gz"
    volume = read_volume(path)
    affine = volume.geometry.affine.copy()
    affine[0, 3] += 1.5
    write_volume(path, volume.array, Geometry.from_affine(volume.array.shape, affine))


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (spoil_style_missing, r"sub-201: no style \(style\.nii"),
        (spoil_two_files, "both there; keep one"),
        (spoil_nothing_named_so, r"holds no pairs: .* found 2 subfolders, the first with other_"),
        (spoil_no_subfolder, "holds no pairs: .* found no subfolder"),
        (spoil_folder_missing, "is not a folder"),
        (spoil_style_shape, r"style\.nii\.gz: has \(39, 40, 8\) voxels instead of \(40, 40, 8\)"),
        (spoil_mask_position, r"mask\.nii\.gz: has another position"),
    ],
)
def test_unusable_pairs_are_refused_with_the_reason(pair_folder: Path, spoil, message) -> None:
    spoil(pair_folder)
    with pytest.raises(UserError, match=message):
        find(pair_folder)


def test_no_folder_is_a_users_mistake() -> None:
    with pytest.raises(UserError, match=r"data\.pairs\.folder"):
        find_pairs(PairsConfig())
