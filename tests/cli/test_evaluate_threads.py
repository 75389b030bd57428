from __future__ import annotations

import os

import pytest

from medstyle_gan.cli.evaluate import threads_beside


@pytest.mark.parametrize(
    ("cores", "workers", "threads"), [(8, 1, None), (8, 2, "4"), (2, 2, "1"), (1, 4, "1")]
)
def test_this_process_keeps_to_its_share_beside_workers(
    cores: int, workers: int, threads: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: cores)
    assert threads_beside(workers).get("OMP_NUM_THREADS") == threads
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    assert threads_beside(workers) == {}
