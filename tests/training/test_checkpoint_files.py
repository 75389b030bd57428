from __future__ import annotations

import os
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from medstyle_gan.errors import UserError
from medstyle_gan.training.checkpoint import (
    FORMAT_VERSION,
    PARTS,
    DamagedCheckpoint,
    load_checkpoint,
    save_checkpoint,
    step_of_checkpoint,
)
from medstyle_gan.training.checkpoint_files import CheckpointFiles

MARK = 3.25  # a tensor full of it stands in each file, to be found and spoilt


def state_of(step: int) -> dict[str, Any]:
    own = {
        "format_version": FORMAT_VERSION,
        "method": "cyclegan",
        "step": step,
        "networks": torch.full((64,), MARK),
    }
    return dict.fromkeys(PARTS) | own


@pytest.fixture
def files(tmp_path: Path) -> CheckpointFiles:
    return CheckpointFiles(tmp_path / "checkpoints")


@pytest.fixture
def no_links(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: Any, **kwargs: Any) -> None:
        raise OSError("no hard links on this disk")

    monkeypatch.setattr(os, "link", refuse)


def save(files: CheckpointFiles, *steps: int, best: int | None = None, keep: int = 3) -> None:
    for step in steps:
        files.save(state_of(step), keep, regular=True, best=step == best)


