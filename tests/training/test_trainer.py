from __future__ import annotations

import pytest
import torch
from torch import nn

from medstyle_gan.config import load_config
from medstyle_gan.errors import UserError
from medstyle_gan.methods import CycleGAN
from medstyle_gan.training.trainer import JoinedDDP, make_trainer, needs_synced_batchnorm

CPU, GPU = torch.device("cpu"), torch.device("cuda", 0)


@pytest.fixture
def method() -> CycleGAN:
    small = ["generator.ngf=2", "generator.blocks=1", "discriminator.ndf=2"]
    return CycleGAN(load_config(None, small))


@pytest.fixture
def batchnorm(method: CycleGAN) -> CycleGAN:
    method.style_discriminator = nn.Sequential(method.style_discriminator, nn.BatchNorm2d(1))
    return method


@pytest.mark.parametrize("device", [CPU, GPU])
def test_our_networks_hold_no_batchnorm(method: CycleGAN, device: torch.device) -> None:
    assert not needs_synced_batchnorm(method, device, world_size=2)


def test_batchnorms_of_several_gpus_are_synchronised(batchnorm: CycleGAN) -> None:
    assert needs_synced_batchnorm(batchnorm, GPU, world_size=2)
    config = load_config(None, ["training.devices=2", "training.accelerator=cpu"])
    trainer = make_trainer(config, "fp32", [], None, sync_batchnorm=True)
    assert isinstance(trainer.strategy, JoinedDDP)
    layers = trainer.strategy._layer_sync
    assert layers is not None
    converted = layers.apply(batchnorm)
    kinds = {type(module) for module in converted.modules()}
    assert nn.SyncBatchNorm in kinds
    assert nn.BatchNorm2d not in kinds


def test_batchnorm_in_one_process_stays(batchnorm: CycleGAN) -> None:
    assert not needs_synced_batchnorm(batchnorm, CPU, world_size=1)


def test_batchnorm_over_cpu_processes_is_refused(batchnorm: CycleGAN) -> None:
    with pytest.raises(UserError, match=r"style_discriminator hold batch norms.*devices=1"):
        needs_synced_batchnorm(batchnorm, CPU, world_size=2)
