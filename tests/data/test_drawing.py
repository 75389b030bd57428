from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.stats import chi2_contingency, chisquare

from medstyle_gan.config.data_section import SamplerConfig
from medstyle_gan.data.cached_volume import CachedCollection, CachedVolume, VolumeFacts
from medstyle_gan.data.collection import Item
from medstyle_gan.data.drawing import draw_pair, draw_slice, draw_volume, keyed_bits
from medstyle_gan.data.intensity import FittedScale
from medstyle_gan.data.matching import PositionMatch


def _volume(subject: str, share: list[float], is_picture: bool = False) -> CachedVolume:
    inside = np.flatnonzero(np.array(share) > 0)
    return CachedVolume(
        item=Item(Path(f"{subject}.nii"), subject),
        path=Path("none.npy"),
        shape=(len(share), 1, 8, 8),
        channels=1,
        foreground_share=np.array(share, dtype=np.float32),
        body=(int(inside[0]), int(inside[-1])),
        center=(3.5, 3.5),
        box=((0, 7), (0, 7), (0, len(share) - 1)),
        occupancy=np.ones((1, 1, 1), dtype=np.float32),
        scale=FittedScale(0.0, 1.0, True),
        spacing=(1.0, 1.0, 1.0),
        integer=True,
        background=0.0,
        is_picture=is_picture,
        facts=VolumeFacts((8, 8, len(share)), (1.0, 1.0, 1.0), "RAS", "int16", (0.0,) * 7),
    )


def _collection(domain: Any, volumes: list[CachedVolume]) -> CachedCollection:
    return CachedCollection(volumes, domain)


def _rng(index: int) -> np.random.Generator:
    return np.random.Generator(keyed_bits(7, index))


SCANS = _collection(
    "scan",
    [
        _volume("a", [0, 0.1, 0.5, 0.1, 0]),
        *(_volume("b", [0, 0.08, 0.3, 0.3, 0.08, 0]) for _ in range(4)),
    ],
)
# Whole bodies, from end to end.
STYLE = _collection("style", [_volume(name, [0, 0, 0.1] + [0.4] * 9 + [0.1, 0]) for name in "wxyz"])
MATCH = PositionMatch(axis=2)


def test_subjects_are_drawn_evenly_however_many_volumes_they_have() -> None:
    drawn = Counter(draw_volume(SCANS, SamplerConfig(), _rng(i)).item.subject for i in range(2000))
    assert chisquare([drawn["a"], drawn["b"]]).pvalue > 1e-3


def test_unbalanced_draws_take_volumes_evenly() -> None:
    config = SamplerConfig(subject_balanced=False)
    drawn = Counter(draw_volume(SCANS, config, _rng(i)).item.subject for i in range(2000))
    assert chisquare([drawn["a"], drawn["b"]], [400, 1600]).pvalue > 1e-3


@pytest.mark.parametrize("foreground", [0.0, 0.6, 1.0])
def test_slices_are_drawn_by_the_mixture_of_even_and_foreground(foreground: float) -> None:
    volume = SCANS[0]
    config = SamplerConfig(foreground=foreground)
    drawn = Counter(draw_slice(volume, config, _rng(i)) for i in range(4000))
    share = volume.foreground_share.astype(np.float64)
    share /= share.sum()
    expected = 4000 * ((1 - foreground) / 5 + foreground * share)
    possible = expected > 0
    counts = np.array([drawn[i] for i in range(5)])
    assert not counts[~possible].any()
    assert chisquare(counts[possible], expected[possible]).pvalue > 1e-3


@pytest.mark.parametrize("match", ["position", "none"])
def test_the_style_volume_is_independent_of_the_scan(match: str) -> None:
    config = SamplerConfig(match=match)
    table = np.zeros((len(SCANS), len(STYLE)))
    volumes = {id(v): i for i, v in enumerate(SCANS)} | {id(v): i for i, v in enumerate(STYLE)}
    for index in range(4000):
        (scan, _), (style, _) = draw_pair(SCANS, STYLE, config, _rng(index), MATCH)
        table[volumes[id(scan)], volumes[id(style)]] += 1
    assert chi2_contingency(table).pvalue > 1e-3
    assert chisquare(table.sum(axis=0)).pvalue > 1e-3


def test_without_matching_the_style_slice_is_independent_too() -> None:
    table = np.zeros((2, 2))
    for index in range(3000):
        config = SamplerConfig(match="none")
        (scan, i), (style, j) = draw_pair(SCANS, STYLE, config, _rng(index), MATCH)
        table[int(scan.height_of(i) > 0.5), int(style.height_of(j) > 0.5)] += 1
    assert chi2_contingency(table).pvalue > 1e-3


def test_matched_slices_lie_at_the_same_relative_height() -> None:
    config = SamplerConfig(match="position")
    for index in range(500):
        (scan, i), (style, j) = draw_pair(SCANS, STYLE, config, _rng(index), MATCH)
        wanted = style.position_of(scan.height_of(i))
        first, last = scan.body
        thickness = (style.body[1] - style.body[0]) / (last - first)
        assert abs(min(max(wanted, 0), len(style) - 1) - j) <= thickness / 2 + 0.5
        if first <= i <= last:
            assert style.body[0] <= j <= style.body[1]
        assert 0 <= j < len(style)


def test_matching_leaves_no_slice_of_the_body_out() -> None:
    config = SamplerConfig(match="position")
    drawn = {draw_pair(SCANS, STYLE, config, _rng(i), MATCH)[1][1] for i in range(3000)}
    assert drawn >= set(range(2, 13))


def test_a_body_of_one_slice_is_at_its_middle() -> None:
    single = _volume("s", [0, 0.5, 0])
    assert single.height_of(1) == 0.5
    assert single.position_of(0.9) == 1


def test_pictures_are_drawn_at_any_position() -> None:
    pictures = _collection("style", [_volume("p", [1.0], is_picture=True)])
    for index in range(50):
        (_, i), (_, j) = draw_pair(SCANS, pictures, SamplerConfig(), _rng(index), MATCH)
        assert j == 0
        assert i >= 0


def test_draws_depend_on_seed_and_index_alone() -> None:
    first = [np.random.Generator(keyed_bits(1, i)).random() for i in range(50)]
    backwards = [np.random.Generator(keyed_bits(1, i)).random() for i in reversed(range(50))]
    assert first == backwards[::-1]
    assert len(set(first)) == 50
    assert first[0] != np.random.Generator(keyed_bits(2, 0)).random()
