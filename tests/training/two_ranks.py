"""One of two ranks that train dummies; a signal reaches one of them in the midst of a step.

    python -m tests.training.two_ranks OUT CASES

CASES is a JSON list of `[name, signal, rank, step, late rank]`: the signal (0: none) reaches that
rank in that step, and the late rank's time is over from the start. What rank r saw of a case goes
to `OUT/<name>.rank<r>.json`.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from pathlib import Path

import lightning as L
import torch

from medstyle_gan.config import load_config
from medstyle_gan.training.interruption import Interruption
from medstyle_gan.training.launching import processes_of
from medstyle_gan.training.stopping import Stopping
from medstyle_gan.training.trainer import make_trainer
from tests.training.dummy_method import DummyMethod, Samples


class Signalled(DummyMethod):
    def __init__(self, number: int, rank: int, at: int) -> None:
        super().__init__()
        self._signal = (number, rank, at)

    def training_step(self, batch: dict[str, torch.Tensor], batch_index: int) -> None:
        super().training_step(batch, batch_index)
        number, rank, at = self._signal
        if number and self.global_rank == rank and self.step == at:
            signal.raise_signal(number)


class _Stop(L.Callback):
    def __init__(self, interruption: Interruption) -> None:
        self._interruption = interruption

    def on_train_batch_end(self, trainer: L.Trainer, *others: object) -> None:
        trainer.should_stop = self._interruption.requested


def main() -> None:
    out, cases = Path(sys.argv[1]), json.loads(sys.argv[2])
    torch.set_num_threads(1)
    config = load_config(None, ["training.accelerator=cpu", "training.devices=2"])
    with processes_of(config, out, resume=False) as launch:
        for name, number, rank, at, late_rank in cases:
            method = Signalled(number, rank, at)
            late = os.environ["LOCAL_RANK"] == str(late_rank)
            with Interruption(time.monotonic() if late else None) as interruption:
                callbacks: list[L.Callback] = [Stopping(interruption), _Stop(interruption)]
                trainer = make_trainer(config, "fp32", callbacks, None, launch.environment)
                trainer.fit(method, torch.utils.data.DataLoader(Samples(400), batch_size=1))
            report = {"step": method.step, "reason": interruption.reason.name}
            (out / f"{name}.rank{trainer.global_rank}.json").write_text(json.dumps(report))


if __name__ == "__main__":
    main()
