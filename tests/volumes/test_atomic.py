from __future__ import annotations

import errno
import os
import resource
import stat
from pathlib import Path

import pytest

from medstyle_gan.errors import UserError
from medstyle_gan.volumes import atomic_file, ensure_writable_folder
from medstyle_gan.volumes.atomic import remove_left_over, second_name


def test_the_file_has_its_name_only_once_it_is_whole(tmp_path):
    path = tmp_path / "new" / "folder" / "file"
    with atomic_file(path) as file:
        file.write(b"half")
        file.flush()
        assert not path.exists()
        (temporary,) = path.parent.iterdir()
        assert temporary.suffix == ".part"
        file.write(b" and half")
    assert path.read_bytes() == b"half and half"
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize(
    "error", [KeyboardInterrupt(), ValueError("x"), OSError(errno.ENOSPC, "full"), SystemExit(1)]
)
def test_after_any_error_the_old_file_stays_and_no_other(tmp_path, error):
    path = tmp_path / "file"
    path.write_bytes(b"old")
    expected = UserError if isinstance(error, OSError) else type(error)

    def fail() -> None:
        with atomic_file(path) as file:
            file.write(b"new")
            raise error

    with pytest.raises(expected):
        fail()
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (errno.ENOSPC, "disk is full"),
        (errno.EDQUOT, "disk is full"),
        (errno.EACCES, "not writable"),
        (errno.EROFS, "not writable"),
        (errno.EIO, "cannot be written"),
    ],
)
def test_the_error_says_what_is_wrong_and_where(tmp_path, number, words):
    with pytest.raises(UserError, match=words) as caught, atomic_file(tmp_path / "file"):
        raise OSError(number, os.strerror(number))
    assert str(tmp_path) in str(caught.value)


def test_a_write_that_the_system_refuses_leaves_no_half_file(tmp_path):
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))
        with pytest.raises(UserError), atomic_file(tmp_path / "file") as file:
            file.write(bytes(1_000_000))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert list(tmp_path.iterdir()) == []


def test_permissions_are_those_of_any_new_file(tmp_path):
    (tmp_path / "usual").touch()
    with atomic_file(tmp_path / "ours"):
        pass
    modes = {stat.S_IMODE((tmp_path / name).stat().st_mode) for name in ("usual", "ours")}
    assert len(modes) == 1


def test_a_folder_in_the_files_place_is_refused(tmp_path):
    (tmp_path / "taken").mkdir()
    with pytest.raises(UserError, match="is a folder"), atomic_file(tmp_path / "taken"):
        pass


def under_a_file(tmp_path: Path) -> Path:
    (tmp_path / "file").touch()
    return tmp_path / "file" / "out"


def test_a_folder_under_a_file_is_refused_by_both(tmp_path):
    folder = under_a_file(tmp_path)
    with pytest.raises(UserError, match="not a folder"):
        ensure_writable_folder(folder)
    with pytest.raises(UserError, match="not a folder"), atomic_file(folder / "x"):
        pass


def test_a_file_in_the_folders_place_is_refused(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="not a folder"):
        ensure_writable_folder(tmp_path / "file")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write into every folder")
def test_a_read_only_folder_is_refused(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(UserError, match="not writable"):
        ensure_writable_folder(tmp_path)
    with pytest.raises(UserError, match="not writable"), atomic_file(tmp_path / "x"):
        pass


def test_a_refused_probe_is_told_as_an_unwritable_folder(tmp_path, monkeypatch):
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(Path, "touch", refuse)
    with pytest.raises(UserError, match="not writable") as caught:
        ensure_writable_folder(tmp_path)
    assert str(tmp_path) in str(caught.value)


def test_a_writable_folder_is_made_and_left_empty(tmp_path):
    ensure_writable_folder(tmp_path / "a" / "b")
    assert list((tmp_path / "a" / "b").iterdir()) == []


def test_second_name_replaces_whole_files_and_lives_apart(tmp_path):
    first, other = tmp_path / "first", tmp_path / "other"
    first.write_bytes(b"new")
    other.write_bytes(b"old")
    second_name(first, other)
    second_name(first, other)  # where it has that name already
    assert other.read_bytes() == b"new"
    with atomic_file(first) as file:
        file.write(b"newer")
    assert other.read_bytes() == b"new"
    assert sorted(tmp_path.iterdir()) == [first, other]


def test_second_name_is_a_copy_where_disks_have_no_links(tmp_path, monkeypatch):
    def refuse(*args, **kwargs):
        raise OSError(errno.EPERM, "no links")

    monkeypatch.setattr(os, "link", refuse)
    first, other = tmp_path / "first", tmp_path / "other"
    first.write_bytes(b"new")
    second_name(first, other)
    assert other.read_bytes() == b"new"
    assert not first.samefile(other)
    assert sorted(tmp_path.iterdir()) == [first, other]


def test_second_name_in_place_of_a_folder_is_refused(tmp_path):
    first, other = tmp_path / "first", tmp_path / "other"
    first.write_bytes(b"new")
    other.mkdir()
    with pytest.raises(UserError, match="other: is a folder"):
        second_name(first, other)
    assert sorted(tmp_path.iterdir()) == [first, other]


def test_what_killed_programs_left_is_removed_and_nothing_else(tmp_path):
    (tmp_path / "in").mkdir()
    left = [tmp_path / ".medstyle-12ab.part", tmp_path / "in" / ".medstyle-3.part"]
    kept = [tmp_path / "mine.part", tmp_path / ".other-1.part", tmp_path / "in" / "a.ckpt"]
    for path in left + kept:
        path.touch()
    assert remove_left_over(tmp_path) == 2
    assert sorted(p for p in tmp_path.rglob("*") if p.is_file()) == sorted(kept)
