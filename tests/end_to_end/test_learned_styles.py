"""Feedforward and AdaIN from the command line: train, resume, stylize, translate, info, export."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import torch
from PIL import Image

from medstyle_gan.cli import main
from medstyle_gan.config import load_config
from medstyle_gan.data.phantom import PhantomFolders
from medstyle_gan.errors import UserError
from medstyle_gan.inference import load_bundle, stylize
from medstyle_gan.methods import AdaIN, FeedForward
from medstyle_gan.training import train
from medstyle_gan.training.checkpoint import load_checkpoint
from tests.end_to_end.tiny import SIZES
from tests.training.small import killed_at

METHODS = {"feedforward": FeedForward, "adain": AdaIN}
SHORT = [
    *(s for s in SIZES if not s.startswith("discriminator")),
    "training.steps=3",
    "training.checkpoint_every=2",
    "training.validate_every=3",
    "logging.log_every=1",
    "logging.panel_every=3",
    "logging.panel_samples=1",
    "data.workers=0",
    "guards.check_every=3",
]
OWN = {
    "feedforward": ["loss.perceptual.layers=[relu1_2]", "loss.style.layers=[relu1_1,relu2_1]"],
    "adain": ["method.width=4"],
}
OTHER_VGG = "vgg.weights=random:1"


def waves(seed: int, shape: tuple[int, ...]) -> np.ndarray:
    rng = np.random.default_rng(seed)
    grids = np.meshgrid(*[np.arange(n) for n in shape], indexing="ij")
    return (127 + 100 * np.sin(sum(g * rng.uniform(0.1, 0.5) for g in grids))).astype(np.uint8)


@pytest.fixture(scope="module")
def drawings(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three pictures in colour, and a grey one beside them."""
    folder = tmp_path_factory.mktemp("drawings")
    (folder / "style").mkdir()
    for number in range(3):
        colours = np.stack([waves(3 * number + i, (48, 48)) for i in range(3)], axis=-1)
        Image.fromarray(colours).save(folder / "style" / f"drawing{number}.png")
    Image.fromarray(waves(20, (40, 52))).save(folder / "grey.png")
    return folder


def settings(name: str, phantoms: PhantomFolders, drawings: Path) -> list[str]:
    style = drawings / "style"
    if name == "feedforward":
        style = style / "drawing0.png"  # a single picture is a collection
    places = [f"data.scans={phantoms.scans}", f"data.style={style}"]
    return [f"method.name={name}", *places, *SHORT, *OWN[name]]


@pytest.fixture(scope="module")
def runs(
    phantoms: PhantomFolders, drawings: Path, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("runs")
    for name in METHODS:
        command = ["train", *settings(name, phantoms, drawings), "-o", str(folder / name)]
        assert main(command) == 0
    return {name: folder / name for name in METHODS}


@pytest.fixture
def scan(phantoms: PhantomFolders) -> Path:
    return sorted(phantoms.scans.glob("*.nii.gz"))[0]


def given(name: str, runs: dict[str, Path], drawings: Path) -> list[str]:
    style = drawings / "style" / "drawing1.png"
    shown = ["--style", str(style)] if name == "adain" else []
    return [*shown, "--method", name, "--model", str(runs[name])]


@pytest.mark.parametrize("name", METHODS)
def test_a_run_holds_metrics_panels_checkpoints_and_a_model_without_the_vgg(
    name: str, runs: dict[str, Path]
) -> None:
    run = runs[name]
    with (run / "metrics.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    term = "style" if name == "feedforward" else "statistics"
    assert [row["step"] for row in rows] == ["1", "2", "3"]
    for column in ("perceptual_scan_to_style", f"{term}_scan_to_style", "generator"):
        assert all(float(row[f"loss/{column}"]) > 0 for row in rows)
    assert Image.open(run / "samples" / "step_000003.png").mode == "RGB"
    network = "scan_to_style" if name == "feedforward" else "decoder"
    state = load_checkpoint(run / "checkpoints" / "last.ckpt")
    assert list(state["networks"]) == list(state["ema"]["generators"]) == [network]
    assert len(state["optimizers"]) == 1
    bundle = load_bundle(run)
    assert bundle.network_names == (network,)
    assert bundle.vgg == state["vgg"]
    # The VGG-19 down to relu4_1 alone would be 14 MB.
    assert (run / "checkpoints" / "last.ckpt").stat().st_size < 3e6


def test_adain_is_validated_by_its_loss_and_the_best_is_kept(runs: dict[str, Path]) -> None:
    with (runs["adain"] / "metrics.csv").open(newline="") as file:
        last = list(csv.DictReader(file))[-1]
    parts = [float(last[f"validation/{n}_scan_to_style"]) for n in ("perceptual", "statistics")]
    assert float(last["validation/loss"]) == pytest.approx(parts[0] + 40 * parts[1], rel=1e-4)
    assert (runs["adain"] / "checkpoints" / "best.ckpt").exists()


@pytest.mark.parametrize("name", METHODS)
def test_a_resumed_run_ends_bit_for_bit_as_the_one_that_ran_through(
    name: str, runs: dict[str, Path], phantoms: PhantomFolders, drawings: Path, tmp_path: Path
) -> None:
    config = load_config(None, settings(name, phantoms, drawings))
    with killed_at(2, METHODS[name]):
        train(config, tmp_path / "run")
    torch.rand(10)  # another state of the global generator, as after a restart
    train(config, tmp_path / "run", resume=True)
    ours, theirs = load_bundle(runs[name]).state, load_bundle(tmp_path / "run").state
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[n], theirs[n]) for n in ours)


