"""`medstyle stylize`: files in, files out, exit codes and what is printed."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from PIL import Image

from medstyle_gan.cli import main
from medstyle_gan.networks import vgg19
from medstyle_gan.networks.vgg19_weights import load_vgg19_weights

CANARY = "Canary-Patient"
FAST = [
    "vgg.weights=random:0",
    "method.steps=2",
    "loss.perceptual.layers=[relu1_1]",
    "loss.style.layers=[relu1_1]",
]
_load = cache(load_vgg19_weights)


@pytest.fixture(autouse=True)
def _weights_drawn_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vgg19, "load_vgg19_weights", _load)


def waves(seed: int, shape: tuple[int, ...]) -> np.ndarray:
    rng = np.random.default_rng(seed)
    grids = np.meshgrid(*[np.arange(n) for n in shape], indexing="ij")
    phase = sum(g * rng.uniform(0.1, 0.5) for g in grids)
    return 127 + 100 * np.sin(phase)


@pytest.fixture
def files(tmp_path: Path) -> dict[str, str]:
    folder = tmp_path / CANARY
    folder.mkdir()
    Image.fromarray(waves(0, (40, 48)).astype(np.uint8)).save(folder / f"{CANARY}.png")
    colours = np.stack([waves(i, (32, 32)) for i in (1, 2, 3)], axis=-1).astype(np.uint8)
    Image.fromarray(colours).save(folder / "style.png")
    body = waves(4, (24, 20, 3)).astype(np.float32)
    body[:3] = body[-3:] = 0
    nib.save(nib.Nifti1Image(body, np.diag([1.0, 1, 2, 1])), folder / f"{CANARY}.nii.gz")
    return {
        "picture": str(folder / f"{CANARY}.png"),
        "style": str(folder / "style.png"),
        "scan": str(folder / f"{CANARY}.nii.gz"),
        "out": str(tmp_path / "out"),
    }


def stylize(files: dict[str, str], content: str, out: str, *more: str) -> int:
    style = files["style"]
    command = ["stylize", files[content], "--style", style, "-o", files["out"] + out]
    return main([*command, *FAST, *more])


def test_a_picture_leaves_itself_a_sidecar_and_its_loss(
    files: dict[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert stylize(files, "picture", "/a.png") == 0
    printed = capsys.readouterr()
    out = Path(files["out"])
    assert sorted(p.name for p in out.iterdir()) == [
        "a.json",
        "a.png",
        "a_loss.csv",
        "a_loss.png",
    ]
    assert "2 iterations; at the end loss" in printed.out
    assert "random weights" in printed.err
    assert "content" in printed.err  # the bar's parts of the loss
    with Image.open(out / "a.png") as picture:
        assert picture.size == (48, 40)
        assert "not acquired" in picture.text["Synthetic"]  # type: ignore[attr-defined]
    facts = json.loads((out / "a.json").read_text())
    assert facts["synthetic"] is True
    assert facts["marked"] is True
    assert CANARY not in (out / "a.json").read_text()
    rows = list(csv.DictReader((out / "a_loss.csv").open()))
    assert [row["iteration"] for row in rows] == ["1", "2"]
    assert float(rows[1]["loss"]) <= float(rows[0]["loss"])


def test_the_mark_is_drawn_unless_refused(files: dict[str, str]) -> None:
    assert stylize(files, "picture", "/a.png") == 0
    assert stylize(files, "picture", "/b.png", "--no-mark") == 0
    marked, plain = (
        np.asarray(Image.open(Path(files["out"]) / name)) for name in ("a.png", "b.png")
    )
    differs = (marked != plain).any(axis=-1)
    assert 0.01 < differs.mean() < 0.3
    assert json.loads((Path(files["out"]) / "b.json").read_text())["marked"] is False


def test_in_a_folder_the_result_has_the_contents_name(files: dict[str, str]) -> None:
    assert stylize(files, "picture", "") == 0
    assert (Path(files["out"]) / f"{CANARY}.png").is_file()
    assert stylize(files, "scan", "/volumes") == 0
    volume = nib.load(Path(files["out"]) / "volumes" / f"{CANARY}.nii.gz")
    assert volume.get_data_dtype() == np.dtype([("R", "u1"), ("G", "u1"), ("B", "u1")])


def test_a_volume_becomes_a_grey_nifti_a_stack_or_an_animation(
    files: dict[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert stylize(files, "scan", "/v.nii", "stylize.colour=grey") == 0
    assert "neighbouring slices differ" in capsys.readouterr().out
    source, volume = nib.load(files["scan"]), nib.load(Path(files["out"]) / "v.nii")
    assert volume.get_data_dtype() == np.float32
    np.testing.assert_array_equal(volume.affine, source.affine)
    assert stylize(files, "scan", "/stack", "inference.picture_output=png") == 0
    stack = sorted((Path(files["out"]) / "stack" / CANARY).iterdir())
    assert [p.name for p in stack] == [f"slice_{i:04d}.png" for i in range(3)]
    assert "not acquired" in Image.open(stack[0]).text["Synthetic"]  # type: ignore[attr-defined]
    assert stylize(files, "scan", "/v2.gif") == 0
    with Image.open(Path(files["out"]) / "v2.gif") as animation:
        assert animation.n_frames == 3  # type: ignore[attr-defined]
        assert animation.size == (24, 20)
        assert b"not acquired" in animation.info["comment"]


def test_what_exists_is_not_overwritten_unless_told_to(
    files: dict[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    out = Path(files["out"])
    out.mkdir()
    (out / "a_loss.csv").write_text("mine")
    assert stylize(files, "picture", "/a.png") == 2
    assert "a_loss.csv: exists already" in capsys.readouterr().err
    assert [p.name for p in out.iterdir()] == ["a_loss.csv"]
    assert stylize(files, "picture", "/a.png", "--overwrite") == 0
    assert stylize(files, "picture", "/a.png", "--overwrite") == 0
    (out / "b.json").write_text("{}")
    assert stylize(files, "picture", "/b.png", "--overwrite") == 2
    assert "no sidecar of ours" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "0 contents given"),
        (["{picture}", "{scan}"], "2 contents given"),
        (["{picture}", "-o", "{out}/a.png"], "no style given"),
        (["{picture}", "--style", "{style}"], "no output given"),
        (["{picture}", "--style", "{style}", "-o", "{out}/a.jpg"], "is written as .png"),
        (["{scan}", "--style", "{style}", "-o", "{out}/a.png"], "does not fit into one picture"),
        (["{picture}", "--style", "{style}", "-o", "{style}", "--overwrite"], "replace an input"),
        (["missing.png", "--style", "{style}", "-o", "{out}"], "missing.png: there is no such"),
        (["{picture}", "--style", "gone.png", "-o", "{out}"], "gone.png: there is no such"),
        (["{picture}", "--style", "{style}", "-o", "{out}", "--method", "gatis"], "gatys"),
        (["{picture}", "--style", "{style}", "-o", "{out}", "--method=cyclegan"], "learns a trans"),
        (["{picture}", "--style", "{style}", "-o", "{out}", "method.stepz=3"], "method.steps"),
        (["{picture}", "--style", "{style}", "-o", "{out}", "stepz=3"], "unknown setting"),
    ],
)
def test_mistakes_are_one_message_and_exit_code_2(
    files: dict[str, str], arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = (
        [s for s in FAST if not s.startswith("method.")] if "cyclegan" in str(arguments) else FAST
    )
    given = [argument.format(**files) for argument in arguments]
    assert main(["stylize", *given, *settings]) == 2
    errors = capsys.readouterr().err
    assert words in errors
    assert "Traceback" not in errors
    assert not list(Path(files["out"]).glob("**/*.png"))


def test_training_by_gatys_is_refused_with_what_to_do(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["train", "--scans", "a", "--style", "b", "-o", str(tmp_path / "run")]
    assert main([*command, "method.name=gatys"]) == 2
    errors = capsys.readouterr().err
    assert "medstyle stylize" in errors
    assert "cyclegan" in errors
    assert not (tmp_path / "run").exists()


def test_help_imports_no_torch_and_the_printed_config_is_gatys(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code = (
        "import sys; from medstyle_gan.cli import main; main(['stylize', '--help']); "
        "assert 'torch' not in sys.modules"
    )
    run: Any = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)
    assert b"--no-mark" in run.stdout
    assert main(["stylize", "--print-config", "method.steps=7"]) == 0
    printed = capsys.readouterr().out
    assert "name: gatys" in printed
    (tmp_path / "c.yaml").write_text(printed)
    assert main(["stylize", "--print-config", "--config", str(tmp_path / "c.yaml")]) == 0
    assert capsys.readouterr().out == printed


# -------------------------------------------------------------------- videos, DICOM, highlights


def test_a_volume_becomes_a_video_whose_frames_are_its_marked_slices(
    files: dict[str, str],
) -> None:
    av = pytest.importorskip("av", reason="PyAV is not installed (extra video)")
    assert stylize(files, "scan", "/v.mp4") == 0
    assert stylize(files, "scan", "/plain.mp4", "--no-mark") == 0
    plane = ["inference.picture_output=png", "--no-mark"]
    assert stylize(files, "scan", "/stack", *plane) == 0
    out = Path(files["out"])
    videos = {}
    for name in ("v", "plain"):
        with av.open(str(out / f"{name}.mp4")) as container:
            assert "not acquired" in container.metadata["comment"]
            videos[name] = [f.to_ndarray(format="rgb24") for f in container.decode(video=0)]
    assert len(videos["v"]) == 3
    for index, frame in enumerate(videos["plain"]):
        with Image.open(out / "stack" / CANARY / f"slice_{index:04d}.png") as picture:
            shown = np.asarray(picture.convert("RGB")).astype(int)
        assert frame.shape == (16 * 20, 16 * 24, 3)  # the least whole number that gives 384
        assert np.abs(frame[8::16, 8::16].astype(int) - shown).mean() < 4
    differ = np.abs(videos["v"][0].astype(int) - videos["plain"][0]).max(axis=-1) > 60
    assert 0.001 < differ.mean() < 0.05
    assert json.loads((out / "v.json").read_text())["marked"] is True
    assert json.loads((out / "plain.json").read_text())["marked"] is False
    assert CANARY.encode() not in (out / "v.mp4").read_bytes()
    # Voxels are 1 x 1 x 2 mm: across, they are shown twice as tall as wide.
    assert stylize(files, "scan", "/c.mp4", "data.plane=coronal", "stylize.size=16") == 0
    with av.open(str(out / "c.mp4")) as container:
        assert (container.streams.video[0].height, container.streams.video[0].width) == (96, 384)


def test_a_video_needs_its_library_before_any_work(
    files: dict[str, str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "av", None)
    assert stylize(files, "scan", "/v.mp4") == 2
    assert "pip install 'medstyle-gan[video]'" in capsys.readouterr().err
    assert not Path(files["out"]).exists()


def test_the_mark_is_in_every_frame_of_an_animation(files: dict[str, str]) -> None:
    assert stylize(files, "scan", "/a.gif") == 0
    assert stylize(files, "scan", "/b.gif", "--no-mark") == 0
    for index in range(3):
        frames = []
        for name in ("a.gif", "b.gif"):
            with Image.open(Path(files["out"]) / name) as animation:
                animation.seek(index)
                frames.append(np.asarray(animation.convert("L")).astype(int))
        assert (np.abs(frames[0] - frames[1]) > 60).mean() > 0.02


@pytest.fixture
def series(tmp_path: Path) -> Path:
    pytest.importorskip("pydicom", reason="pydicom is not installed (extra dicom)")
    from tests.volumes.dicom_objects import write_series

    body = waves(4, (24, 20, 3)).astype(np.int16)
    body[:3] = body[-3:] = 0
    return write_series(tmp_path / f"dicom-{CANARY}", body)


def test_a_dicom_series_keeps_its_geometry_and_units(files: dict[str, str], series: Path) -> None:
    from medstyle_gan.volumes import read_volume

    out = Path(files["out"])
    given = {**files, "series": str(series)}
    assert stylize(given, "series", "", "stylize.colour=grey") == 0
    names = {"series-0003.nii.gz", "series-0003.json"}
    assert names <= {path.name for path in out.iterdir()}  # no folder's name, which may tell
    source, result = read_volume(series), read_volume(out / "series-0003.nii.gz")
    assert result.geometry.same_grid(source.geometry)
    inside = source.array > 60
    assert np.corrcoef(source.array[inside], result.array[inside])[0, 1] > 0.3
    assert 0 <= result.array.min() <= result.array.max() < 300
    for path in out.rglob("*"):
        assert CANARY.encode() not in path.read_bytes()


def test_one_slice_of_a_series_is_content_and_a_series_is_style(
    files: dict[str, str], series: Path, tmp_path: Path
) -> None:
    from tests.volumes.dicom_objects import write_series

    other = write_series(tmp_path / "other", waves(9, (24, 20, 3)).astype(np.int16))
    one = sorted(series.iterdir())[0]
    given = {**files, "slice": str(one), "style": str(other)}
    assert stylize(given, "slice", "/one.nii") == 0
    assert nib.load(Path(files["out"]) / "one.nii").shape == (24, 20, 1)


def test_a_dicom_series_becomes_a_derived_one_that_says_what_it_is(
    files: dict[str, str], series: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    import pydicom

    from medstyle_gan.volumes import read_volume

    given = {**files, "series": str(series)}
    more = ["stylize.dicom_output=dicom"]
    assert stylize(given, "series", "", *more) == 0
    made = Path(files["out"]) / "series-0003"
    headers = [pydicom.dcmread(path) for path in sorted(made.iterdir())]
    assert len(headers) == 3
    for header in headers:
        assert list(header.ImageType[:2]) == ["DERIVED", "SECONDARY"]
        assert "not acquired" in header.DerivationDescription
        assert CANARY not in str(header)
    assert read_volume(made).geometry.same_grid(read_volume(series).geometry)
    assert stylize(given, "series", "", *more) == 2
    assert "exists already" in capsys.readouterr().err
    assert stylize(given, "series", "", *more, "--overwrite") == 0
    assert stylize(given, "series", "", *more, "--overwrite", "stylize.colour=rgb") == 2
    assert "a derived series is grey" in capsys.readouterr().err


def test_folders_without_a_series_are_refused(
    files: dict[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "empty").mkdir()
    given = {**files, "empty": str(tmp_path / "empty")}
    assert stylize(given, "empty", "/a.nii") == 2
    assert "without a DICOM series" in capsys.readouterr().err


def test_a_muted_rest_needs_no_style_and_the_bound_is_told(
    files: dict[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = nib.load(files["scan"])
    mask = np.zeros(source.shape, np.uint8)
    mask[8:14, 8:14, 1] = 1
    nib.save(nib.Nifti1Image(mask, source.affine), tmp_path / "m.nii")
    command = ["stylize", files["scan"], "--mask", str(tmp_path / "m.nii"), *FAST]
    settings = ["stylize.highlight.region=auto", "stylize.highlight.rest=muted"]
    out = tmp_path / "out" / "a.nii"
    more = ["stylize.highlight.bound=4", "-o", str(out)]
    assert main([*command, *settings, *more]) == 0
    assert "region of interest (mask): 36 voxels" in capsys.readouterr().out
    facts = json.loads(out.with_suffix(".json").read_text())
    assert facts["highlight"]["bound"] == 4
    change = np.abs(nib.load(out).get_fdata() - source.get_fdata())[mask > 0]
    assert change.max() <= 4
    assert main([*command, "-o", str(out), "stylize.highlight.bound=-1"]) == 2
    assert "stylize.highlight.bound: must be at least 0" in capsys.readouterr().err


def test_a_sidecar_is_there_before_the_voxels(
    files: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from medstyle_gan.inference import stylize_outputs

    seen: list[bool] = []

    def failing(*args: Any) -> None:
        seen.append((Path(files["out"]) / "v.json").exists())
        raise RuntimeError("killed")

    monkeypatch.setattr(stylize_outputs, "write_volume", failing)
    with pytest.raises(RuntimeError, match="killed"):
        stylize(files, "scan", "/v.nii")
    assert seen == [True]
    assert not (Path(files["out"]) / "v.json").exists()
