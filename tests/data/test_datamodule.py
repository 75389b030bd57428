from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from medstyle_gan.config import Config
from medstyle_gan.data.datamodule import UnpairedDataModule
from medstyle_gan.errors import UserError

Make = Callable[..., UnpairedDataModule]


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(tmp_path_factory.mktemp("cache"))


@pytest.fixture
def make(folders: Any, settings: Callable[..., Config], cache: str) -> Make:
    def module(**data: Any) -> UnpairedDataModule:
        defaults = {
            "scans": str(folders.scans),
            "style": str(folders.style),
            "cache": {"folder": cache},
            "training": {"steps": 10, "batch_size": 2},
        }
        return UnpairedDataModule(settings(**{**defaults, **data}))

    return module


def _ready(module: UnpairedDataModule) -> UnpairedDataModule:
    module.prepare_data()
    module.setup("fit")
    return module


def test_batches_run_from_the_first_to_the_last_step(make: Make) -> None:
    batches = list(_ready(make()).train_dataloader())
    assert len(batches) == 10
    assert torch.cat([b["index"] for b in batches]).tolist() == list(range(20))
    assert batches[0]["scan"].shape == batches[0]["style"].shape == (2, 1, 32, 32)


@pytest.mark.parametrize("workers", [0, 2])
def test_a_resumed_run_sees_the_tail_whatever_the_workers(make: Make, workers: int) -> None:
    whole = list(_ready(make()).train_dataloader())
    resumed = _ready(make(workers=workers))
    resumed.start_step = 7
    tail = list(resumed.train_dataloader())
    assert len(tail) == 3
    for expected, got in zip(whole[7:], tail, strict=True):
        assert torch.equal(expected["scan"], got["scan"])
        assert torch.equal(expected["style"], got["style"])


def test_making_a_loader_leaves_the_trainings_random_state_alone(make: Make) -> None:
    module = _ready(make())
    before = torch.get_rng_state()
    next(iter(module.train_dataloader()))
    assert torch.equal(torch.get_rng_state(), before)


def test_two_ranks_together_see_what_one_process_sees(make: Make) -> None:
    class Rank:
        def __init__(self, rank: int) -> None:
            self.global_rank = rank
            self.world_size = 2

    whole = list(_ready(make(training={"steps": 6, "batch_size": 2})).train_dataloader())
    parts = []
    for rank in (0, 1):
        module = _ready(make(training={"steps": 6, "batch_size": 1}))
        module.trainer = Rank(rank)  # type: ignore[assignment]
        parts.append(list(module.train_dataloader()))
    for step, batch in enumerate(whole):
        together = torch.cat([part[step]["scan"] for part in parts])
        assert torch.equal(together, batch["scan"])


def test_validation_subjects_are_never_drawn(make: Make) -> None:
    module = _ready(make(validation_fraction=0.34))
    assert module.validation_scan is not None
    assert module.validation_style is not None
    held_out = {*module.validation_scan.subjects, *module.validation_style.subjects}
    assert not held_out & {*module.scan.subjects, *module.style.subjects}
    assert len(module.scan.subjects) == len(module.style.subjects) == 2


@pytest.mark.parametrize(("with_pairs", "held_out"), [(False, 1), (True, 0)])
def test_unless_told_subjects_are_held_out_only_where_no_pairs_validate(
    make: Make, tmp_path: Path, with_pairs: bool, held_out: int
) -> None:
    (tmp_path / "somebody").mkdir()
    pairs = {"pairs": {"folder": str(tmp_path)}} if with_pairs else {}
    split = make(validation_fraction=None, **pairs).split
    assert len(split.validation_scan.subjects) == held_out
    assert len(split.validation_style.subjects) == held_out


def test_without_validation_there_is_none(make: Make) -> None:
    module = _ready(make())
    assert module.validation_scan is None
    assert module.validation_style is None


def test_progress_is_told_by_domain(make: Make) -> None:
    module = make()
    calls: list[tuple[str, int, int]] = []
    module.on_progress = lambda *call: calls.append(call)
    module.prepare_data()
    assert calls == [
        *(("scan", i, 4) for i in range(1, 5)),
        *(("style", i, 3) for i in range(1, 4)),
    ]


def test_pairs_and_their_subjects_do_not_reach_training(
    make: Make, folders: Any, tmp_path: Path
) -> None:
    shutil.copytree(folders.scans, tmp_path / "all/scans")
    pair = tmp_path / "all/pairs/sub-02_ses-1"
    pair.mkdir(parents=True)
    shutil.copy(folders.style / "sub-11_T2w.nii.gz", pair / "scan.nii.gz")
    module = _ready(
        make(scans=str(tmp_path / "all"), pairs={"folder": str(tmp_path / "all/pairs")})
    )
    assert module.scan.subjects == ("sub-01", "sub-03")
    assert len(module.scan) == 3


