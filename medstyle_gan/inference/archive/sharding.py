"""Which part of an archive this process translates."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from medstyle_gan.errors import UserError

T = TypeVar("T")

_FORM = re.compile(r"(\d+)/(\d+)")
# What torchrun, Lightning and srun tell each of the processes that they start.
_LAUNCHERS = (("RANK", "WORLD_SIZE"), ("SLURM_PROCID", "SLURM_NTASKS"))


@dataclass(frozen=True)
class Shard:
    """One of several equal parts.

    Attributes:
        index: which one, from 1.
        count: how many there are.
    """

    index: int = 1
    count: int = 1

    def __str__(self) -> str:
        return f"{self.index}/{self.count}"

    def of(self, items: Sequence[T]) -> list[T]:
        """This shard's items: every `count`th. All shards must see the same sequence.

        Dealt out one by one, so that the shards differ by one item at most, and a folder of
        large files is shared.
        """
        return list(items[self.index - 1 :: self.count])

    def split(self, inner: Shard) -> Shard:
        """The part of this shard that a process of several takes."""
        return Shard(
            (self.index - 1) * inner.count + inner.index,
            self.count * inner.count,
        )


def parse_shard(text: str) -> Shard:
    """The shard that `i/n` names.

    Raises:
        UserError: it names none.
    """
    match = _FORM.fullmatch(text)
    index, count = (int(n) for n in match.groups()) if match else (0, 0)
    if not 1 <= index <= count:
        raise UserError(
            f"--shard {text}: give i/n, the i-th of n parts with i from 1 to n, such as "
            "--shard 1/4 on the first of four machines"
        )
    return Shard(index, count)


def launched_shard(environment: Mapping[str, str] | None = None) -> Shard:
    """The part of the process among those that torchrun, Lightning or srun started.

    Args:
        environment: None takes this process's own variables.

    Raises:
        UserError: the variables contradict each other.
    """
    variables = os.environ if environment is None else environment
    for rank, size in _LAUNCHERS:
        if rank not in variables or size not in variables:
            continue
        if rank.startswith("SLURM") and "SLURM_STEP_ID" not in variables:
            continue  # a batch script itself, which srun has not started
        try:
            shard = Shard(int(variables[rank]) + 1, int(variables[size]))
        except ValueError:
            shard = Shard(0, 0)
        if not 1 <= shard.index <= shard.count:
            raise UserError(
                f"the environment says {rank}={variables[rank]} and {size}={variables[size]}, "
                "which is no process of several; unset both or start with torchrun"
            )
        return shard
    return Shard()


def local_rank(environment: Mapping[str, str] | None = None) -> int | None:
    """The number of this process on its machine, by its launcher; None without one."""
    variables = os.environ if environment is None else environment
    names = ["LOCAL_RANK"] + (["SLURM_LOCALID"] if "SLURM_STEP_ID" in variables else [])
    for name in names:
        if variables.get(name, "").isdecimal():
            return int(variables[name])
    return None
