from __future__ import annotations

import pytest

from medstyle_gan.errors import UserError
from medstyle_gan.inference.archive.sharding import Shard, launched_shard, local_rank, parse_shard


@pytest.mark.parametrize("count", [1, 2, 3, 7])
@pytest.mark.parametrize("items", [0, 1, 5, 20])
def test_shards_share_everything_out_once_and_evenly(count: int, items: int) -> None:
    parts = [Shard(index, count).of(range(items)) for index in range(1, count + 1)]
    assert sorted(item for part in parts for item in part) == list(range(items))
    assert max(map(len, parts)) - min(map(len, parts)) <= 1


def test_processes_of_several_machines_share_everything_out_once() -> None:
    parts = [
        Shard(machine, 3).split(Shard(process, 4)).of(range(50))
        for machine in (1, 2, 3)
        for process in (1, 2, 3, 4)
    ]
    assert sorted(item for part in parts for item in part) == list(range(50))


def test_a_shard_is_parsed() -> None:
    assert parse_shard("2/4") == Shard(2, 4)
    assert str(Shard(2, 4)) == "2/4"


@pytest.mark.parametrize("text", ["3/2", "0/2", "1/0", "-1/2", "1", "a/b", "1/2/3", "", "1.0/2"])
def test_what_is_no_shard_is_refused(text: str) -> None:
    with pytest.raises(UserError, match=r"--shard .*: give i/n"):
        parse_shard(text)


def test_launchers_are_obeyed() -> None:
    assert launched_shard({}) == Shard()
    assert launched_shard({"RANK": "1", "WORLD_SIZE": "4"}) == Shard(2, 4)
    srun = {"SLURM_PROCID": "3", "SLURM_NTASKS": "8"}
    assert launched_shard(srun) == Shard()  # a batch script itself
    assert launched_shard(srun | {"SLURM_STEP_ID": "0"}) == Shard(4, 8)
    for rank, size in (("4", "4"), ("-1", "2"), ("x", "2")):
        with pytest.raises(UserError, match="RANK="):
            launched_shard({"RANK": rank, "WORLD_SIZE": size})


def test_local_ranks() -> None:
    assert local_rank({}) is None
    assert local_rank({"LOCAL_RANK": "3"}) == 3
    assert local_rank({"SLURM_LOCALID": "1"}) is None
    assert local_rank({"SLURM_LOCALID": "1", "SLURM_STEP_ID": "0"}) == 1
