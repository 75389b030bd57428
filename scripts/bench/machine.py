"""What a benchmark ran on: the machine's name, abilities and measured matrix product rate."""

from __future__ import annotations

import os
import platform
import time
from pathlib import Path
from typing import Any

import torch

_ABILITIES = ("avx2", "avx512_f", "avx512_bf16", "amx_bf16")
_REPEATS = 5


def describe_machine(device: torch.device, quick: bool) -> dict[str, Any]:
    """Name, abilities, threads, load and GFLOP/s of matrix products of the device.

    Args:
        device: where the networks run.
        quick: small matrices, whose rates mean little.
    """
    size = 256 if quick else 4096 if device.type == "cuda" else 1536
    capabilities = torch.cpu.get_capabilities()
    return {
        "cpu": _cpu_name(),
        "abilities": {name: bool(capabilities.get(name, False)) for name in _ABILITIES},
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else None,
        "load": round(os.getloadavg()[0], 2),  # before the benchmark: others' work
        "gpu": torch.cuda.get_device_name(device) if device.type == "cuda" else None,
        "torch": torch.__version__,
        "threads": torch.get_num_threads(),
        "device": device.type,
        "gemm_size": size,
        "gemm_gflops": {
            name: round(gemm_gflops(dtype, device, size), 1)
            for name, dtype in (("fp32", torch.float32), ("bf16", torch.bfloat16))
        },
    }


def machine_lines(machine: dict[str, Any]) -> list[str]:
    """The description as lines to print."""
    abilities = ", ".join(
        f"{name} {'yes' if there else 'no'}" for name, there in machine["abilities"].items()
    )
    rates = ", ".join(f"{name} {rate}" for name, rate in machine["gemm_gflops"].items())
    lines = [
        f"CPU      {machine['cpu']}, {machine['cores']} cores ({abilities})",
        f"torch    {machine['torch']}, {machine['threads']} threads, on {machine['device']}",
        f"GEMM     {rates} GFLOP/s ({machine['gemm_size']}³)",
        f"load     {machine['load']} before the start; figures need an otherwise idle machine",
    ]
    return lines if machine["gpu"] is None else [*lines, f"GPU      {machine['gpu']}"]


def gemm_gflops(dtype: torch.dtype, device: torch.device, size: int) -> float:
    """Best rate (GFLOP/s) of a square matrix product over a few tries."""
    a, b = (torch.randn(size, size, device=device).to(dtype) for _ in range(2))
    best = float("inf")
    for _ in range(_REPEATS + 1):
        began = time.perf_counter()
        a @ b
        synchronize(device)
        best = min(best, time.perf_counter() - began)
    return 2 * size**3 / best / 1e9


def synchronize(device: torch.device) -> None:
    """Wait for what the device still has to do."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _cpu_name() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()