@pytest.mark.parametrize("name", METHODS)
def test_a_volume_and_a_picture_are_stylised_by_a_model(
    name: str, runs: dict[str, Path], drawings: Path, scan: Path, tmp_path: Path, capsys: Any
) -> None:
    model = given(name, runs, drawings)
    volume, picture = tmp_path / "volume.nii.gz", tmp_path / "picture.png"
    assert main(["stylize", str(scan), *model, "-o", str(volume)]) == 0
    before, after = nib.load(scan), nib.load(volume)
    np.testing.assert_array_equal(before.affine, after.affine)
    assert after.shape == before.shape
    assert after.get_data_dtype().names == ("R", "G", "B")
    sidecar = json.loads((tmp_path / "volume.json").read_text())
    assert sidecar["stylised_by"]["name"] == name
    assert sidecar["model"] == {"hash": load_bundle(runs[name]).hash, "steps": 3}
    assert not (tmp_path / "volume_loss.csv").exists()
    grey = ["stylize.colour=grey", "stylize.structure=preserved"]
    assert main(["stylize", str(drawings / "grey.png"), *model, "-o", str(picture), *grey]) == 0
    result = np.asarray(Image.open(picture))
    assert result.shape == (40, 52)
    assert "gradients correlate" in capsys.readouterr().out


def test_a_mask_limits_where_the_style_goes(
    runs: dict[str, Path], drawings: Path, tmp_path: Path
) -> None:
    content = np.asarray(Image.open(drawings / "grey.png"))[..., None]
    mask = np.zeros((40, 52), np.uint8)
    mask[8:32, 8:32] = 255
    Image.fromarray(mask).save(tmp_path / "mask.png")
    for name in METHODS:
        options = ["--mask", str(tmp_path / "mask.png"), "--no-mark"]
        out = tmp_path / f"{name}.png"
        model = given(name, runs, drawings)
        assert main(["stylize", str(drawings / "grey.png"), *model, "-o", str(out), *options]) == 0
        changed = (np.asarray(Image.open(out)) != content).any(axis=-1)
        assert not changed[mask == 0].any()
        assert changed[mask > 0].mean() > 0.8


def test_alpha_and_weights_change_what_adain_gives(runs: dict[str, Path], drawings: Path) -> None:
    styles = [str(drawings / "style" / f"drawing{i}.png") for i in (1, 2)]

    def result(*overrides: str) -> np.ndarray:
        config = load_config(None, ["method.name=adain", *overrides])
        image = stylize(str(drawings / "grey.png"), styles, config, model=runs["adain"]).image
        assert isinstance(image, np.ndarray)
        return image.astype(int)

    both = [result(f"stylize.style_weights=[{w}]") for w in ("1,0", "0,1", "1,1")]
    assert (both[0] != both[1]).any()
    assert (both[2] != both[0]).any()
    plain = [
        result("method.alpha=0", f"stylize.style_weights=[{weights}]") for weights in ("1,0", "0,1")
    ]
    np.testing.assert_array_equal(*plain)
    by_name = stylize(str(drawings / "grey.png"), styles[:1], model=runs["adain"])
    np.testing.assert_array_equal(by_name.image, both[0])


