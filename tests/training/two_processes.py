"""One of the processes of `test_processes.py`: trains case after case, and notes what it saw.

    python two_processes.py CASES.json

Each case is `{"overrides": {...}, "out": FOLDER, "port": N, ...}`; the notes of rank r go to
`FOLDER.rank<r>.pt` (`notes` names another place).
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

import lightning as L
import torch

from medstyle_gan.config import load_config
from medstyle_gan.errors import UserError
from medstyle_gan.methods import CycleGAN
from medstyle_gan.training import fit
from medstyle_gan.training.trainer import make_trainer
from medstyle_gan.training.validation import Validation


class Recorder(L.Callback):
    """Notes losses of all steps, gradients of the first, and the best score.

    Args:
        interrupt_at: step at which this process gets a signal to end.
        pause: seconds that each step takes longer.
    """

    def __init__(self, interrupt_at: int | None = None, pause: float = 0) -> None:
        self.notes: dict[str, Any] = {"losses": []}
        self.interrupt_at = interrupt_at
        self.pause = pause

    def on_train_batch_start(
        self, trainer: L.Trainer, pl_module: L.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        assert isinstance(pl_module, CycleGAN)
        time.sleep(self.pause)
        self.notes.setdefault("indices", []).append(batch["index"].tolist())
        if pl_module.step + 1 == self.interrupt_at:
            os.kill(os.getpid(), signal.SIGTERM)

    def on_train_batch_end(
        self,
        trainer: L.Trainer,
        pl_module: L.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        assert isinstance(pl_module, CycleGAN)
        self.notes["losses"].append({k: float(v) for k, v in pl_module.logged.items()})
        if pl_module.step == 1:
            self.notes["gradients"] = {
                f"{network}.{name}": parameter.grad.clone()
                for network, module in pl_module.trained_networks().items()
                for name, parameter in module.named_parameters()
                if parameter.grad is not None
            }
        self.notes["step"] = pl_module.step
        for callback in trainer.callbacks:  # type: ignore[attr-defined]
            if isinstance(callback, Validation):
                self.notes["best"] = [callback.best_step, callback.best_score]


def run_case(case: dict[str, Any], rank: int) -> dict[str, Any]:
    """Train, and return what was noted."""
    recorder = Recorder(case.get("interrupt", {}).get(str(rank)), case.get("pause", 0))
    spoken: list[str] = []
    overrides = case["overrides"] | case.get("rank_overrides", {}).get(str(rank), {})
    ddp: list[dict[str, Any]] = []

    def with_recorder(config: Any, precision: Any, callbacks: Any, *others: Any) -> L.Trainer:
        trainer = make_trainer(
            config, precision, [*callbacks[:-1], recorder, callbacks[-1]], *others
        )
        ddp.append(getattr(trainer.strategy, "_ddp_kwargs", {}))
        return trainer

    fit.make_trainer = with_recorder  # type: ignore[attr-defined]
    try:
        fit.train(
            load_config(None, [], options=overrides),
            case["out"],
            case.get("resume", False),
            spoken.append,
        )
    except UserError as error:
        recorder.notes["refused"] = str(error)
    except SystemExit as end:
        recorder.notes["exit"] = end.code
    finally:
        fit.make_trainer = make_trainer  # type: ignore[attr-defined]
    return recorder.notes | {"spoken": spoken, "ddp": ddp}


def main() -> None:
    """Run all cases, as the process that torchrun's variables say."""
    rank = int(os.environ["RANK"])
    for case in json.loads(Path(sys.argv[1]).read_text()):
        os.environ["MASTER_PORT"] = str(case["port"])
        torch.save(run_case(case, rank), f"{case.get('notes', case['out'])}.rank{rank}.pt")


if __name__ == "__main__":
    main()
