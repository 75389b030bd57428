from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from medstyle_gan.config import load_config
from medstyle_gan.training.interruption import Interruption
from medstyle_gan.training.stopping import Stopping
from medstyle_gan.training.trainer import make_trainer
from tests.conftest import REPOSITORY
from tests.training.dummy_method import DummyMethod, Samples

# The reason of the stop → the signal, whom it reaches, in which step, and whose time is over.
CASES: dict[str, tuple[int, int, int, int]] = {
    "TERMINATED": (signal.SIGTERM, 1, 5, -1),
    "WARNED": (signal.SIGUSR1, 0, 5, -1),
    "TIME_IS_OVER": (0, 0, 5, 0),
    "NONE": (0, 0, 5, 1),  # the first rank's clock alone counts
}


@pytest.fixture(scope="module")
def stopped(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What two ranks saw of each case; started once, as importing is most of their time."""
    folder = tmp_path_factory.mktemp("ranks")
    cases = json.dumps([[name, *map(int, case)] for name, case in CASES.items()])
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    command = [*torchrun, "-m", "tests.training.two_ranks", str(folder), cases]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        command, cwd=REPOSITORY, env=environment, capture_output=True, text=True, timeout=400
    )
    assert done.returncode == 0, done.stderr
    return folder


@pytest.mark.parametrize("reason", CASES)
def test_two_ranks_stop_after_the_same_step(reason: str, stopped: Path) -> None:
    first, second = (json.loads((stopped / f"{reason}.rank{r}.json").read_text()) for r in (0, 1))
    assert first == second
    assert first["reason"] == reason
    # With a signal not long after the step that it came in; 400 is the whole training.
    assert {"NONE": 400, "TIME_IS_OVER": 1}.get(reason, 5) <= first["step"]
    assert first["step"] <= {"NONE": 400, "TIME_IS_OVER": 1}.get(reason, 5 + 2 * 50)


def test_ranks_ask_about_once_a_second_and_at_the_latest_after_fifty_steps() -> None:
    now = 0.0
    stopping = Stopping(Interruption(), clock=lambda: now)
    for steps_before, elapsed, expected in [(1, 0.1, 10), (10, 20.0, 1), (1, 0.001, 50)]:
        stopping._asked, stopping._steps, now = 0.0, steps_before, elapsed
        assert stopping._steps_between() == expected


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1])
def test_lightning_handles_no_signal_not_even_under_slurm(
    number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    slurm = {"NTASKS": "1", "NTASKS_PER_NODE": "1", "JOB_ID": "12345", "JOB_NAME": "train"}
    slurm |= {"PROCID": "0", "LOCALID": "0", "NODEID": "0", "NNODES": "1"}
    for name, value in slurm.items():
        monkeypatch.setenv(f"SLURM_{name}", value)
    seen = []

    class Watched(DummyMethod):
        def on_train_start(self) -> None:
            seen.append(signal.getsignal(number))

    config = load_config(None, ["training.accelerator=cpu"])
    with Interruption() as interruption:
        ours = signal.getsignal(number)
        trainer = make_trainer(config, "fp32", [Stopping(interruption)], None)
        trainer.fit(Watched(), Samples(1))
        assert signal.getsignal(number) == ours
    assert seen == [ours]
