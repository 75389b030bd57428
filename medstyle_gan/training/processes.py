"""The processes of a training: which one this is, and what they tell each other.

All functions may be called in a training of one process, where they do next to nothing. In one
of several every process must make the same calls in the same order.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from lightning.pytorch.utilities import rank_zero_only

from medstyle_gan.config import Config
from medstyle_gan.errors import UserError
from medstyle_gan.training.config_changes import PLACES, flat_fields

USER_MISTAKE = 2  # exit code

T = TypeVar("T")


@dataclass(frozen=True)
class Process:
    """Where this process stands among those of the training.

    Attributes:
        rank: its number over all machines.
        local_rank: its number on its machine.
        world_size: processes over all machines.
    """

    rank: int = 0
    local_rank: int = 0
    world_size: int = 1

    @property
    def is_first(self) -> bool:
        """Whether it writes the files and speaks to the user."""
        return self.rank == 0


@dataclass
class _Joined:
    """This process, and the group through which numbers and objects of the CPU go."""

    process: Process
    group: Any = None


_joined = _Joined(Process())


def this_process() -> Process:
    """This process among those of the training that is under way."""
    return _joined.process


def is_first_process() -> bool:
    """Whether this process writes the files and speaks to the user, also after a training."""
    # Lightning sets the attribute from the launcher's environment when it is imported.
    return int(getattr(rank_zero_only, "rank", 0)) == 0


@contextmanager
def joined(process: Process, group: Any) -> Iterator[None]:
    """Make it known that this process belongs to a group.

    Args:
        process: its place.
        group: torch's, with gloo, over all processes; None where there is one process.
    """
    global _joined
    before, _joined = _joined, _Joined(process, group)
    try:
        yield
    finally:
        _joined = before


def any_process(flag: bool) -> bool:
    """Whether the flag is set in any process."""
    return bool(largest(int(flag)))


def largest(value: int) -> int:
    """The largest of all processes' values."""
    if _joined.group is None:
        return value
    values = torch.tensor([value])
    dist.all_reduce(values, op=dist.ReduceOp.MAX, group=_joined.group)
    return int(values.item())


def gather(value: Any) -> list[Any]:
    """The values of all processes, by rank: plain Python values or tensors of the CPU."""
    if _joined.group is None:
        return [value]
    values: list[Any] = [None] * _joined.process.world_size
    dist.all_gather_object(values, value, group=_joined.group)
    return values


def gather_on_first(value: Any) -> list[Any] | None:
    """As `gather`, but on the first process alone; None on the others."""
    if _joined.group is None:
        return [value]
    process = _joined.process
    values = [None] * process.world_size if process.is_first else None
    dist.gather_object(value, values, dst=0, group=_joined.group)
    return values


def from_first(value: Any) -> Any:
    """The first process's value, on all of them."""
    if _joined.group is None:
        return value
    values = [value]
    dist.broadcast_object_list(values, src=0, group=_joined.group)
    return values[0]


class SharedMistake(UserError):
    """A mistake that all processes know of already."""


@contextmanager
def mistakes_shared() -> Iterator[None]:
    """All processes leave with the mistake that one of them finds in the block.

    Raises:
        UserError: on the first process, whichever of them found it.
        SystemExit: on the others, which stay silent.
    """
    try:
        yield
    except SharedMistake:
        raise
    except UserError as error:
        if _joined.group is None:
            raise
        _gather_or_leave(str(error))
    else:
        _gather_or_leave(None)


def first_on_machine(action: Callable[[], object]) -> None:
    """Act on the first process of each machine, then on its others. Inside `mistakes_shared`."""
    if _joined.process.local_rank == 0:
        action()
    _gather_or_leave(None)
    if _joined.process.local_rank != 0:
        action()


def refuse_differences(facts: dict[str, Any], what: str) -> None:
    """Check that all processes have the same facts. Inside `mistakes_shared`.

    Args:
        facts: by the name that the user knows; plain values.
        what: whose facts they are, for the message.

    Raises:
        UserError: naming the first fact that differs, its values and the machines.
    """
    everyones = _gather_or_leave(None, (socket.gethostname(), facts))
    host, ours = everyones[0]
    for rank, (other_host, theirs) in enumerate(everyones):
        for name in [*ours, *(key for key in theirs if key not in ours)]:
            if ours.get(name) != theirs.get(name):
                raise UserError(
                    f"the processes disagree about {what}: {name} is {ours.get(name)} in process "
                    f"0 ({host}) and {theirs.get(name)} in process {rank} ({other_host}); start "
                    "every process with the same settings and data"
                )


def shared_settings(config: Config) -> dict[str, Any]:
    """What must be the same for all processes, by dotted name: all settings but the places.

    What stands in those places is compared when it has been read.
    """
    settings = flat_fields(config.model_dump(mode="json"))
    return {name: value for name, value in settings.items() if name not in PLACES}


def _gather_or_leave(mistake: str | None, value: Any = None) -> list[Any]:
    """Gather values; where one process has a mistake instead, all leave.

    A process that has found one skips to the end of its `mistakes_shared`: all exchanges
    between there and here have one form, so that it meets the others in whichever they are at.
    """
    answers = gather((mistake, value))
    found = [(rank, text) for rank, (text, _) in enumerate(answers) if text is not None]
    if not found:
        return [value for _, value in answers]
    if not _joined.process.is_first:
        raise SystemExit(USER_MISTAKE)
    rank, text = found[0]
    raise SharedMistake(text if rank == 0 else f"process {rank}: {text}")


def own_part(whole: Sequence[T]) -> list[T]:
    """What this process looks at: every world_size-th from its rank on."""
    process = this_process()
    return list(whole[process.rank :: process.world_size])


def interleaved(parts: Sequence[Sequence[T]]) -> list[T]:
    """The whole in its order, from the parts that `own_part` gave to each rank."""
    return [
        part[turn] for turn in range(max(map(len, parts))) for part in parts if turn < len(part)
    ]
