"""How much energy the devices of a training use, where they tell it."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

_POWERCAP = Path("/sys/class/powercap")


class ProcessorEnergy:
    """The CPU packages' own counters (RAPL), which hold all that the machine does.

    Args:
        folder: Linux' powercap folder.
    """

    def __init__(self, folder: Path = _POWERCAP) -> None:
        # intel-rapl:0 is a package (AMD's too); intel-rapl:0:1 is a part of it.
        self._packages = [
            path for path in sorted(folder.glob("intel-rapl:*")) if path.name.count(":") == 1
        ]
        self._last: dict[Path, int] = {}
        self._joules = 0.0

    def read(self) -> float | None:
        """Joules since the first reading; None where the counters cannot be read."""
        try:
            for package in self._packages:
                now = int((package / "energy_uj").read_text())
                grown = now - self._last.get(package, now)
                if grown < 0:  # the counter began again
                    grown += int((package / "max_energy_range_uj").read_text())
                self._last[package] = now
                self._joules += grown / 1e6
        except (OSError, ValueError):  # readable by root only on most machines
            return None
        return self._joules if self._packages else None


class GPUEnergy:
    """The counter of one NVIDIA GPU, by its driver's own library (NVML).

    Args:
        uuid: the GPU, as `torch.cuda.get_device_properties(…).uuid` has it.
    """

    def __init__(self, uuid: str) -> None:
        self._handle = ctypes.c_void_p()
        self._library: Any = None
        try:
            library = ctypes.CDLL("libnvidia-ml.so.1")
            name = f"GPU-{uuid.removeprefix('GPU-')}".encode()
            if library.nvmlInit_v2() == 0 and (
                library.nvmlDeviceGetHandleByUUID(name, ctypes.byref(self._handle)) == 0
            ):
                self._library = library
        except (OSError, AttributeError):
            pass  # another maker's GPU, or a driver without the library: it does not tell

    def read(self) -> float | None:
        """Joules since the driver was loaded; None where the GPU does not tell."""
        millijoules = ctypes.c_ulonglong()
        if self._library is None:
            return None
        counter = self._library.nvmlDeviceGetTotalEnergyConsumption
        return (
            millijoules.value / 1e3
            if not counter(self._handle, ctypes.byref(millijoules))
            else None
        )


def energy_reader(device: torch.device, local_rank: int = 0) -> Callable[[], float | None]:
    """What reads the energy (J) that a process accounts for; differences of it count.

    Args:
        device: where the process trains.
        local_rank: its number on its machine: CPU packages are counted once a machine.
    """
    if device.type == "cuda":
        return GPUEnergy(str(torch.cuda.get_device_properties(device).uuid)).read
    if device.type == "cpu" and local_rank == 0:
        return ProcessorEnergy().read
    return lambda: None
