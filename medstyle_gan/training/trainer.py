"""The Lightning trainer that drives a method, with the settings that all our trainings share."""

from __future__ import annotations

import logging
from typing import Any

import lightning as L
import torch
from lightning.fabric.plugins.environments import ClusterEnvironment, LightningEnvironment
from lightning.pytorch.callbacks import ProgressBar
from lightning.pytorch.strategies import DDPStrategy
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from medstyle_gan.config import Config
from medstyle_gan.errors import UserError
from medstyle_gan.methods import TrainedMethod
from medstyle_gan.networks.precision import Precision
from medstyle_gan.training.stopping import keep_signals_ours

_LIGHTNING_PRECISION = {"fp32": "32-true", "bf16": "bf16-mixed"}


class JoinedDDP(DDPStrategy):
    """Data-parallel training of processes that have come together already.

    Lightning's own launcher is left out: it would run the user's command line or script
    again, cannot be used from a notebook, and kills this process when another one ends.
    """

    def _configure_launcher(self) -> None:
        self._launcher = None


def make_trainer(
    config: Config,
    precision: Precision,
    callbacks: list[L.Callback],
    logger: Any,
    environment: ClusterEnvironment | None = None,
    sync_batchnorm: bool = False,
) -> L.Trainer:
    """The trainer of a run, which is one epoch long.

    Args:
        config: its `training` section is used.
        precision: arithmetic of the networks.
        callbacks: in the order in which they act on a step.
        logger: a Lightning logger, or None.
        environment: what started the processes, if there are several.
        sync_batchnorm: whether batch norms take their statistics over all processes.
    """
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    several = config.training.world_size > 1
    trainer = L.Trainer(
        accelerator=config.training.accelerator,
        devices=config.training.devices,
        num_nodes=config.training.nodes,
        strategy=JoinedDDP() if several else "auto",
        # Not Lightning's guess: under SLURM it would take SIGTERM and SIGUSR1 for itself.
        plugins=[environment or LightningEnvironment()],
        sync_batchnorm=sync_batchnorm,
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


def needs_synced_batchnorm(method: TrainedMethod, device: torch.device, world_size: int) -> bool:
    """Whether the networks hold batch norms whose batch is spread over processes.

    Raises:
        UserError: they do, on CPUs, where torch cannot take statistics over processes.
    """
    holding = [n for n, network in method.trained_networks().items() if holds_batchnorm(network)]
    if world_size == 1 or not holding:
        return False
    if device.type != "cuda":
        raise UserError(
            f"{', '.join(holding)} hold batch norms, whose statistics several processes can share "
            "on GPUs only; use one process (training.devices=1), GPUs, or instance norm"
        )
    return True


def holds_batchnorm(network: nn.Module) -> bool:
    """Whether the network's output for an image depends on the others in its batch."""
    return any(isinstance(module, _BatchNorm) for module in network.modules())
