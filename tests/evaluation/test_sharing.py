from __future__ import annotations

import os

import pytest
import torch

from medstyle_gan.evaluation.sharing import shared_out


def work(given: torch.Tensor, index: int) -> tuple[int, torch.Tensor]:
    return os.getpid(), given * index


@pytest.mark.parametrize("workers", [1, 2])
def test_every_subject_in_order(workers: int) -> None:
    given = torch.arange(3)
    found = list(shared_out(work, given, 5, workers, start="fork"))
    assert [part.tolist() for _, part in found] == [[0, i, 2 * i] for i in range(5)]
    assert (os.getpid() in {process for process, _ in found}) == (workers == 1)


def test_one_subject_starts_no_process() -> None:
    ((process, _),) = shared_out(work, torch.zeros(1), 1, 4)
    assert process == os.getpid()


def _threads_of(given: str, index: int) -> str | None:
    return os.environ.get(given)


def test_libraries_of_each_worker_have_its_share_of_the_cores() -> None:
    before = os.environ.get("OPENBLAS_NUM_THREADS")
    found = list(shared_out(_threads_of, "OPENBLAS_NUM_THREADS", 2, 2, start="fork"))
    assert found == [str(max(1, (os.cpu_count() or 1) // 2))] * 2
    assert os.environ.get("OPENBLAS_NUM_THREADS") == before
