"""Trainings with W&B as a program of its own: `CONFIG.json`, then pairs of mode and run folder."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import torch

from medstyle_gan.config import Config
from medstyle_gan.training.metrics_csv import MetricsCSV
from medstyle_gan.training.panels import SamplePanels
from medstyle_gan.training.throughput import Throughput
from medstyle_gan.training.wandb_logger import make_wandb_logger
from tests.training.dummy_method import DummyMethod, fit


def run(config: Config, run_folder: Path, steps: int, start_step: int = 0) -> None:
    run_folder.mkdir(parents=True, exist_ok=True)
    throughput = Throughput()
    metrics = MetricsCSV(run_folder / "metrics.csv", 5, steps, throughput)
    samples = {"scan": torch.rand(2, 1, 16, 16), "style": torch.rand(2, 1, 16, 16)}
    panels = SamplePanels(run_folder / "samples", 10, samples, throughput)
    logger = make_wandb_logger(config, run_folder)
    fit(DummyMethod(start_step), steps, [throughput, metrics, panels], logger=logger or False)


if __name__ == "__main__":
    settings = json.loads(Path(sys.argv[1]).read_text())
    for mode, run_folder in zip(sys.argv[2:6:2], sys.argv[3:7:2], strict=False):
        settings["logging"]["wandb"] = mode
        run(Config.model_validate(settings), Path(run_folder), 20)
    sys.stdout.write(f"printed {sys.argv}\n")
