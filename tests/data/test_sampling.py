from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from medstyle_gan.config.data_section import DataConfig
from medstyle_gan.data.cache import CachedCollection, prepare_collection
from medstyle_gan.data.collection import find_collection
from medstyle_gan.data.sampling import GlobalIndexSampler, UnpairedDataset, fixed_samples

DataSettings = Callable[..., DataConfig]
PATTERN = r"(sub-[A-Za-z0-9]+)"


@pytest.fixture(scope="module")
def cached(
    folders: Any, data_settings: DataSettings, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str], CachedCollection]:
    config = data_settings(cache={"folder": str(tmp_path_factory.mktemp("cache"))})
    found = {
        name: prepare_collection(
            find_collection(str(getattr(folders, name)), PATTERN), config, domain
        )
        for name, domain in (("scans", "scan"), ("style", "style"), ("pictures", "style"))
    }
    return found.__getitem__


@pytest.fixture
def dataset(cached: Any, data_settings: DataSettings) -> UnpairedDataset:
    return UnpairedDataset(cached("scans"), cached("style"), data_settings(), seed=3, length=64)


def test_a_sample_is_what_networks_see(dataset: UnpairedDataset) -> None:
    assert len(dataset) == 64
    for index in range(20):
        sample = dataset[index]
        assert sample["index"] == index
        for domain in ("scan", "style"):
            assert sample[domain].shape == (1, 32, 32)
            assert sample[domain].dtype == torch.float32
            assert type(sample[domain]) is torch.Tensor
            assert sample[domain].is_contiguous()
            assert sample[domain].min() >= -1.0001
            assert sample[domain].max() <= 1.0001


def test_the_same_index_gives_the_same_sample_in_any_order(dataset: UnpairedDataset) -> None:
    forwards = [dataset[i] for i in range(12)]
    np.random.seed(5)
    torch.manual_seed(5)
    for index in reversed(range(12)):
        again = dataset[index]
        assert torch.equal(again["scan"], forwards[index]["scan"])
        assert torch.equal(again["style"], forwards[index]["style"])


def test_other_indices_and_seeds_give_other_samples(
    dataset: UnpairedDataset, cached: Any, data_settings: DataSettings
) -> None:
    other = UnpairedDataset(cached("scans"), cached("style"), data_settings(), seed=4, length=64)
    scans = [dataset[i]["scan"] for i in range(16)]
    assert sum(torch.equal(scans[0], scan) for scan in scans) == 1
    assert not all(torch.equal(other[i]["scan"], scans[i]) for i in range(16))


def test_drawing_leaves_global_random_states_alone(dataset: UnpairedDataset) -> None:
    before = np.random.get_state()[1].copy(), torch.get_rng_state()
    dataset[5]
    np.testing.assert_array_equal(np.random.get_state()[1], before[0])
    assert torch.equal(torch.get_rng_state(), before[1])


def test_colour_pictures_and_grey_scans_keep_their_channels(
    cached: Any, data_settings: DataSettings
) -> None:
    dataset = UnpairedDataset(cached("scans"), cached("pictures"), data_settings(), 0, 30)
    for index in range(30):
        assert dataset[index]["scan"].shape == (1, 32, 32)
        assert dataset[index]["style"].shape == (3, 32, 32)


@pytest.mark.parametrize("world_size", [1, 2, 4])
def test_ranks_partition_the_global_batches_in_order(world_size: int) -> None:
    batch, steps = 8 // world_size, 5
    ranks = [list(GlobalIndexSampler(steps, batch, r, world_size)) for r in range(world_size)]
    for rank in ranks:
        assert len(rank) == steps * batch
    together = np.array(ranks).reshape(world_size, steps, batch).transpose(1, 0, 2).ravel()
    np.testing.assert_array_equal(together, np.arange(8 * steps))


@pytest.mark.parametrize("start", [0, 3, 7, 9])
def test_a_later_start_gives_the_same_tail(start: int) -> None:
    whole = list(GlobalIndexSampler(7, 3, rank=1, world_size=2))
    tail = GlobalIndexSampler(7, 3, rank=1, world_size=2, start_step=start)
    assert list(tail) == whole[3 * start :]
    assert len(tail) == len(whole[3 * start :])


def test_a_rank_outside_the_world_is_refused() -> None:
    with pytest.raises(ValueError, match="rank 2"):
        GlobalIndexSampler(1, 1, rank=2, world_size=2)


def test_workers_do_not_change_samples(dataset: UnpairedDataset) -> None:
    sampler = GlobalIndexSampler(steps=6, batch_size=2)
    alone = list(DataLoader(dataset, batch_size=2, sampler=sampler))
    helped = list(DataLoader(dataset, batch_size=2, sampler=sampler, num_workers=2))
    for a, b in zip(alone, helped, strict=True):
        for key in ("scan", "style", "index"):
            assert torch.equal(a[key], b[key])


@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="needs Linux's /proc")
def test_nothing_of_the_cache_stays_mapped_or_open(dataset: UnpairedDataset, cached: Any) -> None:
    for index in range(30):
        dataset[index]
    folder = str(cached("scans")[0].path.parent)
    assert folder not in Path("/proc/self/maps").read_text()
    opened = [p.resolve() for p in Path("/proc/self/fd").iterdir() if p.exists()]
    assert not [path for path in opened if str(path).startswith(folder)]


def test_fixed_samples_show_different_subjects_and_never_change(
    cached: Any, data_settings: DataSettings
) -> None:
    config = data_settings()
    first = fixed_samples(cached("scans"), config, 3, seed=0)
    assert first.shape == (3, 1, 32, 32)
    assert torch.equal(first, fixed_samples(cached("scans"), config, 3, seed=0))
    from_volumes = [
        {
            volume.item.subject
            for volume in cached("scans")
            for image in volume.slices
            if np.abs(image[0, 4:36, 6:38] - sample.numpy()[0]).max() < 0.5
        }
        for sample in first
    ]
    assert len(first) == 3
    assert all(len(subjects) <= 3 for subjects in from_volumes)
    assert first.std(dim=(1, 2, 3)).min() > 0.1  # none is an empty slice


@pytest.mark.parametrize("count", [1, 2, 7])
def test_more_fixed_samples_than_subjects_repeat_subjects_at_other_heights(
    cached: Any, data_settings: DataSettings, count: int
) -> None:
    samples = fixed_samples(cached("style"), data_settings(), count, seed=1)
    assert len(samples) == count
    assert len({sample.numpy().tobytes() for sample in samples}) == count


def test_fixed_samples_of_pictures(cached: Any, data_settings: DataSettings) -> None:
    samples = fixed_samples(cached("pictures"), data_settings(), 4, seed=1)
    assert samples.shape == (4, 3, 32, 32)
