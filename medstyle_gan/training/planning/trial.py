"""A few steps of the planned training, by the training's own code, to check the estimate."""

from __future__ import annotations

import csv
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from medstyle_gan.config import Config
from medstyle_gan.data.collection import Item
from medstyle_gan.training.fit import train
from medstyle_gan.training.planning.planner import with_settings

STEPS = 20
# The first steps make the optimisers' state and find nothing cached; the sixteen that count hold
# whole periods of every cadence that a plan has.
_INTERVAL = 4
_WARM_UP = 1
# Of each collection: more would be prepared for nothing.
_VOLUMES = 4


@dataclass(frozen=True)
class Trial:
    """What was measured.

    Attributes:
        steps: made.
        step_seconds: a mean step, after the first ones.
        memory: the largest of this process (bytes), libraries included; on a GPU that of its
            tensors.
    """

    steps: int
    step_seconds: float
    memory: float


def run_trial(config: Config, files: Mapping[str, Sequence[Item]]) -> Trial:
    """Train for 20 steps on a few volumes, in a temporary folder that is removed.

    A warm start and validations are left out, and the VGG-19's weights are random ones, which
    take as long as others and no download.

    Args:
        config: the planned one.
        files: domain → usable files.

    Raises:
        UserError: the training cannot be done, such as for a lack of memory.
    """
    with tempfile.TemporaryDirectory(prefix="medstyle_plan_") as name:
        folder = Path(name)
        settings: dict[str, object] = {
            "data.scans": [str(item.path) for item in files["scan"][:_VOLUMES]],
            "data.style": [str(item.path) for item in files["style"][:_VOLUMES]],
            "data.pairs.folder": None,
            "data.validation_fraction": 0,
            "data.cache.folder": str(folder / "cache"),
            "vgg.weights": "random:0",
            "training.steps": STEPS,
            "training.warm_start.steps": 0,
            "training.devices": 1,
            "training.nodes": 1,
            "training.checkpoint_every": STEPS,
            "training.validate_every": STEPS,
            "training.max_time": None,
            "logging.wandb": "off",
            "logging.upload_model": False,
            "logging.log_every": _INTERVAL,
            "logging.panel_every": STEPS,
            "logging.panel_samples": 1,
        }
        trial = with_settings(config, settings)
        run = train(trial, folder / "run")
        with (run / "metrics.csv").open(newline="") as file:
            rows = list(csv.DictReader(file))
    counted = [float(row["samples_per_second"]) for row in rows[_WARM_UP:]]
    samples = trial.training.global_batch_size
    return Trial(
        steps=STEPS,
        step_seconds=sum(samples / rate for rate in counted) / len(counted),
        memory=max(float(row["peak_memory_mib"]) for row in rows) * 2.0**20,
    )
