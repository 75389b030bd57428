from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import torch

from medstyle_gan.cli import main
from medstyle_gan.inference import export_bundle, find_bundle, load_bundle, model_hash
from medstyle_gan.inference.bundles.generators import restore_generator
from medstyle_gan.networks import ResNetGenerator

from ..conftest import make_bundle, make_config

SCHEMA = Path(__file__).with_name("monai_metadata_schema.json")


@pytest.fixture
def bundle_folder(tmp_path: Path) -> Path:
    return export_bundle(make_bundle(), tmp_path / "monai", "monai")


def monai_bundle(repository: Path, folder: Path, *arguments: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-m", "monai.bundle", *arguments],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(repository)},
        capture_output=True,
        text=True,
        check=False,
    )


def test_folder_is_laid_out_as_specified(bundle_folder: Path) -> None:
    files = {str(p.relative_to(bundle_folder)) for p in bundle_folder.rglob("*") if p.is_file()}
    assert files == {
        "configs/metadata.json",
        "configs/inference.json",
        "docs/README.md",
        "models/model.pt",
        "models/model.yaml",
        "models/generators.safetensors",
    }
    assert find_bundle(bundle_folder) == bundle_folder / "models"
    assert load_bundle(bundle_folder).hash == model_hash(make_bundle().state)
    expected = restore_generator(make_bundle(), "scan_to_style").state_dict()
    state = torch.load(bundle_folder / "models" / "model.pt", weights_only=True)
    torch.testing.assert_close(state, dict(expected), rtol=0, atol=0)


@pytest.mark.slow
def test_metadata_is_verified_by_monai(
    repository: Path, bundle_folder: Path, tmp_path: Path
) -> None:
    pytest.importorskip("jsonschema")
    schema = tmp_path / "schema.json"
    shutil.copy(SCHEMA, schema)
    command = ["verify_metadata", "--meta_file", "configs/metadata.json", "--filepath", str(schema)]
    done = monai_bundle(repository, bundle_folder, *command)
    assert done.returncode == 0, done.stderr
    metadata = bundle_folder / "configs" / "metadata.json"
    broken = json.loads(metadata.read_text())
    del broken["network_data_format"]["inputs"]["image"]["dtype"]
    metadata.write_text(json.dumps(broken))
    assert monai_bundle(repository, bundle_folder, *command).returncode != 0


def validate(metadata: dict[str, Any]) -> None:
    jsonschema = pytest.importorskip("jsonschema")
    jsonschema.validate(metadata, json.loads(SCHEMA.read_text()))


def test_metadata_of_volumes_and_colour_fits_the_schema(tmp_path: Path) -> None:
    config = make_config(data={"dims": 3, "sample_size": (8, 12, 16)})
    bundle = make_bundle(config, channels={"style": 3}, pictures={"style": True})
    folder = export_bundle(bundle, tmp_path / "monai", "monai")
    metadata = json.loads((folder / "configs" / "metadata.json").read_text())
    validate(metadata)
    tensors = metadata["network_data_format"]
    assert tensors["inputs"]["image"]["spatial_shape"] == [8, 12, 16]
    assert tensors["inputs"]["image"]["num_channels"] == 1
    assert tensors["outputs"]["pred"]["num_channels"] == 3


def test_network_is_what_the_metadata_says(bundle_folder: Path) -> None:
    from monai.bundle import verify_net_in_out

    configs = bundle_folder / "configs"
    for n, p in ((1, 1), (3, 2)):
        verify_net_in_out(
            net_id="network_def",
            meta_file=str(configs / "metadata.json"),
            config_file=str(configs / "inference.json"),
            device="cpu",
            n=n,
            p=p,
        )


def test_network_takes_the_weights_beside_it(bundle_folder: Path) -> None:
    from monai.bundle import ConfigParser

    parser = ConfigParser()
    parser.read_config(str(bundle_folder / "configs" / "inference.json"))
    parser["bundle_root"] = str(bundle_folder)
    network = parser.get_parsed_content("network_def")
    assert isinstance(network, ResNetGenerator)
    weights = torch.load(parser.get_parsed_content("ckpt_path"), weights_only=True)
    network.load_state_dict(weights)


@pytest.mark.slow
@pytest.mark.parametrize("direction", ["scan_to_style", "style_to_scan"])
def test_runs_as_medstyle_translate_does(
    repository: Path, bundle_folder: Path, tmp_path: Path, write_scan: Any, direction: str
) -> None:
    path = write_scan("in/scan.nii.gz")
    done = monai_bundle(
        repository,
        bundle_folder,
        "run",
        "--config_file=configs/inference.json",
        "--bundle_root=.",
        f"--dataset_dir={path.parent}",
        f"--output_dir={tmp_path / 'out'}",
        f"--direction={direction}",
        "--precision=fp32",
    )
    assert done.returncode == 0, done.stderr
    expected = tmp_path / "expected"
    command = ["translate", str(bundle_folder), str(path), "-o", str(expected)]
    assert main([*command, "--direction", direction, "--precision", "fp32"]) == 0
    image, wanted = (nib.load(folder / path.name) for folder in (tmp_path / "out", expected))
    np.testing.assert_array_equal(image.get_fdata(), wanted.get_fdata())
    np.testing.assert_array_equal(image.affine, wanted.affine)
    assert image.header["sform_code"] == wanted.header["sform_code"]


@pytest.mark.slow
def test_a_file_that_fails_fails_the_run(
    repository: Path, bundle_folder: Path, tmp_path: Path, write_scan: Any
) -> None:
    path = write_scan("in/scan.nii.gz")
    path.write_bytes(path.read_bytes()[:-40])
    done = monai_bundle(
        repository,
        bundle_folder,
        "run",
        "--config_file=configs/inference.json",
        f"--dataset_dir={path.parent}",
        f"--output_dir={tmp_path / 'out'}",
    )
    assert done.returncode != 0
    assert "1 of 1 files failed" in done.stderr