def test_pairs_subjects_are_found_as_those_of_the_collections(make: Make, tmp_path: Path) -> None:
    (tmp_path / "sub-02_ses-1").mkdir()
    pattern = r"(sub-\d+)(?:_(ses-\d+))?"
    module = make(pairs={"folder": str(tmp_path)}, subject_pattern=pattern)
    module.prepare_data()
    assert "sub-02" not in {
        *module.split.train_scan.subjects,
        *module.split.validation_scan.subjects,
    }


def test_only_scored_subjects_is_an_error(make: Make, folders: Any, tmp_path: Path) -> None:
    for name in ("sub-01", "sub-02", "sub-03"):
        (tmp_path / name).mkdir()
    with pytest.raises(UserError, match="must not be trained on"):
        make(pairs={"folder": str(tmp_path)}).prepare_data()


def test_a_missing_pairs_folder_is_an_error(make: Make) -> None:
    with pytest.raises(UserError, match=r"data\.pairs\.folder"):
        make(pairs={"folder": "/nowhere"}).prepare_data()


@pytest.mark.parametrize(("missing", "option"), [("scans", "--scans"), ("style", "--style")])
def test_a_collection_that_is_not_given_is_named(make: Make, missing: str, option: str) -> None:
    with pytest.raises(UserError, match=option):
        make(**{missing: None}).prepare_data()


def test_the_same_files_twice_are_refused(make: Make, folders: Any) -> None:
    with pytest.raises(UserError, match="also scans"):
        make(style=str(folders.scans / "*.nii.gz")).prepare_data()


def test_a_sample_larger_than_every_volume_is_refused_with_the_size_that_fits(
    make: Make,
) -> None:
    module = make(sample_size=(64, 64))
    with pytest.raises(UserError, match=r"64x64 .* 40x44 .*data\.sample_size=\[40,40\]"):
        _ready(module)


@pytest.mark.parametrize("size", [(48, 48), (128, 32)])
def test_a_sample_that_needs_a_little_or_one_sided_padding_is_taken(
    make: Make, size: tuple[int, int]
) -> None:
    batch = next(iter(_ready(make(sample_size=size)).train_dataloader()))
    assert batch["scan"].shape == (2, 1, *size)


def test_the_fingerprint_tells_the_data_but_no_names(make: Make, folders: Any) -> None:
    module = _ready(make(validation_fraction=0.34))
    fingerprint = module.fingerprint()
    text = json.dumps(fingerprint)
    assert "sub-" not in text
    assert "nii" not in text
    assert str(folders.scans) not in text
    scan = fingerprint["scan"]
    assert scan["subjects"] == 2
    assert scan["validation_subjects"] == 1
    assert scan["shapes"] == ["40x44x14"]
    assert scan["dtypes"] == ["int16"]
    np.testing.assert_allclose(scan["spacing_median"], [2, 2, 3], atol=1e-3)


def test_pictures_as_style_give_batches_of_both_kinds(make: Make, folders: Any) -> None:
    module = _ready(make(style=str(folders.pictures)))
    assert (module.scan.channels, module.style.channels) == (1, 3)
    batch = next(iter(module.train_dataloader()))
    assert batch["style"].shape == (2, 3, 32, 32)


PATCHES: dict[str, Any] = {"dims": 3, "sample_size": (16, 16, 8)}


def test_patches_come_in_batches(make: Make) -> None:
    batch = next(iter(_ready(make(**PATCHES)).train_dataloader()))
    assert batch["scan"].shape == batch["style"].shape == (2, 1, 16, 16, 8)


def test_slices_and_patches_share_a_cache(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    _ready(make())

    def forbid(*arguments: object) -> None:
        raise AssertionError("this was prepared before")

    monkeypatch.setattr("medstyle_gan.data.cache_entry.prepare_volume_file", forbid)
    _ready(make(**PATCHES))


def test_pictures_are_no_style_for_patches_and_nothing_is_prepared(
    make: Make, folders: Any, tmp_path: Path
) -> None:
    cache = tmp_path / "cache of its own"
    module = make(**PATCHES, style=str(folders.pictures), cache={"folder": str(cache)})
    with pytest.raises(UserError, match=r"style collection has pictures .*data\.dims=2"):
        _ready(module)
    assert not cache.exists()


def test_a_patch_larger_than_every_volume_is_refused_with_the_size_that_fits(make: Make) -> None:
    module = make(**{**PATCHES, "sample_size": (64, 64, 8)})
    with pytest.raises(UserError, match=r"64x64x8 .* 40x44x14 voxels; .*=\[40,40,8\]"):
        _ready(module)
