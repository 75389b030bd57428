"""The folder that a training fills: what stands where, and when it may be written."""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from medstyle_gan.config import Config, dump_config, load_config
from medstyle_gan.errors import UserError
from medstyle_gan.training.checkpoint_files import CheckpointFiles
from medstyle_gan.volumes import atomic_file, ensure_writable_folder


@dataclass(frozen=True)
class RunFolder:
    """Paths inside a run."""

    path: Path

    @property
    def config(self) -> Path:
        """The resolved configuration."""
        return self.path / "config.yaml"

    @property
    def samples(self) -> Path:
        """Sample panels."""
        return self.path / "samples"

    @property
    def record(self) -> Path:
        """Versions, machine and data."""
        return self.path / "run.yaml"

    @property
    def checkpoints(self) -> CheckpointFiles:
        """All that there are."""
        return CheckpointFiles(self.path / "checkpoints")

    @property
    def model(self) -> Path:
        """All that translation needs."""
        return self.path / "model"

    def refuse_used(self) -> None:
        """Check that a new run may and can be made here, without making anything.

        Raises:
            UserError: when something stands there already, or it can't be written.
        """
        if self.path.exists() and (not self.path.is_dir() or any(self.path.iterdir())):
            hint = ""
            if self.checkpoints.any():
                hint = " or go on with --resume"
            elif self.config.exists():
                hint = " or remove this run, which stopped before its first checkpoint"
            raise UserError(f"{self.path}: exists and is not empty; choose another -o{hint}")
        path = self.path.absolute()
        ensure_writable_folder(next(p for p in (path, *path.parents) if p.exists()))

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keep other trainings out of the folder, which must be there.

        The kernel takes the lock back from a program that is killed.

        Raises:
            UserError: another program trains here.
        """
        path = self.path / ".lock"
        try:
            file = path.open("w")
        except OSError as error:
            raise UserError(
                f"{path}: cannot be written ({error.strerror}); make the run folder writable"
            ) from error
        with file:
            try:
                # This kind does not pass on to loader processes, which outlive a killed run.
                fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except (BlockingIOError, PermissionError) as error:
                raise UserError(
                    f"{self.path}: another training is at work on this run; wait for its end, or "
                    "stop it first"
                ) from error
            except OSError:
                # A disk without locks. Nothing is lost by it, as files appear whole or not at all.
                pass
            yield

    def create(self, config: Config) -> None:
        """Make the folder of a new run.

        Raises:
            UserError: when something stands there already, or it can't be written.
        """
        self.refuse_used()
        self.write_config(config)

    def write_config(self, config: Config) -> None:
        """Write the resolved configuration, whole or not at all."""
        with atomic_file(self.config) as file:
            file.write(dump_config(config).encode())

    def read_config(self) -> Config:
        """The configuration of the run that stands here.

        Raises:
            UserError: when there is no run.
        """
        if not self.config.exists():
            raise UserError(f"{self.path}: no run there (config.yaml is missing)")
        return load_config(self.config)
