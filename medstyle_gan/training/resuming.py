"""Going on with a run: from which checkpoint, and what the user should know of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from pydantic import ValidationError

from medstyle_gan.config import Config
from medstyle_gan.errors import UserError
from medstyle_gan.training.checkpoint_files import Found
from medstyle_gan.training.config_changes import describe_changes, refuse_changes
from medstyle_gan.training.run_folder import RunFolder
from medstyle_gan.training.run_record import describe_differences


@dataclass(frozen=True)
class Resumed:
    """A run to go on with.

    Attributes:
        state: contents of its checkpoint.
        notices: lines for the user.
    """

    state: dict[str, Any]
    notices: list[str] = field(default_factory=list)

    def compare(self, made_with: dict[str, Any]) -> None:
        """Notice where this program or machine is not that of the checkpoint."""
        differences = describe_differences(self.state["made_with"], made_with)
        if differences is not None:
            self.notices.append(differences)


def find_resumed(run: RunFolder, config: Config, processes: int) -> Resumed:
    """The newest intact checkpoint of a run, if this config may go on with it.

    What the weights were trained with stands in the checkpoint: config.yaml can be edited.

    Args:
        run: its folder.
        config: asked for.
        processes: of the training, over all machines.

    Raises:
        UserError: there is no run or no intact checkpoint, or it is one of another training.
    """
    found = run.checkpoints.newest_intact()
    state, path = found.state, found.path
    if state["method"] != config.method.name:
        raise UserError(
            f"{path}: a checkpoint of {state['method']}, not of {config.method.name}; put back "
            "one of this run, or start a new run in another folder"
        )
    changed = refuse_changes(_config_of(found), config, state["step"])
    if len(state["ranks"]) != processes:
        raise UserError(
            f"{path}: written by {len(state['ranks'])} processes together, now there are "
            f"{processes}; each has random numbers of its own: go on with as many "
            "(training.devices, training.nodes), or start a new run in another folder"
        )
    notices = [found.describe(), describe_changes(changed) if changed else None]
    return Resumed(state, [notice for notice in notices if notice is not None])


def _config_of(found: Found) -> Config:
    try:
        return Config.model_validate(found.state["config"])
    except ValidationError as error:
        raise UserError(
            f"{found.path}: its settings are not those of this version of medstyle_gan; go on "
            "with the version that wrote it, or start a new run in another folder"
        ) from error
