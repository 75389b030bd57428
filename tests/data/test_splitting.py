from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from medstyle_gan.data.collection import Collection, Item
from medstyle_gan.data.splitting import split_by_subject


def _collection(subjects: list[str], volumes: int = 2) -> Collection:
    items = [Item(Path(f"{s}_{i}.nii"), s) for s in subjects for i in range(volumes)]
    return Collection(tuple(items), "test")


def _random_pair(seed: int) -> tuple[Collection, Collection]:
    rng = np.random.default_rng(seed)
    names = [f"s{i}" for i in range(20)]
    sides = [list(rng.choice(names, size=rng.integers(1, 15), replace=False)) for _ in range(2)]
    return _collection(sides[0], 1), _collection(sides[1], 2)


@pytest.mark.parametrize("seed", range(40))
def test_a_subject_is_on_one_side_only_and_no_file_is_lost(seed: int) -> None:
    scan, style = _random_pair(seed)
    split = split_by_subject(scan, style, 0.3, seed)
    train = {*split.train_scan.subjects, *split.train_style.subjects}
    held_out = {*split.validation_scan.subjects, *split.validation_style.subjects}
    assert not train & held_out
    assert {*split.train_scan, *split.validation_scan} == set(scan)
    assert {*split.train_style, *split.validation_style} == set(style)
    assert len(split.train_scan) > 0
    assert len(split.train_style) > 0


def test_each_side_gives_its_share() -> None:
    scan = _collection([f"a{i}" for i in range(20)])
    style = _collection([f"b{i}" for i in range(10)])
    split = split_by_subject(scan, style, 0.2, 0)
    assert len(split.validation_scan.subjects) == 4
    assert len(split.validation_style.subjects) == 2


def test_the_same_subjects_in_both_are_held_out_together() -> None:
    names = [f"s{i}" for i in range(10)]
    split = split_by_subject(_collection(names), _collection(names), 0.2, 0)
    assert split.validation_scan.subjects == split.validation_style.subjects
    assert len(split.validation_scan.subjects) == 2


@pytest.mark.parametrize("fraction", [0.2, 0.9])
def test_a_side_with_one_subject_keeps_it(fraction: float) -> None:
    split = split_by_subject(_collection(["x"]), _collection(["x", "y", "z"]), fraction, 0)
    assert split.train_scan.subjects == ("x",)
    assert len(split.validation_style) > 0


def test_the_seed_decides_and_nothing_else() -> None:
    scan, style = _random_pair(1)
    first = split_by_subject(scan, style, 0.3, 5)
    assert first == split_by_subject(scan, style, 0.3, 5)
    others = [split_by_subject(scan, style, 0.3, seed) for seed in range(10)]
    assert any(first.validation_scan != other.validation_scan for other in others)


def test_no_fraction_holds_nothing_out() -> None:
    split = split_by_subject(_collection(["a", "b", "c"]), _collection(["d", "e", "f"]), 0, 0)
    assert len(split.validation_scan) == len(split.validation_style) == 0
