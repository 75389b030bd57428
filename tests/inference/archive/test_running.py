from __future__ import annotations

import json
import threading
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import torch
from PIL import Image

import medstyle_gan.inference.archive.kinds as kinds
import medstyle_gan.inference.translator as translator_module
from medstyle_gan.data.intensity import FittedScale
from medstyle_gan.errors import UserError
from medstyle_gan.inference import (
    Translator,
    plan_translation,
    run_translation,
    translate_files,
)
from medstyle_gan.inference.outputs.record import hash_of_settings
from medstyle_gan.volumes import Volume, read_volume
from medstyle_gan.volumes.hashing import hash_file

from ..conftest import CANARY, identity_translator, make_bundle, make_config

FIXED_TWICE = FittedScale(center=500.0, half_range=1000.0, clip=False)

WriteScan = Callable[..., Path]


def files_in(folder: Path) -> list[str]:
    """All files, hidden ones too, but the manifest, which tests of its own look at."""
    names = sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if not p.is_dir())
    return [name for name in names if name != "manifest.csv"]


def test_folder_is_translated_with_its_layout_and_sidecars(
    tmp_path: Path, write_scan: WriteScan
) -> None:
    write_scan("in/a.nii.gz")
    write_scan("in/deep/er/b.nii", seed=1)
    outcomes = list(translate_files(identity_translator(), [tmp_path / "in"], tmp_path / "out"))
    assert [outcome.status for outcome in outcomes] == ["done", "done"]
    assert files_in(tmp_path / "out") == ["a.json", "a.nii.gz", "deep/er/b.json", "deep/er/b.nii"]
    before, after = (read_volume(tmp_path / f / "deep/er/b.nii") for f in ("in", "out"))
    assert after.dtype == np.int16
    assert (before.array == after.array).mean() > 0.95


def test_sidecar_says_how_it_was_made_and_not_for_whom(
    tmp_path: Path, write_scan: WriteScan
) -> None:
    translator = Translator.load(make_bundle())
    path = write_scan(f"{CANARY}/scan.nii.gz")
    (outcome,) = translate_files(translator, [path], tmp_path / "out")
    assert outcome.output is not None
    text = (tmp_path / "out" / "scan.json").read_text()
    facts = json.loads(text)
    assert facts["synthetic"] is True
    assert facts["direction"] == "scan_to_style"
    assert facts["input_sha256"] == sha256(path.read_bytes()).hexdigest()
    assert facts["output_sha256"] == sha256(outcome.output.read_bytes()).hexdigest()
    assert facts["seconds"] > 0
    assert facts["warnings"] == []
    assert facts["model"] == {"hash": translator.model_hash, "method": "cyclegan", "steps": 7}
    assert facts["intensity"]["output_scale"]["half_range"] == 500
    assert facts["intensity"]["dtype"] == "int16"
    assert facts["clipped_voxels"]["total"] == 20 * 18 * 6
    assert {"medstyle_gan", "torch", "monai"} <= facts["versions"].keys()
    assert CANARY not in text
    assert str(tmp_path) not in text
    assert CANARY.encode() not in nib.load(outcome.output).header.binaryblock


def test_what_was_done_is_skipped_and_what_is_anything_else_is_stale(
    tmp_path: Path, write_scan: WriteScan
) -> None:
    path, out = write_scan("a.nii"), tmp_path / "out"
    list(translate_files(identity_translator(), [path], out))
    written = (out / "a.nii").read_bytes()
    (again,) = translate_files(identity_translator(), [path], out)
    assert (again.status, again.output) == ("skipped", out / "a.nii")

    (out / "a.nii").write_bytes(b"mine")
    (stale,) = translate_files(identity_translator(), [path], out)
    assert (stale.status, stale.output) == ("stale", out / "a.nii")
    assert "the output was changed after it was translated; --overwrite" in stale.reason
    assert (out / "a.nii").read_bytes() == b"mine"
    (done,) = translate_files(identity_translator(), [path], out, overwrite=True)
    assert done.status == "done"
    assert (out / "a.nii").read_bytes() == written


