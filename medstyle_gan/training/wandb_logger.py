"""Weights & Biases through Lightning's logger, with our steps as the axis and no paths."""

from __future__ import annotations

import re
import secrets
import shlex
import shutil
from collections.abc import Callable, Mapping
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

if TYPE_CHECKING:
    from wandb import Run

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

    A resumed run goes on under the same id. Its axis is `step`, the method's: wandb's own
    count and Lightning's `trainer/global_step` are not used.

    Args:
        config: All settings; `logging.wandb` is `offline` or `online`.
        run_folder: The run; wandb's folder becomes `run_folder/wandb`.
    """

    def __init__(self, config: Config, run_folder: Path) -> None:
        run_id = _earlier_id(run_folder) or secrets.token_hex(4)
        super().__init__(
            project=config.logging.project,
            name=config.logging.run_name or f"{config.method.name}-{run_id}",
            id=run_id,
            save_dir=run_folder,
        )
        self._mode: Literal["online", "offline"] = (
            "online" if config.logging.wandb == "online" else "offline"
        )
        self._run: Run | None = None
        self._public_config = public_config(config)
        self._folder = run_folder

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
        axis = {} if step is None else {"step": step}
        self.experiment.log(dict(metrics) | axis)

    @rank_zero_only
    def log_hyperparams(self, params: Any, *args: Any, **kwargs: Any) -> None:
        """Nothing: the config went with the run, and Lightning's would hold paths."""

    @rank_zero_only
    def finalize(self, status: str) -> None:
        """End the run (Lightning calls it); what is logged later begins it anew."""
        if self._run is not None:
            self._run.finish(exit_code=0 if status == "success" else 1)
            self._run = self._experiment = None
            _remove_logs(self._folder)

    def describe(self) -> str:
        """One line for the user: where the run is, and how to send it."""
        if self._mode == "online":
            return f"W&B: {self.experiment.url}"
        # `wandb sync` would send the path of its own program.
        folder = shlex.quote(str(Path(self.experiment.dir).parent))
        return f"W&B: offline; send it with `WANDB_PROGRAM=medstyle wandb sync {folder}`"

    def _begin(self) -> Run:
        import wandb

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


def _earlier_id(run_folder: Path) -> str | None:
    records = sorted((run_folder / "wandb").glob("*run-*/run-*.wandb"))
    return records[-1].stem.removeprefix("run-") if records else None


def _remove_logs(run_folder: Path) -> None:
    """Remove wandb's own logs: they name the run folder and link into the user's home.

    Both processes keep writing to the removed files; nothing reads them.
    """
    for logs in (run_folder / "wandb").glob("*run-*/logs"):
        shutil.rmtree(logs, ignore_errors=True)
