"""The checkpoints of a run on disk: which there are, which is the newest intact one.

`step_00001500.ckpt` are the regular ones, of which the latest few are kept; `last.ckpt` is a
second name of the newest, `best.ckpt` the one with the best validation score. A program killed
between any two operations leaves whole files only, and a resume goes on from the newest:

1. the best one is written, where this step is the best so far: were it written after the
   numbered one, a kill between the two would leave a resumed run without it;
2. the numbered one is written under a temporary name and renamed;
3. `last.ckpt` becomes its second name. A kill before that leaves it naming an older one, which
   is why a resume looks at the numbered files too;
4. numbered ones beyond those to keep are removed.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from medstyle_gan.errors import UserError
from medstyle_gan.training.checkpoint import (
    DamagedCheckpoint,
    load_checkpoint,
    save_checkpoint,
    step_of_checkpoint,
)
from medstyle_gan.volumes.atomic import second_name

_NUMBERED = re.compile(r"step_(\d{8,})\.ckpt")


@dataclass(frozen=True)
class Found:
    """A checkpoint to go on from.

    Attributes:
        path: its file.
        state: its contents.
        damaged: why each newer file was not chosen.
    """

    path: Path
    state: dict[str, Any]
    damaged: list[str] = field(default_factory=list)

    def describe(self) -> str | None:
        """One line on what was passed over; None where that was nothing."""
        if not self.damaged:
            return None
        return (
            f"{'; '.join(self.damaged)}; going on from {self.path.name}, the newest intact "
            f"checkpoint (step {self.state['step']})"
        )


@dataclass(frozen=True)
class CheckpointFiles:
    """The files in a run's `checkpoints/`."""

    folder: Path

    @property
    def last(self) -> Path:
        """The name of the newest."""
        return self.folder / "last.ckpt"

    @property
    def best(self) -> Path:
        """The one with the best validation score."""
        return self.folder / "best.ckpt"

    def numbered(self) -> dict[int, Path]:
        """The regular ones by step, the newest first."""
        names = self.folder.glob("step_*.ckpt")
        found = ((_NUMBERED.fullmatch(path.name), path) for path in names)
        return dict(sorted(((int(m[1]), path) for m, path in found if m), reverse=True))

    def any(self) -> bool:
        """Whether there is one to go on from, intact or not."""
        return self.last.exists() or bool(self.numbered())

    def save(self, state: dict[str, Any], keep: int, regular: bool, best: bool) -> None:
        """Write one step's checkpoint under the names that are due.

        Args:
            state: its contents, with `step`.
            keep: regular ones to keep.
            regular: whether it is a regular one.
            best: whether it is the best so far.

        Raises:
            UserError: when the disk refuses it; all that stood there before stays.
        """
        if best:
            save_checkpoint(self.best, state)
        if not regular:
            return
        path = self.folder / f"step_{state['step']:08d}.ckpt"
        if best:
            second_name(self.best, path)
        else:
            save_checkpoint(path, state)
        second_name(path, self.last)
        self.remove_old(keep, state["step"])

    def remove_old(self, keep: int, newest: int) -> None:
        """Remove regular ones beyond the latest `keep` of steps up to `newest`.

        Those of later steps are damaged ones that a resume has passed over: they must not take
        the place of good ones, and go when the training gets there.
        """
        done = [path for step, path in self.numbered().items() if step <= newest]
        for path in done[keep:]:
            path.unlink(missing_ok=True)

    def newest_intact(self) -> Found:
        """Read the newest checkpoint that is whole.

        Raises:
            UserError: there is none, or one is no checkpoint of this version and method.
        """
        candidates = list(self.numbered().items())
        if not any(_same_file(path, self.last) for _, path in candidates):
            step = step_of_checkpoint(self.last)
            candidates += [] if step is None else [(step, self.last)]
            # Of equal steps the numbered one first: sorting keeps their order.
            candidates.sort(key=lambda candidate: candidate[0], reverse=True)
            if step is None and (self.last.exists() or self.last.is_symlink() or not candidates):
                candidates.insert(0, (-1, self.last))  # its step is unknown; loading tells why
        damaged: list[str] = []
        for _, path in candidates:
            try:
                state = load_checkpoint(path)
            except DamagedCheckpoint as error:
                damaged.append(str(error) if not damaged else error.in_short)
            else:
                return Found(path, state, damaged)
        raise UserError(
            "; ".join(damaged)
            + "; there is no other to go on from: put back a copy of a checkpoint"
            + self._say_where_best_is()
            + ", or start a new run in another folder"
        )

    def _say_where_best_is(self) -> str:
        step = step_of_checkpoint(self.best)
        if step is None:
            return ""
        return f" (best.ckpt, of step {step}, can be copied to last.ckpt)"


def _same_file(path: Path, other: Path) -> bool:
    return other.exists() and path.samefile(other)
