"""Two processes (gloo): what a step does on all ranks alike."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.methods.training_steps import NO_VGG, fit, images, made, settings

Runs = list[dict[str, Any]]


@pytest.fixture(scope="module", params=["resnet", "switchable"])
def generator(request: pytest.FixtureRequest) -> str:
    """A setting: two networks, or one that both directions share."""
    return f"generator.name={request.param}"


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory, repository: Path, generator: str) -> Runs:
    """What both ranks saw."""
    folder = tmp_path_factory.mktemp("ranks")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    shared = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    shared |= {"TORCHELASTIC_RUN_ID": "test", "LOCAL_WORLD_SIZE": "2", "GROUP_RANK": "0"}
    shared |= {"PYTHONPATH": str(repository), "OMP_NUM_THREADS": "1"}
    processes = [
        subprocess.Popen(
            [
                sys.executable,
                "-m",
                "tests.methods.two_ranks",
                str(folder / f"{rank}.pt"),
                generator,
            ],
            env={**os.environ, **shared, "RANK": str(rank), "LOCAL_RANK": str(rank)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            cwd=repository,
        )
        for rank in range(2)
    ]
    for process in processes:
        output, _ = process.communicate(timeout=300)
        assert process.returncode == 0, output
    return [torch.load(folder / f"{rank}.pt", weights_only=True) for rank in range(2)]


def test_a_bad_loss_on_one_rank_skips_the_step_on_both(runs: Runs) -> None:
    for run in runs:
        assert [counts[:2] for counts in run["counted"]] == [(0, 0), (1, 1), (1, 0)]
        before, after = run["snapshots"][0], run["snapshots"][1]
        torch.testing.assert_close(after, before, rtol=0, atol=0)


def test_ranks_stay_the_same(runs: Runs) -> None:
    first, second = (run["snapshots"] for run in runs)
    torch.testing.assert_close(first, second, rtol=0, atol=0)
    moved = first[2]["weights"]["scan_to_style.layers.1.weight"]
    assert not torch.equal(moved, first[1]["weights"]["scan_to_style.layers.1.weight"])


def test_gradients_are_exchanged_once_a_step_and_are_those_of_the_whole_batch(
    runs: Runs, generator: str
) -> None:
    method = made(settings(*NO_VGG, generator, "training.batch_size=4"))
    whole = fit(method, [images(0, count=4)]).gradients[0]
    for run in runs:
        ours = run["gradients"][0]
        together = torch.cat([(ours[n] - g).flatten() for n, g in whole.items()]).norm()
        assert float(together / torch.cat([g.flatten() for g in whole.values()]).norm()) < 1e-5
        buckets = [counts[2] for counts in run["counted"]]
        assert buckets[2] - buckets[1] == 1  # the networks are small: one bucket holds all
