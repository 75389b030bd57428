"""Weights & Biases through Lightning's logger, with our steps as the axis and no paths."""

from __future__ import annotations

import json
import os
import re
import secrets
import shlex
import shutil
from collections.abc import Callable, Mapping
from contextlib import chdir
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import lightning as L
from lightning.pytorch.loggers import WandbLogger
from lightning.pytorch.loggers.logger import rank_zero_experiment
from lightning.pytorch.utilities import rank_zero_only

from medstyle_gan.config import Config
from medstyle_gan.errors import UserError
from medstyle_gan.training.wandb_privacy import (
    SETTINGS,
    disable_error_reports,
    public_config,
    refuse_foreign_config,
)
from medstyle_gan.volumes import atomic_file

if TYPE_CHECKING:
    from wandb import Run

_RECORD_HEADER = 7  # bytes of a .wandb file without a record
_MEND = "run `wandb login` or set WANDB_API_KEY, or use --wandb offline and `wandb sync` later"


def make_wandb_logger(config: Config, run_folder: Path) -> PrivateWandbLogger | None:
    """The logger that `logging.wandb` asks for, or None when it is `off`.

    Environment variables such as WANDB_MODE do not change what the config says.

    Raises:
        UserError: `online` without a login, a run name that is a path, or configuration of
            wandb's own that would add to the record.
    """
    if config.logging.wandb == "off":
        return None
    name = config.logging.run_name
    if name is not None and re.search(r"[/\\]", name):
        raise UserError(
            f"logging.run_name: {name!r} looks like a path, which must not reach W&B; "
            "choose a name without slashes"
        )
    refuse_foreign_config()
    disable_error_reports()
    if config.logging.wandb == "online":
        _require_login()
    return PrivateWandbLogger(config, run_folder)


class PrivateWandbLogger(WandbLogger):
    """A W&B run inside the run's folder that holds no path, command line, user or host.

    A resumed run goes on under the same id, online as the same run, offline in a further folder
    that `wandb sync` joins to the first. Its axis is `step`, the method's: wandb's own count and
    Lightning's `trainer/global_step` are not used, so that steps may go back. A run that was
    killed makes the steps since its checkpoint again; W&B keeps what it was given of them the
    first time, and gets each figure of a step once. (`metrics.csv` has them as made again; where
    a resume is exact they are the same.) In a sweep the id and the project are the sweep's.

    Args:
        config: All settings; `logging.wandb` is `offline` or `online`.
        run_folder: The run; wandb's folder becomes `run_folder/wandb`, and `wandb_run.json`
            keeps the id and the steps that were given.
    """

    def __init__(self, config: Config, run_folder: Path) -> None:
        self._memory = _Memory.read(run_folder)
        sweep = bool(os.environ.get("WANDB_SWEEP_ID"))
        super().__init__(
            project=os.environ.get("WANDB_PROJECT") if sweep else config.logging.project,
            name=config.logging.run_name or f"{config.method.name}-{self._memory.id}",
            id=self._memory.id,
            save_dir=run_folder,
        )
        self._mode: Literal["online", "offline"] = (
            "online" if config.logging.wandb == "online" else "offline"
        )
        self._run: Run | None = None
        self._public_config = public_config(config)
        self._folder = run_folder.absolute()
        self._waits_for_model = config.logging.upload_model

    @property
    @rank_zero_experiment
    def experiment(self) -> Run:
        """The wandb run, begun when first asked for.

        Raises:
            UserError: W&B cannot be reached or refuses the login.
        """
        if self._run is None:
            self._run = self._experiment = self._begin()
        return self._run

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Log scalars (or wandb media) at one of our steps."""
        if step is None:
            self.experiment.log(dict(metrics))
            return
        new = {name: value for name, value in metrics.items() if self._memory.is_new(name, step)}
        if new:
            self.experiment.log(new | {"step": step})
            self._memory.note(new, step)

    @rank_zero_only
    def log_hyperparams(self, params: Any, *args: Any, **kwargs: Any) -> None:
        """Nothing: the config went with the run, and Lightning's would hold paths."""

    @rank_zero_only
    def finalize(self, status: str) -> None:
        """End the run (Lightning calls it), but for a model that is still to come."""
        if not (self._waits_for_model and status == "success"):
            self.close(status)

    @rank_zero_only
    def upload_model(self, model: Path, steps: int) -> None:
        """Log the files of a folder as an artefact named after the run.

        Args:
            model: Lies in the run's folder.
            steps: Steps that it was trained for.
        """
        import wandb

        artifact = wandb.Artifact(f"model-{self._id}", "model", metadata={"steps": steps})
        # wandb notes where the files are until they are sent. An offline run keeps that for
        # long, so that it names them as seen from the run's folder. Nor does it get a copy in
        # the user's home ("immutable").
        run, folder = self.experiment, self._folder
        with chdir(folder):
            for file in sorted((folder / model.name).iterdir()):
                place = file.relative_to(folder) if self._mode == "offline" else file
                artifact.add_file(str(place), file.name, policy="immutable", skip_cache=True)
            run.log_artifact(artifact)

    @rank_zero_only
    def close(self, status: str = "success") -> None:
        """End the run; what is logged later begins it anew."""
        if self._run is not None:
            self._run.finish(exit_code=0 if status == "success" else 1)
            self._run = self._experiment = None
            _remove_logs(self._folder)

    def describe(self) -> str:
        """One line for the user: where the run is, and how to send it."""
        if self._mode == "online":
            return f"W&B: {self.experiment.url}"
        self.experiment  # noqa: B018 - its folder is to be there
        # `wandb sync` would send the path of its own program; a model's files are named as seen
        # from here. All folders of a run that was resumed are sent together, oldest first.
        records = f"wandb/offline-run-*-{self._id}"
        folder = shlex.quote(str(self._folder))
        return (
            f"W&B: offline; send it with `(cd {folder} && WANDB_PROGRAM=medstyle wandb sync "
            f"{records})`"
        )

    def _begin(self) -> Run:
        import wandb

        _remove_empty_records(self._folder)
        self._memory.write()

        try:
            run = wandb.init(
                project=self._project,
                name=self._name,
                id=self._id,
                dir=self._folder,
                mode=self._mode,
                resume="allow",
                reinit="create_new",  # never into a run that is under way in this process
                config=self._public_config,
                settings=wandb.Settings(silent=self._mode == "offline", quiet=True, **SETTINGS),
            )
        except (wandb.Error, TimeoutError) as error:
            raise UserError(
                f"logging.wandb: W&B did not take the run ({error}); {_MEND}"
            ) from error
        finally:
            _remove_logs(self._folder)
        run.define_metric("step")
        run.define_metric("*", step_metric="step", step_sync=True)
        return run


