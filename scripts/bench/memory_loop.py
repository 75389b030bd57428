"""Draws a config's batches, and prints this process's resident memory (MiB) as JSON."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from medstyle_gan.config import load_config
from medstyle_gan.data.datamodule import UnpairedDataModule


def status_mib(key: str) -> float:
    """A memory figure of /proc/self/status (MiB): VmRSS is resident now, VmHWM at most."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{key}:"):
            return float(line.split()[1]) / 1024
    raise KeyError(key)


def main() -> None:
    """Draw every batch of the config named on the command line."""
    imports = status_mib("VmRSS")
    data = UnpairedDataModule(load_config(sys.argv[1]))
    data.prepare_data()
    data.setup()
    resident = 0.0
    for _ in data.train_dataloader():
        resident = max(resident, status_mib("VmRSS"))
    figures = {"imports": imports, "resident": resident, "peak": status_mib("VmHWM")}
    print(json.dumps({name: round(mib, 2) for name, mib in figures.items()}))


if __name__ == "__main__":
    main()