def cut_short(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def flip_a_bit(path: Path) -> None:
    content = bytearray(path.read_bytes())
    mark = torch.full((2,), MARK).numpy().tobytes()
    content[content.index(mark)] ^= 1
    # In place: a hard link must go on naming the same file.
    path.write_bytes(bytes(content))


def empty(path: Path) -> None:
    os.truncate(path, 0)


def garble(path: Path) -> None:
    path.write_bytes(b"x" * path.stat().st_size)


SPOILING = [cut_short, flip_a_bit, empty, garble]


def names(files: CheckpointFiles) -> list[str]:
    return sorted(path.name for path in files.folder.iterdir())


@pytest.mark.parametrize("keep", [1, 2, 3])
def test_the_last_ones_are_kept_and_last_is_the_newest(files: CheckpointFiles, keep: int) -> None:
    save(files, 5, 10, 15, 20, keep=keep)
    kept = [f"step_{step:08d}.ckpt" for step in (5, 10, 15, 20)][-keep:]
    assert names(files) == ["last.ckpt", *kept]
    assert load_checkpoint(files.last)["step"] == 20


def test_last_takes_no_space_of_its_own(files: CheckpointFiles) -> None:
    save(files, 5, 10)
    assert files.last.samefile(files.numbered()[10])


@pytest.mark.usefixtures("no_links")
def test_where_there_are_no_links_last_is_a_copy(files: CheckpointFiles) -> None:
    save(files, 5, 10, best=10)
    assert not files.last.samefile(files.numbered()[10])
    assert {load_checkpoint(p)["step"] for p in (files.last, files.best)} == {10}
    cut_short(files.numbered()[10])
    assert files.newest_intact().path == files.last


def test_saving_a_step_again_leaves_no_temporary_file(files: CheckpointFiles) -> None:
    save(files, 5, 5, best=5)
    assert names(files) == ["best.ckpt", "last.ckpt", "step_00000005.ckpt"]


def test_the_best_one_stays_when_its_step_is_removed(files: CheckpointFiles) -> None:
    save(files, 5, 10, 15, best=5, keep=1)
    assert load_checkpoint(files.best)["step"] == 5
    files.save(state_of(17), 1, regular=False, best=True)
    assert load_checkpoint(files.best)["step"] == 17
    assert load_checkpoint(files.last)["step"] == 15


@pytest.mark.parametrize("spoil", SPOILING)
def test_damaged_newest_one_is_passed_over_and_named(
    files: CheckpointFiles, spoil: Callable[[Path], None]
) -> None:
    save(files, 5, 10, 15)
    spoil(files.last)
    found = files.newest_intact()
    assert found.state["step"] == 10
    told = found.describe()
    assert told is not None
    assert "step_00000015.ckpt: damaged" in told
    assert "going on from step_00000010.ckpt" in told


def test_nothing_is_told_where_nothing_is_damaged(files: CheckpointFiles) -> None:
    save(files, 5, 10)
    assert files.newest_intact().describe() is None


def test_newest_is_found_though_last_names_an_older_one(files: CheckpointFiles) -> None:
    save(files, 5)
    save_checkpoint(files.folder / "step_00000010.ckpt", state_of(10))  # killed right after it
    assert files.newest_intact().state["step"] == 10


def test_last_alone_is_enough(files: CheckpointFiles) -> None:
    save(files, 5, 10)
    for path in files.numbered().values():
        path.unlink()
    assert files.any()
    assert files.newest_intact().path == files.last


def test_last_is_chosen_where_only_older_numbered_ones_are_left(files: CheckpointFiles) -> None:
    save(files, 5, 10)
    files.numbered()[10].unlink()
    assert files.newest_intact().path == files.last


def test_steps_of_more_than_eight_digits_count_as_numbers(files: CheckpointFiles) -> None:
    save(files, 99_999_999, 100_000_000)
    assert list(files.numbered()) == [100_000_000, 99_999_999]


@pytest.mark.parametrize("spoil", SPOILING)
def test_where_none_is_intact_all_are_named_and_the_best_one_is_told_of(
    files: CheckpointFiles, spoil: Callable[[Path], None]
) -> None:
    files.save(state_of(3), 3, regular=False, best=True)
    save(files, 5, 10)
    for path in files.numbered().values():
        spoil(path)
    with pytest.raises(UserError) as caught:
        files.newest_intact()
    for part in ("step_00000005.ckpt", "step_00000010.ckpt", "best.ckpt, of step 3", "new run"):
        assert part in str(caught.value)
    shutil.copy(files.best, files.last)  # as the message says
    assert files.newest_intact().state["step"] == 3


def test_passed_over_damaged_one_never_takes_the_place_of_a_good_one(
    files: CheckpointFiles,
) -> None:
    save(files, 5, 10, keep=2)
    cut_short(files.numbered()[10])
    save(files, 6, 7, keep=1)  # the resumed run has another `checkpoint_every`
    assert files.newest_intact().state["step"] == 7
    save(files, 10, 11, keep=1)
    assert names(files) == ["last.ckpt", "step_00000011.ckpt"]


def test_no_checkpoint_at_all(files: CheckpointFiles) -> None:
    assert not files.any()
    with pytest.raises(UserError, match="before its first checkpoint; remove its folder"):
        files.newest_intact()


def test_step_is_told_without_loading(files: CheckpointFiles) -> None:
    save(files, 5)
    assert step_of_checkpoint(files.last) == 5
    cut_short(files.last)
    assert step_of_checkpoint(files.last) is None
    assert step_of_checkpoint(files.folder / "none.ckpt") is None


class Bomb:
    """Makes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return (os.mkdir, (str(self.path),))


def write_bomb(path: Path, bomb: Bomb, plainly: bool) -> None:
    state = state_of(5) | {"extra": bomb}
    path.parent.mkdir(parents=True)
    if plainly:
        path.write_bytes(pickle.dumps(state))
    else:
        torch.save(state, path)


@pytest.mark.parametrize("plainly", [False, True])
def test_pickled_code_is_refused_and_does_not_run(
    files: CheckpointFiles, tmp_path: Path, plainly: bool
) -> None:
    boom = tmp_path / "boom"
    write_bomb(files.last, Bomb(boom), plainly)
    with pytest.raises(UserError, match=r"last\.ckpt: .*(could run code|not a checkpoint)"):
        files.newest_intact()
    assert not boom.exists()
    if not plainly:
        torch.load(files.last, weights_only=False)
        assert boom.exists()  # it would have run


def test_pickled_code_is_an_error_even_where_an_older_one_is_good(files: CheckpointFiles) -> None:
    save(files, 5)
    torch.save(state_of(10) | {"extra": Bomb(files.folder)}, files.folder / "step_00000010.ckpt")
    with pytest.raises(UserError, match=r"step_00000010\.ckpt: .*could run code"):
        files.newest_intact()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format_version": FORMAT_VERSION + 1}, "a newer medstyle_gan .*update"),
        ({"format_version": 1}, "an older medstyle_gan"),
        ({"format_version": None}, "not a checkpoint of medstyle train"),
    ],
)
def test_another_format_is_refused(
    files: CheckpointFiles, change: dict[str, Any], message: str
) -> None:
    save_checkpoint(files.last, state_of(5) | change)
    with pytest.raises(UserError, match=rf"last\.ckpt: .*{message}") as caught:
        load_checkpoint(files.last)
    assert not isinstance(caught.value, DamagedCheckpoint)


@pytest.mark.parametrize("state", [{}, {"state_dict": {}, "epoch": 1}, [1], 5])
def test_something_else_that_torch_saved_is_refused(files: CheckpointFiles, state: Any) -> None:
    files.folder.mkdir()
    torch.save(state, files.last)
    with pytest.raises(UserError, match=r"last\.ckpt: not a checkpoint of medstyle train"):
        files.newest_intact()


@pytest.mark.parametrize("part", sorted(PARTS))
def test_a_checkpoint_that_lacks_a_part_is_refused(files: CheckpointFiles, part: str) -> None:
    state = {name: value for name, value in state_of(5).items() if name != part}
    save_checkpoint(files.last, state)
    with pytest.raises(UserError, match=r"last\.ckpt: not a checkpoint of medstyle train"):
        files.newest_intact()


def test_a_folder_in_place_of_the_file_is_refused(files: CheckpointFiles) -> None:
    files.last.mkdir(parents=True)
    with pytest.raises(UserError, match=r"last\.ckpt: is a folder"):
        files.newest_intact()
