"""Going on in the repository's own environment, where the packages are."""

from __future__ import annotations

import importlib.util
import os
import sys
from pathlib import Path

# Tells a run inside the environment from one that has yet to make it.
_ENTERED = "MEDSTYLE_BENCH_ENTERED"


def enter_environment(script: Path) -> None:
    """Start a script again in the repository's own environment, made if missing.

    Does nothing where the packages are there already.

    Args:
        script: in the folder `scripts`; its own arguments are kept.
    """
    if importlib.util.find_spec("lightning") or os.environ.get(_ENTERED):
        return
    os.environ[_ENTERED] = "1"
    steps = 'source "$1" && set_up_environment "" && exec "$venv/bin/python" "${@:2}"'
    script = script.resolve()
    command = [str(script.with_name("environment.sh")), str(script), *sys.argv[1:]]
    os.execvp("bash", ["bash", "-c", steps, "bash", *command])
