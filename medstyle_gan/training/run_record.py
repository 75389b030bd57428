"""What a run was made with: versions, machine and data, one entry for each start.

`run.yaml` in the run's folder is for people and for later; a resume compares with what stands
in the checkpoint that it goes on from. No path, no name of a file, subject or computer is in it.
"""

from __future__ import annotations

import platform
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch
import yaml

from medstyle_gan.data.words import OTHER
from medstyle_gan.errors import UserError
from medstyle_gan.inference.bundles.bundle import package_versions
from medstyle_gan.networks.precision import Precision
from medstyle_gan.volumes import atomic_file

_HEADER = (
    "# What this run was made with; medstyle train adds an entry at each start. It names no\n"
    "# patient, file, folder or computer.\n"
)


def made_with(device: torch.device, precision: Precision, processes: int) -> dict[str, Any]:
    """Versions and machine, as far as the roundings of a training depend on them.

    Args:
        device: where it trains.
        precision: arithmetic of the networks.
        processes: of the training, over all machines.
    """
    on_gpu = device.type == "cuda"
    return {
        "versions": {"python": platform.python_version(), **package_versions()},
        "machine": {
            "system": f"{platform.system()} {platform.machine()}",
            "device": torch.cuda.get_device_name(device) if on_gpu else cpu_name(),
            "precision": str(precision),
            "processes": processes,
            # More threads add up in another order.
            "threads": torch.get_num_threads(),
        },
    }


def cpu_name() -> str:
    """The processor's model, such as "AMD EPYC 9654"; its architecture where that is hidden."""
    information = Path("/proc/cpuinfo")
    lines = information.read_text().splitlines() if information.exists() else []
    for line in lines:
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def describe_differences(before: dict[str, Any], now: dict[str, Any]) -> str | None:
    """One line on why a resumed run is not bit for bit what it would have been.

    Args:
        before, now: as `made_with` gives them.

    Returns:
        None where nothing differs.
    """
    differences = [
        f"{name} {before[part].get(name, 'none')} → {now[part].get(name, 'none')}"
        for part in ("versions", "machine")
        for name in dict.fromkeys([*before[part], *now[part]])
        if before[part].get(name) != now[part].get(name)
    ]
    if not differences:
        return None
    return (
        f"made with something else than before ({', '.join(differences)}): the run goes on, but "
        "not bit for bit as it would have"
    )


def record_start(path: Path, step: int, facts: dict[str, Any], fingerprint: dict[str, Any]) -> None:
    """Add a start to a run's record; the first one makes it.

    Args:
        path: the record.
        step: that the training begins with.
        facts: as `made_with` gives them.
        fingerprint: of the data; kept from the last start at step 0, as it never changes after.

    Raises:
        UserError: the record cannot be read or written.
    """
    record = _read(path) or {"data": fingerprint, "starts": []}
    if step == 0:  # begun again before its first checkpoint
        record["data"] = fingerprint
    now = datetime.now(UTC).isoformat(timespec="seconds")
    record["starts"].append({"step": step, "time": now, **facts})
    text = _HEADER + yaml.safe_dump(record, sort_keys=False, allow_unicode=True)
    with atomic_file(path) as file:
        file.write(text.encode())


def refuse_changed_data(before: dict[str, Any], now: dict[str, Any]) -> None:
    """Check that both collections hold what they held.

    Args:
        before, now: fingerprints of the data.

    Raises:
        UserError: naming the collections that changed.
    """
    changed = [
        f"the {domain} collection is not the one that the run began with "
        f"({_in_short(before[domain])} then, {_in_short(now[domain])} now)"
        for domain in OTHER
        if any(before[domain][part] != now[domain][part] for part in _CONTENTS)
    ]
    if changed:
        raise UserError(
            f"--resume: {' and '.join(changed)}; a file was added, removed, renamed or altered, "
            "or this version prepares it differently. Put the files back as they were "
            "(data.scans, data.style, data.pairs.folder say where), or start a new run in another "
            "folder"
        )


def refuse_other_weights(before: str | None, now: str | None) -> None:
    """Check that the VGG-19 is the one that a run was trained with.

    Args:
        before, now: what its weights are known by; None without its terms.

    Raises:
        UserError: it is another one.
    """
    if before != now:
        raise UserError(
            "--resume: the VGG-19's weights (vgg.weights) are not those that the run was trained "
            "with, and its losses would be measured differently; give those, or start a new run "
            "in another folder"
        )


_CONTENTS = ("contents", "validation_contents")


def _in_short(fingerprint: dict[str, Any]) -> str:
    return (
        f"{fingerprint['volumes']} volumes of {fingerprint['subjects']} subjects and "
        f"{fingerprint['validation_subjects']} subjects held out"
    )


def _read(path: Path) -> dict[str, Any] | None:
    if not path.exists():
        return None
    try:
        record = yaml.safe_load(path.read_text())
        if isinstance(record["starts"], list) and "data" in record:
            return dict(record)
    except (OSError, UnicodeDecodeError, yaml.YAMLError, KeyError, TypeError):
        pass
    raise UserError(f"{path}: not a readable record of a run; repair it, or move it away")
