"""The Lightning trainer that drives a method, with the settings that all our trainings share."""

from __future__ import annotations

import logging
from typing import Any

import lightning as L
from lightning.pytorch.callbacks import ProgressBar

from medstyle_gan.config import Config
from medstyle_gan.networks.precision import Precision
from medstyle_gan.training.stopping import keep_signals_ours

_LIGHTNING_PRECISION = {"fp32": "32-true", "bf16": "bf16-mixed"}


def make_trainer(
    config: Config, precision: Precision, callbacks: list[L.Callback], logger: Any
) -> L.Trainer:
    """The trainer of a run, which is one epoch long.

    Args:
        config: its `training` section is used.
        precision: arithmetic of the networks.
        callbacks: in the order in which they act on a step.
        logger: a Lightning logger, or None.
    """
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    several = config.training.devices > 1
    trainer = L.Trainer(
        accelerator=config.training.accelerator,
        devices=config.training.devices,
        strategy="ddp" if several else "auto",
        precision=_LIGHTNING_PRECISION[precision],  # type: ignore[arg-type]
        max_epochs=1,  # the loader is as long as the training: an epoch is the whole run
        logger=logger or False,
        callbacks=callbacks,
        enable_checkpointing=False,
        enable_progress_bar=any(isinstance(c, ProgressBar) for c in callbacks),
        enable_model_summary=False,
        use_distributed_sampler=False,
        num_sanity_val_steps=0,
    )
    keep_signals_ours(trainer)
    return trainer
