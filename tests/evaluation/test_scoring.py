from __future__ import annotations

import json
import math
from dataclasses import replace

import numpy as np
import pytest

from medstyle_gan.errors import UserError
from medstyle_gan.evaluation import (
    ScoreRow,
    beats_all,
    compare_pairs,
    find_pairs,
    fit_references,
    format_table,
    mean_rows,
    mean_scores,
    rows_as_json,
    score_comparison,
    score_rows,
    unit_scores,
)
from medstyle_gan.volumes import Geometry, read_volume, write_volume


@pytest.fixture
def pairs(config):
    return find_pairs(config.data.pairs)


def row(name: str = "translation", subject: str = "a", **figures: float) -> ScoreRow:
    return ScoreRow(
        subject, "native", name, **{"psnr": 20, "ssim": 0.5, "mae": 0.1, "spearman": 0.5} | figures
    )


def test_an_identity_translator_scores_like_doing_nothing(
    config, pairs, style, make_translator
) -> None:
    references = fit_references(style, config.data.plane)
    comparisons = list(compare_pairs(make_translator(lambda x: x), pairs, config, references))
    assert [(c.subject, c.grid) for c in comparisons] == [
        (subject, grid) for subject in ("sub-201", "sub-202") for grid in ("network", "native")
    ]
    for comparison in comparisons:
        rows = {r.name: r for r in score_comparison(comparison)}
        assert set(rows) == {"translation", *references}
        ours, nothing = rows["translation"], rows["doing_nothing"]
        # The native translation went through the coarser working grid.
        tolerance = 1e-3 if comparison.grid == "network" else 1.5
        assert ours.psnr == pytest.approx(nothing.psnr, abs=tolerance)
        assert ours.mae == pytest.approx(nothing.mae, abs=tolerance / 10)


def test_native_grid_is_the_scans_own_in_ras_order(config, pairs, make_translator) -> None:
    (comparison,) = compare_pairs(
        make_translator(lambda x: x), pairs[:1], config, grids=("native",)
    )
    volume = read_volume(pairs[0].scan)
    flips = [axis for axis in range(3) if volume.geometry.affine[axis, axis] < 0]
    turned = np.flip(np.asarray(volume.array), flips).astype(float)
    order = np.corrcoef(turned.ravel(), comparison.scan.ravel())[0, 1]
    assert order > 0.98  # all but the clipped ends
    mask = np.flip(np.asarray(read_volume(pairs[0].mask).array), flips) > 0
    assert np.array_equal(mask, comparison.mask)
    assert comparison.mask_given
    follows = np.corrcoef(comparison.scan[mask], comparison.candidates["translation"][mask])
    assert follows[0, 1] > 0.7  # the translation lies where the scan lies


def test_scores_follow_the_translation(config, pairs, make_translator) -> None:
    same, inverted = (
        mean_scores(score_rows(make_translator(f), pairs, config))
        for f in (lambda x: x, lambda x: -x)
    )
    assert inverted["spearman"] == pytest.approx(-same["spearman"], abs=0.02)
    assert set(same) == {"psnr", "ssim", "mae", "spearman"}
    assert same != inverted


def test_a_missing_mask_is_made_and_said_so(pair_folder, config, make_translator) -> None:
    for mask in pair_folder.glob("*/mask.nii.gz"):
        mask.unlink()
    found = find_pairs(config.data.pairs.model_copy(update={"folder": str(pair_folder)}))
    for comparison in compare_pairs(make_translator(lambda x: x), found, config):
        assert not comparison.mask_given
        assert 0.2 < comparison.mask.mean() < 0.8


def test_an_empty_mask_is_refused(pair_folder, config, make_translator) -> None:
    path = pair_folder / "sub-201" / "mask.nii.gz"
    geometry = read_volume(path).geometry
    empty = np.zeros(geometry.spatial_shape, np.uint8)
    write_volume(path, empty, Geometry.from_affine(empty.shape, geometry.affine))
    found = find_pairs(config.data.pairs.model_copy(update={"folder": str(pair_folder)}))
    with pytest.raises(UserError, match="the mask is empty"):
        list(compare_pairs(make_translator(lambda x: x), found, config))


def test_a_style_in_colour_has_no_truth_to_compare_with(config, pairs, make_translator) -> None:
    translator = make_translator(lambda x: x)
    translator.channels["style"] = 3
    with pytest.raises(UserError, match="colour"):
        list(compare_pairs(translator, pairs, config))


def test_unit_scores_take_a_range_of_two(rng) -> None:
    truth = rng.uniform(-1, 1, (16, 16, 2))
    scores = unit_scores(truth + 0.2, truth, np.ones(truth.shape, bool))
    assert scores["mae"] == pytest.approx(0.2)
    assert scores["psnr"] == pytest.approx(20 * math.log10(2 / 0.2))
    assert scores["spearman"] == pytest.approx(1)


def test_mean_rows_average_over_subjects() -> None:
    means = mean_rows(
        [row(subject="a"), row("doing_nothing", mae=0.4), row(subject="b", psnr=22, mae=0.3)]
    )
    assert means == [
        row(subject="mean", psnr=21, mae=0.2),
        row("doing_nothing", subject="mean", mae=0.4),
    ]


def test_table_and_json_hold_every_row() -> None:
    rows = [row(), row("doing_nothing", psnr=math.inf)]
    lines = format_table(rows).splitlines()
    assert len(lines) == 3
    assert "doing nothing" in lines[2]
    assert len({len(line) for line in lines}) == 1
    plain = json.loads(json.dumps(rows_as_json(rows), allow_nan=False))
    assert plain[0]["ssim"] == 0.5
    assert plain[1]["psnr"] is None


@pytest.mark.parametrize(
    ("worse", "expected"),
    [({}, True), ({"psnr": 21}, False), ({"ssim": 0.6}, False), ({"mae": 0.05}, False)],
)
def test_beating_all_needs_every_figure(worse, expected) -> None:
    other = replace(row("doing_nothing", psnr=19, ssim=0.4, mae=0.2), **worse)
    assert beats_all([row(), other]) is expected