@pytest.mark.parametrize("remembered_by", ["manifest.csv", "a.json"])
def test_a_changed_input_model_or_setting_is_told_apart(
    tmp_path: Path, write_scan: WriteScan, remembered_by: str
) -> None:
    path, out = write_scan("a.nii"), tmp_path / "out"
    translator = Translator.load(make_bundle(), precision="fp32")
    list(translate_files(translator, [path], out))
    # Where a killed process wrote no row, the sidecar says what the output was made of.
    if remembered_by == "a.json":
        (out / "manifest.csv").unlink()
    before = {name: (out / name).read_bytes() for name in files_in(out)}

    def again(translator: Translator, **options: object) -> str:
        (outcome,) = translate_files(translator, [path], out, **options)  # type: ignore[arg-type]
        assert {name: (out / name).read_bytes() for name in files_in(out)} == before
        return f"{outcome.status}: {outcome.reason}"

    assert again(translator) == "skipped: "
    another = Translator.load(make_bundle(seed=1), precision="fp32")
    assert "another model; --overwrite" in again(another)
    wider = Translator.load(make_bundle(scales={"style": FIXED_TWICE}), precision="fp32")
    assert "other settings" in again(wider)
    faster = make_config(inference={"batch_size": 7})
    assert again(Translator.load(make_bundle(faster), precision="fp32")) == "skipped: "
    assert again(translator) == "skipped: "  # what was stale for another model is not for this one
    write_scan("a.nii", seed=5)
    assert "the input has changed" in again(translator)
    (out / "a.json").unlink()
    (outcome,) = translate_files(translator, [path], out)
    assert outcome.status == "stale"


@pytest.mark.parametrize(("target", "words"), [("gone.nii", "nowhere"), ("b.nii", "to itself")])
def test_a_broken_link_in_a_folder_fails_as_one(
    tmp_path: Path, write_scan: WriteScan, target: str, words: str
) -> None:
    write_scan("in/a.nii")
    (tmp_path / "in" / "b.nii").symlink_to(target)
    outcomes = translate_files(identity_translator(), [tmp_path / "in"], tmp_path / "out")
    assert [outcome.status for outcome in outcomes] == ["done", "failed"]
    with pytest.raises(UserError, match=rf"b\.nii: is a symbolic link that leads .*{words}"):
        hash_file(tmp_path / "in" / "b.nii")


@pytest.mark.parametrize("overwrite", [False, True])
def test_the_sidecar_of_another_format_of_the_same_name_is_kept(
    tmp_path: Path, write_scan: WriteScan, overwrite: bool
) -> None:
    paths, out = [write_scan("a.nii"), write_scan("a.nii.gz", seed=1)], tmp_path / "out"
    list(translate_files(identity_translator(), paths[:1], out))
    before = {name: (out / name).read_bytes() for name in files_in(out)}
    (outcome,) = translate_files(identity_translator(), paths[1:], out, overwrite=overwrite)
    assert outcome.status == "failed"
    assert "a.json: is the sidecar of a.nii, which a.nii.gz would take away" in outcome.reason
    assert {name: (out / name).read_bytes() for name in files_in(out)} == before


def test_something_of_unknown_origin_is_never_taken_for_a_translation(
    tmp_path: Path, write_scan: WriteScan
) -> None:
    path, out = write_scan("a.nii"), tmp_path / "out"
    out.mkdir()
    (out / "a.nii").write_bytes(path.read_bytes())
    (outcome,) = translate_files(identity_translator(), [path], out)
    assert outcome.status == "stale"
    assert "no translation this program knows of" in outcome.reason
    assert (out / "a.nii").read_bytes() == path.read_bytes()


