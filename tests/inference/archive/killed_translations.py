"""Starts `medstyle translate` again and again and kills it with SIGKILL; prints what it saw.

Run as a program of its own, so that its children are forked before torch has any thread.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import signal
import sys
import time
from pathlib import Path

import medstyle_gan.inference  # noqa: F401  (before the forks, which then cost nothing)
from medstyle_gan.cli import main


def start(arguments: list[str]) -> int:
    """The process that translates."""
    process = os.fork()
    if process == 0:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
        os._exit(main(arguments))
    return process


def outputs(out: Path) -> list[Path]:
    """What has a name that a user sees; temporary folders may go while it is looked for."""
    found = (Path(folder, name) for folder, _, names in os.walk(out) for name in names)
    return [
        path
        for path in found
        if path.name.endswith(".nii.gz")
        and not any(part.startswith(".") for part in path.relative_to(out).parts)
    ]


def unmarked(out: Path) -> list[str]:
    """Outputs that are not, to the last byte, what the JSON beside them tells of."""
    wrong = []
    for path in outputs(out):
        sidecar = path.with_name(path.name.replace(".nii.gz", ".json"))
        told = json.loads(sidecar.read_text())["output_sha256"]
        if hashlib.sha256(path.read_bytes()).hexdigest() != told:
            wrong.append(path.name)
    return wrong


def translate_with_kills(model: str, folder: str, out: Path, kills: int) -> dict[str, object]:
    """Kill after a while, a later one each time; then let one process end."""
    arguments = ["translate", model, folder, "-o", str(out), "--workers", "2"]
    rng = random.Random(0)
    counts, wrong = [], []
    for _ in range(kills):
        before = len(outputs(out)) if out.exists() else 0
        process = start(arguments)
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            if out.exists() and len(outputs(out)) > before:
                break
            time.sleep(0.002)
        time.sleep(rng.uniform(0, 0.05))
        os.kill(process, signal.SIGKILL)
        os.waitpid(process, 0)
        counts.append(len(outputs(out)))
        wrong += unmarked(out)
    _, status = os.waitpid(start(arguments), 0)
    return {"counts": counts, "wrong": wrong, "code": os.waitstatus_to_exitcode(status)}


if __name__ == "__main__":
    model_folder, scans, out_folder, number = sys.argv[1:]
    found = translate_with_kills(model_folder, scans, Path(out_folder), int(number))
    sys.stdout.write(json.dumps(found))