class WandbAnnouncement(L.Callback):
    """Says where the W&B run is once the training is under way, and with it the run.

    Args:
        logger: The run's.
        announce: Takes the line.
    """

    def __init__(self, logger: PrivateWandbLogger, announce: Callable[[str], None]) -> None:
        self._logger = logger
        self._announce = announce

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Say it."""
        if trainer.is_global_zero:
            self._announce(self._logger.describe())


def _require_login() -> None:
    # wandb has no public question for "is there a login?" that never prompts.
    import wandb
    from wandb.sdk import wandb_setup
    from wandb.sdk.lib import wbauth

    host = wandb_setup.singleton().settings.base_url
    try:
        login = wbauth.authenticate_session(
            host=host, source="medstyle", prompt=False, update_session=False
        )
    except wandb.Error as error:
        raise UserError(
            f"logging.wandb: the login for {host} is not valid ({error}); {_MEND}"
        ) from error
    if login is None:
        raise UserError(f"logging.wandb is online, but there is no login for {host}; {_MEND}")


class _Memory:
    """What a resumed run must know of its W&B run: the id, and the steps that were given.

    Attributes:
        id: W&B's.
    """

    def __init__(self, path: Path, run_id: str, given: Mapping[str, int]) -> None:
        self._path = path
        self.id = run_id
        self._earlier = dict(given)  # by earlier processes
        self._given = dict(given)

    @classmethod
    def read(cls, run_folder: Path) -> _Memory:
        """The run's, or a new one's.

        Raises:
            UserError: the file is damaged.
        """
        path = run_folder / "wandb_run.json"
        if not path.exists():
            run_id = os.environ.get("WANDB_RUN_ID") if os.environ.get("WANDB_SWEEP_ID") else None
            return cls(path, run_id or secrets.token_hex(4), {})
        try:
            content = json.loads(path.read_text())
            return cls(path, str(content["id"]), {k: int(v) for k, v in content["given"].items()})
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise UserError(
                f"{path}: damaged, so that the W&B run cannot go on; remove it, and a new W&B run "
                "begins"
            ) from error

    def is_new(self, name: str, step: int) -> bool:
        """Whether no earlier process gave a figure's group at this step or later."""
        return step > self._earlier.get(_group(name), -1)

    def note(self, names: Mapping[str, object], step: int) -> None:
        """Remember what was given."""
        self._given |= {_group(name): step for name in names}
        self.write()

    def write(self) -> None:
        with atomic_file(self._path) as file:
            file.write((json.dumps({"id": self.id, "given": self._given}) + "\n").encode())


def _group(name: str) -> str:
    """Rows, validations and panels have steps of their own: `loss` of `loss/cycle_scan`."""
    return name.partition("/")[0]


def _remove_empty_records(run_folder: Path) -> None:
    """Remove the folder of a run that was killed before wandb wrote anything: none can read it."""
    for record in (run_folder / "wandb").glob("offline-run-*/run-*.wandb"):
        if record.stat().st_size <= _RECORD_HEADER:
            shutil.rmtree(record.parent, ignore_errors=True)


def _remove_logs(run_folder: Path) -> None:
    """Remove wandb's own logs: they name the run folder and link into the user's home.

    Both processes keep writing to the removed files; nothing reads them.
    """
    for logs in (run_folder / "wandb").glob("*run-*/logs"):
        shutil.rmtree(logs, ignore_errors=True)