def test_one_bad_file_is_reported_and_the_rest_done(tmp_path: Path, write_scan: WriteScan) -> None:
    whole = write_scan("in/a.nii.gz").read_bytes()
    (tmp_path / "in" / "b.nii.gz").write_bytes(whole[: len(whole) // 2])
    write_scan("in/c.nii.gz")
    outcomes = list(translate_files(identity_translator(), [tmp_path / "in"], tmp_path / "out"))
    assert [outcome.status for outcome in outcomes] == ["done", "failed", "done"]
    assert outcomes[1].bad_input
    assert str(tmp_path / "in" / "b.nii.gz") in outcomes[1].reason
    assert files_in(tmp_path / "out") == ["a.json", "a.nii.gz", "c.json", "c.nii.gz"]


def test_an_unexpected_error_stops_one_file_only(
    tmp_path: Path, write_scan: WriteScan, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_scan("in/a.nii")
    write_scan("in/b.nii", shape=(12, 12, 6))
    translator = identity_translator()
    translate = translator.translate

    def fail_once(image: Path, *args: object) -> object:
        if image.name == "a.nii":
            raise MemoryError("too large")
        return translate(image, *args)  # type: ignore[arg-type]

    monkeypatch.setattr(translator, "translate", fail_once)
    outcomes = list(translate_files(translator, [tmp_path / "in"], tmp_path / "out"))
    assert [outcome.status for outcome in outcomes] == ["failed", "done"]
    assert not outcomes[0].bad_input
    assert outcomes[0].reason.endswith("a.nii: unexpected MemoryError: too large")


@pytest.mark.parametrize("error", [UserError("the disk is full"), KeyboardInterrupt()])
@pytest.mark.parametrize("existed", [False, True])
def test_failed_write_leaves_what_stood_there(
    tmp_path: Path,
    write_scan: WriteScan,
    monkeypatch: pytest.MonkeyPatch,
    error: BaseException,
    existed: bool,
) -> None:
    path, out = write_scan("a.nii"), tmp_path / "out"
    if existed:
        list(translate_files(identity_translator(), [path], out))
    before = {name: (out / name).read_bytes() for name in files_in(out)}

    def full_disk(*args: object) -> None:
        raise error

    monkeypatch.setattr(kinds, "write_volume", full_disk)
    other = identity_translator(scales={"style": make_bundle().scales["scan"]})
    other.steps = 99
    outcomes = translate_files(other, [path], out, overwrite=True)
    if isinstance(error, KeyboardInterrupt):
        with pytest.raises(KeyboardInterrupt):
            next(outcomes)
    else:
        assert [outcome.reason for outcome in outcomes] == [f"{path}: the disk is full"]
    assert {name: (out / name).read_bytes() for name in files_in(out)} == before


def test_someone_elses_json_is_not_replaced(tmp_path: Path, write_scan: WriteScan) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "a.json").write_text('{"RepetitionTime": 2.0}')
    (outcome,) = translate_files(identity_translator(), [write_scan("a.nii")], out, overwrite=True)
    assert outcome.status == "failed"
    assert "no sidecar" in outcome.reason
    assert files_in(out) == ["a.json"]


def test_unwritable_out_is_refused_before_any_work(tmp_path: Path, write_scan: WriteScan) -> None:
    (tmp_path / "file").touch()
    translator = identity_translator()
    with pytest.raises(UserError, match=r"file"):
        translate_files(translator, [write_scan("a.nii")], tmp_path / "file" / "out")
    assert translator.generators["scan_to_style"].calls == 0


def test_a_file_that_changes_while_it_is_read_fails(
    tmp_path: Path, write_scan: WriteScan, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, out = write_scan("a.nii"), tmp_path / "out"
    translator = identity_translator()
    translate = translator.translate

    def translate_meanwhile(*args: object) -> object:
        result = translate(*args)  # type: ignore[arg-type]
        with path.open("ab") as file:
            file.write(b"more")
        return result

    monkeypatch.setattr(translator, "translate", translate_meanwhile)
    (outcome,) = translate_files(translator, [path], out)
    assert outcome.status == "failed"
    assert "was changed while it was read" in outcome.reason
    assert files_in(out) == []


def test_clipped_voxels_are_warned_of(tmp_path: Path, write_scan: WriteScan) -> None:
    narrow = {"name": "fixed", "lower": 400.0, "upper": 600.0, "clip": True}
    config = make_config(data={"intensity": {"scan": narrow, "style": narrow}})
    (outcome,) = translate_files(
        identity_translator(config), [write_scan("a.nii")], tmp_path / "out"
    )
    (warning,) = outcome.warnings
    assert "of the input's voxels lie beyond the intensity scale" in warning
    assert json.loads((tmp_path / "out" / "a.json").read_text())["warnings"] == [warning]


def test_several_workers_give_what_one_gives(tmp_path: Path, write_scan: WriteScan) -> None:
    for index in range(5):
        write_scan(f"in/{index}.nii.gz", seed=index)
    (tmp_path / "in" / "bad.nii").write_bytes(b"")
    translator = Translator.load(make_bundle(), precision="fp32")
    shares: list[float] = []
    for workers in (1, 3):
        out = tmp_path / str(workers)
        jobs = plan_translation(translator, [tmp_path / "in"], out)
        outcomes = list(
            run_translation(translator, jobs, on_progress=shares.append, out=out, workers=workers)
        )
        assert sorted(o.status for o in outcomes) == ["done"] * 5 + ["failed"]
    assert max(shares) <= 3
    for index in range(5):
        one, three = ((tmp_path / n / f"{index}.nii.gz").read_bytes() for n in ("1", "3"))
        assert one == three


def test_a_file_is_read_while_another_is_in_the_network(
    tmp_path: Path, write_scan: WriteScan, monkeypatch: pytest.MonkeyPatch
) -> None:
    for index in range(3):
        write_scan(f"in/{index}.nii", seed=index)
    translator, out = identity_translator(), tmp_path / "out"
    read, in_network = [], []
    second = threading.Event()
    as_volume = translator_module.as_volume
    generator = translator.generators["scan_to_style"]
    forward = generator.forward

    def reading(image: Any, *args: Any, **kwargs: Any) -> Volume:
        volume = as_volume(image, *args, **kwargs)
        read.append(image)
        if len(read) == 2:
            second.set()
        return volume

    def waiting(x: torch.Tensor) -> torch.Tensor:
        if not in_network:
            in_network.append(second.wait(20))
        return forward(x)

    monkeypatch.setattr(translator_module, "as_volume", reading)
    monkeypatch.setattr(generator, "forward", waiting)
    jobs = plan_translation(translator, [tmp_path / "in"], out)
    outcomes = list(run_translation(translator, jobs, out=out, workers=2))
    assert in_network == [True]
    assert [outcome.status for outcome in outcomes] == ["done"] * 3


def colour_translator(**inference: object) -> Translator:
    config = make_config(inference=inference)
    return Translator.load(make_bundle(config, channels={"style": 3}, pictures={"style": True}))


def test_colour_style_writes_an_rgb_nifti(tmp_path: Path, write_scan: WriteScan) -> None:
    path = write_scan("a.nii.gz")
    (outcome,) = translate_files(colour_translator(), [path], tmp_path / "out")
    before, after = nib.load(path), nib.load(tmp_path / "out" / "a.nii.gz")
    assert outcome.status == "done"
    assert after.get_data_dtype() == np.dtype([("R", "u1"), ("G", "u1"), ("B", "u1")])
    assert after.shape == before.shape
    np.testing.assert_array_equal(after.affine, before.affine)


def test_colour_style_writes_a_stack_of_pngs(tmp_path: Path, write_scan: WriteScan) -> None:
    path, out = write_scan("a.nii.gz"), tmp_path / "out"
    translator = colour_translator(picture_output="png")
    (outcome,) = translate_files(translator, [path], out, mark=False)
    assert outcome.output == out / "a"
    names = [f"a/slice_{index:04d}.png" for index in range(6)]
    assert files_in(out) == ["a.json", *names]
    # The affine is RAS: columns run along X, rows from the last Y down.
    volume = translator(path).array
    picture = np.asarray(Image.open(out / "a" / "slice_0002.png"))
    np.testing.assert_array_equal(picture, np.moveaxis(volume[:, ::-1, 2], 0, 1))

    (again,) = translate_files(translator, [path], out, mark=False)
    assert again.status == "skipped"
    (again,) = translate_files(translator, [path], out)  # marked ones are others
    assert again.status == "stale"
    (out / "a" / "slice_0002.png").unlink()
    (again,) = translate_files(translator, [path], out, mark=False)
    assert again.status == "stale"
    (again,) = translate_files(translator, [path], out, overwrite=True)
    assert again.status == "done"
    (out / "a" / "notes.txt").touch()
    (refused,) = translate_files(translator, [path], out, overwrite=True)
    assert "other files" in refused.reason
    assert files_in(out) == ["a.json", "a/notes.txt", *names]


def test_translated_pictures_are_marked_and_say_that_they_are_synthetic(
    tmp_path: Path, write_scan: WriteScan
) -> None:
    path = write_scan("a.nii.gz")
    translator = colour_translator(picture_output="png")
    for name, mark in (("marked", True), ("plain", False)):
        list(translate_files(translator, [path], tmp_path / name, mark=mark))
    differ = []
    for index in range(6):
        files = [tmp_path / n / "a" / f"slice_{index:04d}.png" for n in ("marked", "plain")]
        for file in files:
            with Image.open(file) as picture:
                assert "not acquired" in picture.text["Synthetic"]  # type: ignore[attr-defined]
        marked, plain = (np.asarray(Image.open(file)) for file in files)
        differ.append((marked != plain).any(axis=-1))
    rows, columns = np.nonzero(np.any(differ, axis=0))
    assert 0 < len(rows) < 0.5 * differ[0].size
    label = np.s_[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1]
    first = np.asarray(Image.open(tmp_path / "marked" / "a" / "slice_0000.png"))[label]
    last = np.asarray(Image.open(tmp_path / "marked" / "a" / "slice_0005.png"))[label]
    np.testing.assert_array_equal(first, last)  # at one place in all slices, or it would jump


def test_stack_shows_any_orientation_the_right_way_up(
    tmp_path: Path, write_scan: WriteScan
) -> None:
    path = write_scan("a.nii.gz")
    flipped = nib.load(path).as_reoriented(nib.orientations.axcodes2ornt("PLI"))
    nib.save(flipped, tmp_path / "b.nii.gz")
    translator = colour_translator(picture_output="png")
    list(translate_files(translator, [path, tmp_path / "b.nii.gz"], tmp_path / "out"))
    for index in range(6):
        a, b = (Image.open(tmp_path / "out" / f / f"slice_{index:04d}.png") for f in "ab")
        np.testing.assert_array_equal(np.asarray(a), np.asarray(b))


def test_pictures_go_back_to_grey_pictures(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    pixels = np.random.default_rng(0).integers(0, 256, (14, 19, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "in" / "painting.png")
    (tmp_path / "in" / "broken.jpg").write_bytes(b"no picture")
    outcomes = list(
        translate_files(colour_translator(), [tmp_path / "in"], tmp_path / "out", "style_to_scan")
    )
    assert [outcome.status for outcome in outcomes] == ["failed", "done"]
    picture = Image.open(tmp_path / "out" / "painting.png")
    assert (picture.mode, picture.size) == ("L", (19, 14))
    assert json.loads((tmp_path / "out" / "painting.json").read_text())["synthetic"] is True


def test_inputs_that_share_an_output_fail_and_the_rest_is_done(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    pixels = np.random.default_rng(0).integers(0, 256, (14, 19, 3), dtype=np.uint8)
    for name in ("a.jpg", "a.png", "a_jpg.png", "b.png"):
        Image.fromarray(pixels).save(tmp_path / "in" / name)
    outcomes = list(
        translate_files(colour_translator(), [tmp_path / "in"], tmp_path / "out", "style_to_scan")
    )
    assert sorted(outcome.status for outcome in outcomes) == ["done", "done", "failed", "failed"]
    assert files_in(tmp_path / "out") == ["a_png.json", "a_png.png", "b.json", "b.png"]
    reasons = [outcome.reason for outcome in outcomes if outcome.status == "failed"]
    assert all(f"in/{name}" in reason for reason in reasons for name in ("a.jpg", "a_jpg.png"))
    manifest = (tmp_path / "out/manifest.csv").read_text()
    assert "shares its output's name" in manifest
    assert str(tmp_path) not in manifest


def test_other_neighbours_are_other_settings() -> None:
    hashes = set()
    for neighbours in (1, 2):
        data = {"dims": 2.5, "neighbours": neighbours}
        translator = Translator.load(make_bundle(make_config(data=data)), precision="fp32")
        hashes.add(hash_of_settings(translator, "scan_to_style"))
    assert len(hashes) == 2