def test_feedforward_translates_one_way(
    runs: dict[str, Path], scan: Path, tmp_path: Path, capsys: Any
) -> None:
    run, out = str(runs["feedforward"]), tmp_path / "out"
    assert main(["translate", run, str(scan), "-o", str(out)]) == 0
    assert nib.load(out / scan.name).shape == nib.load(scan).shape
    capsys.readouterr()
    back = ["--direction", "style_to_scan"]
    assert main(["translate", run, str(scan), "-o", str(tmp_path / "back"), *back]) == 2
    assert "translates one way; choose scan_to_style" in capsys.readouterr().err


@pytest.mark.parametrize("name", METHODS)
def test_info_and_export(name: str, runs: dict[str, Path], tmp_path: Path, capsys: Any) -> None:
    bundle = tmp_path / "bundle"
    assert main(["export", str(runs[name]), "-o", str(bundle)]) == 0
    assert load_bundle(bundle).hash == load_bundle(runs[name]).hash
    capsys.readouterr()
    assert main(["info", str(bundle)]) == 0
    card = capsys.readouterr().out
    network = "scan_to_style" if name == "feedforward" else "decoder"
    assert f"{name}, step 3 of 3" in card
    assert f"{network} " in card
    assert "style_to_scan" not in card
    assert ("resnet" in card) == (name == "feedforward")


def test_adain_translates_nothing_by_itself(
    runs: dict[str, Path], scan: Path, tmp_path: Path, capsys: Any
) -> None:
    run = str(runs["adain"])
    for command in (
        ["translate", run, str(scan), "-o", str(tmp_path / "t")],
        ["export", run, "-o", str(tmp_path / "m"), "--format", "monai"],
    ):
        assert main(command) == 2
        assert "medstyle stylize CONTENT --style STYLE" in capsys.readouterr().err
    assert not (tmp_path / "m").exists()


def test_feedforward_is_exported_for_monai(runs: dict[str, Path], tmp_path: Path) -> None:
    run, out = str(runs["feedforward"]), tmp_path / "monai"
    assert main(["export", run, "-o", str(out), "--format", "monai"]) == 0
    assert "The other way" not in (out / "docs" / "README.md").read_text()
    assert load_bundle(out).directions == ("scan_to_style",)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--method", "feedforward"], "feedforward needs a trained model"),
        (["--method", "adain", "--style", "{style}"], "adain needs a trained model"),
        (["--method", "adain", "--model", "{adain}"], "no style given"),
        (
            ["--method", "feedforward", "--model", "{feedforward}", "--style", "{style}"],
            "has the style that it was trained on",
        ),
        (
            ["--method", "adain", "--model", "{feedforward}", "--style", "{style}"],
            "is of feedforward, not of adain",
        ),
        (["--method", "feedforward", "--model", "{adain}"], "is of adain, not of feedforward"),
        (["--method", "feedforward", "--model", "nowhere"], "nowhere: no such model folder"),
        (
            ["--method", "adain", "--model", "{adain}", "--style", "{style}", "data.plane=coronal"],
            "data: a trained model brings its own settings",
        ),
        (
            ["--method", "adain", "--model", "{adain}", "--style", "{style}", OTHER_VGG],
            "was trained with other VGG-19 weights",
        ),
    ],
)
def test_what_does_not_fit_a_model_is_refused(
    arguments: list[str],
    words: str,
    runs: dict[str, Path],
    drawings: Path,
    tmp_path: Path,
    capsys: Any,
) -> None:
    places = {"style": drawings / "style" / "drawing1.png", **runs}
    command = ["stylize", str(drawings / "grey.png"), "-o", str(tmp_path / "a.png")]
    assert main([*command, *(argument.format(**places) for argument in arguments)]) == 2
    errors = capsys.readouterr().err
    assert words in errors
    assert "Traceback" not in errors
    assert not (tmp_path / "a.png").exists()


def test_pairs_cannot_score_adain(phantoms: PhantomFolders, drawings: Path, tmp_path: Path) -> None:
    pairs = [f"data.pairs.folder={phantoms.pairs}"]
    config = load_config(None, [*settings("adain", phantoms, drawings), *pairs])
    with pytest.raises(UserError, match="leave --pairs out"):
        train(config, tmp_path / "run")
    assert not (tmp_path / "run").exists()
