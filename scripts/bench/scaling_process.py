"""One process of `bench_scaling.py`, on one core: trains, and tells how long its steps took.

    python -m bench.scaling_process CONFIG.yaml CORE WARMUP

Started once, or twice with torchrun's variables. The first process prints one JSON line.
"""

from __future__ import annotations

import json
import os
import sys
import time
import warnings
from pathlib import Path
from typing import Any


def main(config_file: str, core: str, warmup: str) -> None:
    """Train on samples that are there already, and print the seconds of the counted steps."""
    os.sched_setaffinity(0, {int(core)})  # before torch counts the cores
    import torch
    from torch.utils.data import DataLoader

    from bench.ours import Ours, StepClock
    from bench.step_time import synthetic_batches
    from medstyle_gan.config import load_config
    from medstyle_gan.networks.precision import resolve_precision
    from medstyle_gan.training.launching import processes_of
    from medstyle_gan.training.trainer import make_trainer

    torch.set_num_threads(1)
    config = load_config(config_file)
    steps, batch = config.training.steps, config.training.batch_size
    precision = resolve_precision(config.training.precision, torch.device("cpu"))
    with processes_of(config, Path("unused"), resume=False) as launch:
        batches = synthetic_batches(config.data.sample_size, batch)
        batches = [batches[i % len(batches)] for i in range(steps)]
        method = Ours("ours", config, batches).method
        clock = StepClock()
        loader: DataLoader[Any] = DataLoader(batches, batch_size=None)  # type: ignore[arg-type]
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", module="lightning.*")
            trainer = make_trainer(config, precision, [clock], None, launch.environment)
            trainer.fit(method, train_dataloaders=loader)
        counted = clock.ends[int(warmup) :]
        seconds = counted[-1] - counted[0]
        samples = (len(counted) - 1) * config.training.global_batch_size
        if launch.process.is_first:
            result = {
                "samples_per_second": samples / seconds,
                "step_ms": 1000 * seconds / (len(counted) - 1),
                "precision": precision,
                "cores": sorted(os.sched_getaffinity(0)),
                "threads": torch.get_num_threads(),
                "ended": time.time(),
            }
            print(json.dumps(result), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
