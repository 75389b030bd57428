"""Runs a part's inner program in a process of its own, whose memory and imports are its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

_REPOSITORY = Path(__file__).resolve().parents[2]


def run_program(
    name: str, *arguments: str | Path, environment: Mapping[str, str] | None = None
) -> dict[str, Any]:
    """The figures that a program of this folder prints as its last line, in JSON.

    Args:
        name: of the program.
        arguments: that it is given.
        environment: beside this process's own.

    Raises:
        RuntimeError: it failed; with what it said.
    """
    paths = [str(_REPOSITORY), os.environ.get("PYTHONPATH", "")]
    process = subprocess.run(
        [sys.executable, str(Path(__file__).with_name(name)), *map(str, arguments)],
        env={
            **os.environ,
            **(environment or {}),
            "PYTHONPATH": os.pathsep.join(filter(None, paths)),
        },
        capture_output=True,
        text=True,
        check=False,
    )
    if process.returncode:
        raise RuntimeError(f"{name} failed:\n{process.stderr}")
    figures: dict[str, Any] = json.loads(process.stdout.splitlines()[-1])
    return figures
