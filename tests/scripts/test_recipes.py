"""The pictures of docs/recipes.md: small, of our own styles, made by what users run."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from .conftest import LoadScript


@pytest.mark.parametrize("name", ["hatching", "woodcut", "watercolour"])
def test_illustrations_are_the_same_for_a_seed_and_differ_between_seeds(
    load_script: LoadScript, name: str
) -> None:
    draw = getattr(load_script("illustrations"), name)
    one, again, other = draw(96, 1), draw(96, 1), draw(96, 2)
    np.testing.assert_array_equal(one, again)
    assert (one != other).mean() > 0.1
    assert one.dtype == np.uint8
    assert one.shape == ((96, 96, 3) if name == "watercolour" else (96, 96))
    grey = one.mean(axis=-1) if one.ndim == 3 else one
    assert grey.min() < 90  # ink or pigment
    assert grey.max() > 220  # paper
    coloured = np.ptp(one.astype(int), axis=-1) if one.ndim == 3 else np.zeros(1)
    assert (coloured.max() > 60) == (name == "watercolour")


def test_a_woodcuts_lines_are_thick_where_it_is_dark(load_script: LoadScript) -> None:
    """Its mean over a few lines follows the tone that it was made from."""
    illustrations = load_script("illustrations")
    tone = illustrations._tones(np.random.default_rng(5), 192, 45)
    cut = illustrations.woodcut(192, 5).astype(float)
    means = [a.reshape(12, 16, 12, 16).mean(axis=(1, 3)).ravel() for a in (tone, cut)]
    assert np.corrcoef(*means)[0, 1] < -0.9


def test_the_highlighting_picture_is_made_offline_and_marked(
    load_script: LoadScript, tmp_path: Path
) -> None:
    options = ["--parts", "highlight", "--size", "64", "--steps", "1", "--data", "nowhere"]
    assert load_script("recipes").main([*options, "-o", str(tmp_path)]) == 0
    with Image.open(tmp_path / "highlight.png") as picture:
        assert "not acquired" in picture.text["Synthetic"]  # type: ignore[attr-defined]
        assert picture.size[0] > 4 * 64
    assert [path.name for path in tmp_path.iterdir()] == ["highlight.png"]


def test_the_pictures_in_docs_are_small_and_say_what_they_are(repository: Path) -> None:
    for name in ("visual_effect", "highlight", "teaching"):
        path = repository / "docs" / f"{name}.png"
        assert path.stat().st_size < 300_000
        with Image.open(path) as picture:
            assert "not acquired" in picture.text["Synthetic"]  # type: ignore[attr-defined]
        assert f"({name}.png)" in (repository / "docs" / "recipes.md").read_text()
