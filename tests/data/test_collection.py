from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from medstyle_gan.data.collection import (
    Collection,
    check_distinct,
    find_collection,
)
from medstyle_gan.errors import UserError

PATTERN = r"(sub-[A-Za-z0-9]+|patient\d+)"
Touch = Callable[..., Path]


@pytest.fixture
def touch(tmp_path: Path) -> Touch:
    def make(*names: str, content: str | None = None) -> Path:
        for name in names:
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(name if content is None else content)
        return tmp_path

    return make


def _names(collection: Collection) -> list[str]:
    return [item.path.name for item in collection]


def test_a_folder_is_searched_recursively_without_hidden_and_other_files(touch: Touch) -> None:
    root = touch(
        "b/sub-02_T1w.nii.gz",
        "a/sub-01_T1w.NII",
        "a/notes.txt",
        "a/._sub-01_T1w.nii",
        ".trash/sub-09.nii",
        "sub-03.json",
    )
    found = find_collection(str(root), PATTERN)
    assert _names(found) == ["sub-01_T1w.NII", "sub-02_T1w.nii.gz"]
    assert found.subjects == ("sub-01", "sub-02")
    assert len(found) == 2


def test_linked_folders_are_followed_once(touch: Touch) -> None:
    root = touch("real/sub-01.nii", "data/sub-02.nii")
    (root / "data/linked").symlink_to(root / "real")
    (root / "data/loop").symlink_to(root / "data")
    (root / "data/again.nii").symlink_to(root / "data/sub-02.nii")
    assert find_collection(str(root / "data"), PATTERN).subjects == ("again", "sub-01") or (
        find_collection(str(root / "data"), PATTERN).subjects == ("sub-01", "sub-02")
    )
    assert len(find_collection(str(root / "data"), PATTERN)) == 2


def test_a_glob_takes_volumes_only(touch: Touch) -> None:
    root = touch("s/sub-01_T1w.nii.gz", "s/sub-01_T2w.nii.gz", "s/sub-01_T1w.json")
    found = find_collection(str(root / "**/*_T1w*"), PATTERN)
    assert _names(found) == ["sub-01_T1w.nii.gz"]


def test_several_specs_are_joined_and_repeats_dropped(touch: Touch) -> None:
    root = touch("a/sub-01.nii", "b/sub-02.nii")
    specs = [str(root / "a"), str(root / "b/sub-02.nii"), str(root / "*/*.nii")]
    assert _names(find_collection(specs, PATTERN)) == ["sub-01.nii", "sub-02.nii"]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("list.txt", "# scans\n\nv/x.nii\n  v/y.nii  \n"),
        ("list.csv", "path\nv/x.nii\nv/y.nii\n"),
        ("list.csv", "\ufeffsite;Path\nA;v/x.nii\nB; v/y.nii\n"),
        ("list.json", '["v/x.nii", {"image": "v/y.nii"}]'),
        ("list.json", '{"training": [{"image": "v/x.nii"}, "v/y.nii"], "test": ["v/z.nii"]}'),
    ],
)
def test_lists_are_relative_to_their_folder(touch: Touch, name: str, text: str) -> None:
    root = touch("v/x.nii", "v/y.nii", "v/z.nii")
    (root / name).write_text(text, encoding="utf-8")
    assert _names(find_collection(str(root / name), PATTERN)) == ["x.nii", "y.nii"]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("list.csv", "path,subject\nx_sub-01.nii,anna\ny_sub-02.nii,\n"),
        ("list.json", '[{"image": "x_sub-01.nii", "subject": "anna"}, "y_sub-02.nii"]'),
    ],
)
def test_a_lists_subject_wins_over_the_pattern(touch: Touch, name: str, text: str) -> None:
    root = touch("x_sub-01.nii", "y_sub-02.nii")
    (root / name).write_text(text)
    assert [i.subject for i in find_collection(str(root / name), PATTERN)] == ["anna", "sub-02"]


@pytest.mark.parametrize(
    ("path", "subject"),
    [
        ("d/sub-07_ses-1_T1w.nii.gz", "sub-07"),
        ("d/patient12_study1.nii", "patient12"),
        ("d/sub-03/anat/T1w.nii.gz", "sub-03"),
        ("d/sub-03/patient4/sub-05.nii", "sub-05"),
        ("d/sub-03/patient4/T1w.nii", "patient4"),
        ("d/case A/Brain.v2.nii.gz", "Brain.v2"),
    ],
)
def test_subject_is_the_names_match_else_the_nearest_folders(
    touch: Touch, path: str, subject: str
) -> None:
    (item,) = find_collection(str(touch(path) / "d"), PATTERN)
    assert item.subject == subject


