from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from medstyle_gan.cli import main
from medstyle_gan.cli.demo import KINDS
from medstyle_gan.data.phantom import PHANTOM_KINDS
from medstyle_gan.volumes import read_volume


@pytest.fixture(scope="module")
def demo(tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("demo") / "out"
    assert main(["demo", "-o", str(out), "--quick", "training.steps=4"]) == 0
    return out


def test_quick_demo_leaves_data_run_figure_and_figures(demo: Path) -> None:
    assert len(list((demo / "data" / "scans").iterdir())) == 2
    assert (demo / "run" / "model").is_dir()
    with Image.open(demo / "demo.png") as picture:
        assert min(picture.size) > 300
    figures = json.loads((demo / "figures.json").read_text())
    names = {"translation", "doing_nothing", "percentile_matching", "histogram_matching"}
    for grid in ("network", "native"):
        rows = [row for row in figures["rows"] if row["grid"] == grid]
        assert {row["name"] for row in rows} == names
        assert all(np.isfinite([row["psnr"], row["ssim"], row["mae"]]).all() for row in rows)
    assert figures["config"]["training"]["steps"] == 4
    assert figures["config"]["loss"]["style"]["weight"] > 0


def test_demo_translates_the_held_out_volume_onto_its_grid(demo: Path) -> None:
    translation = read_volume(demo / "sub-201_translation.nii.gz")
    scan = read_volume(demo / "data" / "pairs" / "sub-201" / "scan.nii.gz")
    assert translation.geometry.same_grid(scan.geometry)


def test_demo_leaves_nothing_outside_its_folder(demo: Path) -> None:
    assert [path.name for path in demo.parent.iterdir()] == ["out"]
    assert (demo / "cache").is_dir()


def test_a_second_demo_gets_a_folder_of_its_own(demo: Path, capsys) -> None:
    before = sorted(demo.rglob("*"))
    assert main(["demo", "-o", str(demo), "--print-config"]) == 0
    assert f"{demo}-2/data/scans" in capsys.readouterr().out
    assert sorted(demo.rglob("*")) == before
    assert not Path(f"{demo}-2").exists()


def test_a_folder_with_something_else_is_refused_untouched(tmp_path: Path, capsys) -> None:
    (tmp_path / "thesis.txt").write_text("mine")
    assert main(["demo", "-o", str(tmp_path), "--quick"]) == 2
    assert "not a demo's folder" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [(["training.stepz=3"], "steps"), (["--seed", "-1"], "seed")],
)
def test_mistakes_are_found_before_anything_is_made(
    tmp_path: Path, capsys, arguments, message
) -> None:
    out = tmp_path / "out"
    assert main(["demo", "-o", str(out), *arguments]) == 2
    assert message in capsys.readouterr().err
    assert not out.exists()


def test_demo_says_that_its_vgg_weights_are_random(tmp_path: Path, capsys) -> None:
    assert main(["demo", "-o", str(tmp_path / "out"), "--print-config"]) == 0
    assert "random:0" in capsys.readouterr().out


def test_every_kind_of_phantom_can_be_shown() -> None:
    assert set(KINDS) == set(PHANTOM_KINDS)


def test_demo_of_another_kind_makes_its_phantoms_and_uses_the_recipe(
    repository: Path, tmp_path: Path
) -> None:
    recipe = repository / "configs" / "cbct_to_ct.yaml"
    small = ["data.spacing=[null,null,null]", "data.sample_size=[48,48]", "generator.ngf=4"]
    small += ["generator.blocks=1", "discriminator.ndf=4", "training.steps=2"]
    small += ["loss.perceptual.layers=[relu1_1]", "loss.style.layers=[relu1_1]"]
    out = tmp_path / "out"
    command = ["demo", "--quick", "--kind", "cbct_to_ct", "--config", str(recipe)]
    assert main([*command, "-o", str(out), *small]) == 0
    figures = json.loads((out / "figures.json").read_text())
    assert figures["kind"] == "cbct_to_ct"
    assert figures["config"]["data"]["intensity"]["scan"]["name"] == "window"
    assert read_volume(out / "sub-201_translation.nii.gz").array.min() <= -1000
