"""What Weights & Biases may know of a run: settings, measurements and pictures, nothing else.

A patient's name often stands in a folder's or file's name, so no path, command line, user,
host or log leaves with a run. What the settings below do was verified for the version of
wandb that pyproject.toml allows, by tests that read every byte of a real offline run.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from medstyle_gan.config import Config
from medstyle_gan.errors import UserError

# Settings that name files, folders or people.
PRIVATE_FIELDS = (
    "data.scans",
    "data.style",
    "data.pairs",
    "data.subject_pattern",
    "data.cache.folder",
    "panel",
)

SETTINGS: dict[str, Any] = {
    "x_disable_meta": True,  # wandb-metadata.json: command line, program, paths, user
    "x_disable_machine_info": True,  # host, operating system, hardware
    # What x_disable_meta leaves: these stand in the run's record, or (the program, with its
    # whole path) in the first request of an online run.
    "host": "",
    "program": "medstyle",
    "program_abspath": "medstyle",
    "program_relpath": "medstyle",
    "username": "",
    "email": "",
    "console": "off",  # all that is printed
    "disable_git": True,  # remote address, commit, difference
    "disable_code": True,
    "save_code": False,
    "disable_job_creation": True,
    "x_save_requirements": False,  # installed packages, with paths of editable ones
    "x_disable_stats": True,  # disk and process figures
    # Not a matter of privacy: what a killed run may lose of its record (15 s by default).
    "x_transaction_log_flush_interval": 1.0,
    "symlink": False,  # links to logs, into the user's home folder
}


def public_config(config: Config) -> dict[str, Any]:
    """The resolved config without anything that names a file, a folder or a subject."""
    public = config.model_dump(mode="json")
    for field in PRIVATE_FIELDS:
        *sections, name = field.split(".")
        section = public
        for key in sections:
            section = section[key]
        del section[name]
    weights = config.vgg.weights
    if weights != "imagenet" and not weights.startswith("random:"):
        public["vgg"]["weights"] = "PATH"
    return public


def refuse_foreign_config() -> None:
    """Refuse configuration that wandb would add to the run by itself.

    Raises:
        UserError: naming the file or the variable.
    """
    if Path("config-defaults.yaml").exists():
        raise UserError(
            "config-defaults.yaml: wandb would add this file's contents to the run's record, "
            "paths included; rename it, or start medstyle from another folder"
        )
    if os.environ.get("WANDB_CONFIG_PATHS"):
        raise UserError(
            "WANDB_CONFIG_PATHS: wandb would add these files' contents to the run's record; "
            "unset it"
        )


def disable_error_reports() -> None:
    """Keep wandb from sending reports of its own errors; must come before its first use."""
    os.environ["WANDB_ERROR_REPORTING"] = "false"
