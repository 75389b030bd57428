"""Collections and pairs that cannot be used: exit 2, one message, nothing written."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import pytest

from medstyle_gan.cli import main
from medstyle_gan.data.phantom import PhantomFolders
from tests.end_to_end.conftest import Refused
from tests.end_to_end.tiny import TINY, train_command


@pytest.mark.parametrize("command", ["check", "train"])
@pytest.mark.parametrize("option", ["--scans", "--style"])
@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (None, "no such file or folder; check the path"),
        ((), "no volume or picture in this folder; give one that holds .nii.gz"),
        (("notes.docx", ".hidden.nii.gz"), "no volume or picture in this folder; give one"),
    ],
    ids=["missing", "empty", "nothing_known"],
)
def test_a_collection_that_is_not_there_is_refused(
    folders: PhantomFolders,
    tmp_path: Path,
    refused: Refused,
    command: str,
    option: str,
    content: tuple[str, ...] | None,
    expected: str,
) -> None:
    place = tmp_path / "place"
    if content is not None:
        place.mkdir()
        for name in content:
            (place / name).write_bytes(b"")
    collections = {"--scans": folders.scans, "--style": folders.style} | {option: place}
    options = [word for pair in collections.items() for word in pair]
    message = refused(command, *options, *TINY, "-o", tmp_path / "new")
    assert message.startswith(f"{place}: {expected}")


def same_folder(folders: PhantomFolders) -> Path:
    return folders.scans


def a_link_to_it(folders: PhantomFolders) -> Path:
    link = folders.scans.parent / "link"
    link.symlink_to(folders.scans)
    return link


def copies(folders: PhantomFolders) -> Path:
    for number, path in enumerate(sorted(folders.scans.iterdir())):
        shutil.copy(path, folders.style / f"sub-9{number}.nii.gz")
    return folders.style


@pytest.mark.parametrize("command", ["check", "train"])
@pytest.mark.parametrize("make", [same_folder, a_link_to_it, copies], ids=lambda f: f.__name__)
def test_a_style_of_the_same_files_is_refused(
    folders: PhantomFolders,
    tmp_path: Path,
    refused: Refused,
    command: str,
    make: Callable[[PhantomFolders], Path],
) -> None:
    style = make(folders)
    message = refused(
        command, "--scans", folders.scans, "--style", style, *TINY, "-o", tmp_path / "new"
    )
    of = 6 if make is copies else 3
    assert message.startswith(f"3 of {of} files of the style collection ({style})")
    assert "give two different collections" in message


@pytest.mark.parametrize("missing", ["--scans", "--style"])
def test_a_collection_that_was_forgotten_is_asked_for(
    folders: PhantomFolders, tmp_path: Path, refused: Refused, missing: str
) -> None:
    given = {"--scans": folders.scans, "--style": folders.style}
    del given[missing]
    ((option, folder),) = given.items()
    message = refused("train", option, folder, "-o", tmp_path / "run", *TINY)
    assert f"(or {missing})" in message


def test_a_sample_larger_than_every_volume_is_refused_with_one_that_fits(
    folders: PhantomFolders, tmp_path: Path, refused: Refused
) -> None:
    size = "data.sample_size=[256,256]"
    message = refused(*train_command(folders.scans, folders.style, tmp_path / "run", size))
    assert "data.sample_size 256x256 is larger than every volume of the scan" in message
    assert "set data.sample_size=[40,40]" in message
    fitting = train_command(folders.scans, folders.style, tmp_path / "run", "training.steps=1")
    assert main([*map(str, fitting), "data.sample_size=[40,40]"]) == 0


@pytest.mark.parametrize("spoil", ["missing", "no pairs", "other grid"])
def test_pairs_that_are_none_are_refused(
    folders: PhantomFolders, tmp_path: Path, refused: Refused, spoil: str
) -> None:
    pairs = folders.pairs
    if spoil == "missing":
        pairs = tmp_path / "nowhere"
    elif spoil == "no pairs":
        (pairs / "sub-201").rename(tmp_path / "elsewhere")
    else:
        path = pairs / "sub-201" / "style.nii.gz"
        image = nib.load(path)
        nib.save(image.slicer[:, :, 1:], path)
    message = refused(
        *train_command(folders.scans, folders.style, tmp_path / "run", "--pairs", pairs)
    )
    assert str(pairs) in message
