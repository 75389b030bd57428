"""The facts of this machine, its rate of matrix products measured."""

from __future__ import annotations

import time

import torch

from medstyle_gan.config.training_sections import TrainingConfig
from medstyle_gan.networks.precision import Precision, resolve_precision
from medstyle_gan.training.launching import logical_cores
from medstyle_gan.training.memory import memory_bytes
from medstyle_gan.training.planning.facts import Machine
from medstyle_gan.training.preparation import training_device
from medstyle_gan.training.run_record import cpu_name

_SIZES = {"cpu": 1024, "cuda": 4096}
_REPEATS = 4
_DTYPES: dict[Precision, torch.dtype] = {"fp32": torch.float32, "bf16": torch.bfloat16}


def describe_machine(training: TrainingConfig, measure: bool) -> Machine:
    """What a training would run on.

    Args:
        training: its `accelerator` chooses the device.
        measure: whether the rate of matrix products is measured (a second).
    """
    device = training_device(training)
    native = resolve_precision("auto", device) == "bf16"
    precisions: list[Precision] = ["fp32", *(["bf16"] if native else [])]  # type: ignore[list-item]
    return Machine(
        device="cuda" if device.type == "cuda" else "cpu",
        name=torch.cuda.get_device_name(device) if device.type == "cuda" else cpu_name(),
        cores=logical_cores(),
        memory=memory_bytes(device),
        native_bf16=native,
        gflops={p: _gflops(_DTYPES[p], device) for p in precisions} if measure else {},
    )


def _gflops(dtype: torch.dtype, device: torch.device) -> float:
    """Best rate (GFLOP/s) of a square matrix product over a few tries."""
    size = _SIZES[device.type]
    a, b = (torch.ones(size, size, device=device, dtype=dtype) for _ in range(2))
    best = float("inf")
    for _ in range(_REPEATS + 1):  # the first one warms up
        began = time.perf_counter()
        a @ b
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        best = min(best, time.perf_counter() - began)
    return 2 * size**3 / best / 1e9