def test_folders_above_the_collection_name_no_subject(touch: Touch) -> None:
    root = touch("patient1_project/scans/a.nii", "patient1_project/scans/b.nii")
    assert find_collection(str(root / "patient1_project/scans"), PATTERN).subjects == ("a", "b")


def test_a_pattern_without_group_gives_the_whole_match(touch: Touch) -> None:
    (item,) = find_collection(str(touch("d/ID0042_x.nii") / "d"), r"ID\d+")
    assert item.subject == "ID0042"


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("nowhere", "no such file or folder"),
        ("empty", "no volume or picture"),
        ("*.mgz", "matches no volume"),
        ("file.mgz", "neither a volume"),
        ("missing.txt", r"2 of 3 .*do not exist.*gone\.nii"),
        ("empty.txt", "empty"),
        ("nopath.csv", "no column 'path'"),
        ("hole.csv", "row 3"),
        ("bad.json", "not valid JSON"),
        ("nokey.json", "'training'"),
        ("entry.json", "entry 1"),
        ("types.txt", r"unknown type.*a\.mgz"),
        ("binary.txt", "UTF-8"),
    ],
)
def test_what_is_no_collection_is_explained(touch: Touch, spec: str, message: str) -> None:
    root = touch("a.nii", "a.mgz", "file.mgz")
    (root / "empty").mkdir()
    texts = {
        "missing.txt": "a.nii\ngone.nii\nalso.nii\n",
        "empty.txt": "# nothing\n",
        "nopath.csv": "file,subject\na.nii,x\n",
        "hole.csv": "path,subject\na.nii,x\n,y\n",
        "bad.json": "[",
        "nokey.json": '{"test": []}',
        "entry.json": '["a.nii", {"img": "a.nii"}]',
        "types.txt": "a.mgz\n",
    }
    for name, text in texts.items():
        (root / name).write_text(text)
    (root / "binary.txt").write_bytes(b"\xff\xfe\xfa")
    with pytest.raises(UserError, match=f"(?s){message}") as caught:
        find_collection(str(root / spec), PATTERN)
    assert spec in str(caught.value)


def test_volumes_and_pictures_do_not_mix(tmp_path: Path, touch: Touch) -> None:
    root = touch("v/sub-01.nii")
    Image.fromarray(np.zeros((4, 4), dtype=np.uint8)).save(root / "v/shot.png")
    with pytest.raises(UserError, match=r"1 volumes and 1 pictures.*shot\.png"):
        find_collection(str(root / "v"), PATTERN)


def test_a_broken_pattern_is_named(touch: Touch) -> None:
    with pytest.raises(UserError, match=r"data\.subject_pattern"):
        find_collection(str(touch("a.nii")), "(")


def test_collections_that_share_files_are_refused_however_they_are_named(touch: Touch) -> None:
    root = touch("a/sub-01.nii", "a/sub-02.nii", "b/sub-03.nii")
    scans = find_collection(str(root / "a"), PATTERN)
    check_distinct(scans, find_collection(str(root / "b"), PATTERN))
    with pytest.raises(UserError, match="2 of 2 files"):
        check_distinct(scans, find_collection(str(root / "a/*.nii"), PATTERN))
    shutil.copy(root / "a/sub-02.nii", root / "b/copied.nii")
    (root / "b/linked.nii").symlink_to(root / "a/sub-01.nii")
    with pytest.raises(UserError, match=r"(?s)2 of 3 files.*copied\.nii.*linked\.nii"):
        check_distinct(scans, find_collection(str(root / "b"), PATTERN))


def test_files_alike_at_both_ends_are_told_apart(touch: Touch) -> None:
    ends = "x" * 70_000
    root = touch("a/sub-01.nii", content=f"{ends}1{ends}")
    touch("b/sub-02.nii", content=f"{ends}2{ends}")
    check_distinct(
        find_collection(str(root / "a"), PATTERN), find_collection(str(root / "b"), PATTERN)
    )
