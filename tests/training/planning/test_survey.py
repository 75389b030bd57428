"""What is found of a collection, against how its files were made."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from PIL import Image

from medstyle_gan.config.data_section import DataConfig
from medstyle_gan.data.collection import Item
from medstyle_gan.training.planning import survey
from medstyle_gan.training.planning.survey import survey_collection

# Along R, A, S: voxels, their size (mm), and first and last voxel of the body.
SHAPE, SPACING = (60, 150, 12), (2.0, 1.0, 5.0)
BOX = ((10, 49), (30, 129), (2, 9))


def volume(path: Path, orientation: str, air: float = 0.0) -> Item:
    """A block of noise in air, stored with the given axes."""
    rng = np.random.default_rng(0)
    array = np.full(SHAPE, air, dtype=np.float32) + rng.random(SHAPE, dtype=np.float32)
    inside = tuple(slice(first, last + 1) for first, last in BOX)
    array[inside] += 1000 + 100 * rng.random(array[inside].shape, dtype=np.float32)
    image = nib.Nifti1Image(array, np.diag([*SPACING, 1.0]))
    wanted = nib.orientations.axcodes2ornt(orientation)
    turn = nib.orientations.ornt_transform(nib.orientations.axcodes2ornt("RAS"), wanted)
    nib.save(image.as_reoriented(turn), path)
    return Item(path, path.name.partition("_")[0])


@pytest.mark.parametrize(("orientation", "air"), [("RAS", 0.0), ("SLP", 0.0), ("LPI", -1000.0)])
def test_lengths_are_along_anatomical_axes_whatever_the_file_has(
    tmp_path: Path, orientation: str, air: float
) -> None:
    items = tuple(volume(tmp_path / f"sub-{n}_T1.nii.gz", orientation, air) for n in range(2))
    facts = survey_collection(items, DataConfig(), "scan").facts
    assert facts is not None
    assert (facts.volumes, facts.subjects, facts.channels) == (2, 2, 1)
    assert facts.voxels == SHAPE
    assert facts.spacing == pytest.approx(SPACING)
    for size, (first, last), found in zip(SPACING, BOX, facts.body, strict=True):
        # Smoothing before the threshold may take in a voxel on each side.
        assert abs(found - size * (last + 1 - first)) < 2.1 * size
    assert facts.hounsfield == (air < 0)


def test_pictures_have_no_millimetres_and_colour_counts(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    items = []
    for number, shape in enumerate([(40, 50, 3), (30, 60)]):
        pixels = rng.integers(0, 255, shape, dtype=np.uint8)
        items.append(Item(tmp_path / f"{number}.png", str(number)))
        Image.fromarray(pixels).save(items[-1].path)
    facts = survey_collection(tuple(items), DataConfig(), "style").facts
    assert facts is not None
    assert facts.pictures
    assert facts.channels == 3


def test_of_many_volumes_some_are_read_and_all_headers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(survey, "LARGEST_SAMPLE", 2)
    items = tuple(volume(tmp_path / f"sub-{n}_T1.nii.gz", "RAS") for n in range(5))
    items[4].path.write_bytes(b"no volume")
    done: list[tuple[int, int]] = []
    found = survey_collection(items, DataConfig(), "scan", lambda *count: done.append(count))
    assert [item.subject for item in found.read] == ["sub-0", "sub-2"]
    assert found.facts is not None
    assert found.facts.volumes == 4
    (reason,) = found.unusable
    assert str(items[4].path) in reason
    assert done == [(n, 5) for n in range(1, 6)]
