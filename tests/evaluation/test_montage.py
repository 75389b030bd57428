from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from medstyle_gan.errors import UserError
from medstyle_gan.evaluation import Comparison, write_montage


@pytest.fixture
def comparison(rng) -> Comparison:
    scan, truth, translation = rng.uniform(-1, 1, (3, 20, 24, 10)).astype(np.float32)
    mask = np.zeros(scan.shape, bool)
    mask[5:15, 5:15, 2:8] = True
    candidates = {"translation": translation}
    return Comparison("sub-1", "native", scan, truth, mask, True, (2, 2, 3), candidates)


def test_montage_is_a_picture_with_a_row_for_each_slice(comparison, tmp_path) -> None:
    sizes = []
    for rows in (1, 4):
        write_montage(tmp_path / "montage.png", [comparison], rows)
        with Image.open(tmp_path / "montage.png") as picture:
            sizes.append(picture.size)
    assert sizes[1][1] > 2 * sizes[0][1]
    assert [path.name for path in tmp_path.iterdir()] == ["montage.png"]


def test_a_folder_that_cannot_be_written_is_a_users_mistake(comparison, tmp_path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError):
        write_montage(tmp_path / "file" / "montage.png", [comparison])


def test_translations_alone_are_marked(comparison, tmp_path) -> None:
    pictures = []
    for mark in (True, False):
        write_montage(tmp_path / "montage.png", [comparison], 1, mark=mark)
        with Image.open(tmp_path / "montage.png") as picture:
            assert "not acquired" in picture.info["Synthetic"]
            pictures.append(np.asarray(picture.convert("L")).astype(int))
    columns = np.flatnonzero((pictures[0] != pictures[1]).any(axis=0))
    width = pictures[0].shape[1]
    assert len(columns) > 40
    assert width * 0.2 < columns.min()
    assert columns.max() < width * 0.5
