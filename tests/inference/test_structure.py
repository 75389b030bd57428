"""Translations that are local affine maps of the scan."""

from __future__ import annotations

import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter
from torch import Tensor, nn

from medstyle_gan.inference import Translator
from medstyle_gan.methods.affine_structure import gradient_correlation
from medstyle_gan.volumes import Picture, Volume, Workspace, read_volume
from tests.inference.conftest import facts, identity_translator, make_config, rotated, textured_body

SHAPE = (40, 36, 4)


class Smeared(nn.Module):
    """Turns the contrast over, blurs it, and draws stripes that no scan has."""

    divisor = 4

    def forward(self, x: Tensor) -> Tensor:
        blurred = nn.functional.avg_pool2d(x, 7, 1, 3, count_include_pad=False)
        stripes = torch.arange(x.shape[-1]) % 2 * 0.3
        return (-0.8 * blurred + stripes).clamp(-1, 1)


class Constant(nn.Module):
    divisor = 4

    def forward(self, x: Tensor) -> Tensor:
        return torch.full_like(x, 0.25)


def translator(generator: nn.Module, structure: str = "preserved", **inference) -> Translator:
    settings = {"structure": structure, "dtype": "float32", **inference}
    spacing = inference.pop("spacing", (None, None, None))
    settings.pop("spacing", None)
    config = make_config(inference=settings, data={"spacing": spacing})
    both = dict.fromkeys(("scan_to_style", "style_to_scan"), generator)
    return Translator.from_generators(config, both, **facts())


@pytest.fixture
def scan(tmp_path: Path) -> Volume:
    array = textured_body(SHAPE, sigma=1.5)
    array += 4 * np.random.default_rng(1).normal(size=SHAPE)  # noise in the air too
    path = tmp_path / "scan.nii.gz"
    nib.save(nib.Nifti1Image(array.astype(np.float32), rotated((1, 1, 2), "LPS")), path)
    return read_volume(path)


def correlations(scan: Volume, translated: Volume) -> list[float]:
    """Of the middle of the body alone: its edge is the same in every translation."""
    middle = np.s_[12:28, 12:24]
    one, two = (torch.from_numpy(v.array[middle].copy()) for v in (scan, translated))
    return [gradient_correlation(one[None, None, ..., z], two[None, None, ..., z]) for z in (1, 2)]


@pytest.mark.parametrize("spacing", [(None, None, None), (2, 2, None)])
def test_structure_is_the_scans_whatever_the_network_draws(scan: Volume, spacing) -> None:
    free = translator(Smeared(), "free", spacing=spacing).translate(scan)
    kept = translator(Smeared(), spacing=spacing).translate(scan)
    assert max(correlations(scan, free.image)) < 0.6
    assert min(correlations(scan, kept.image)) > 0.85
    assert kept.gradient_correlation is not None
    assert kept.gradient_correlation >= 0.95
    assert free.gradient_correlation is None
    # The contrast is the network's: turned over, its mean the same.
    deep = scan.array > 300
    assert np.corrcoef(scan.array[deep], kept.image.array[deep])[0, 1] < 0
    assert kept.image.array[deep].mean() == pytest.approx(free.image.array[deep].mean(), abs=60)


def test_what_the_network_leaves_as_it_is_stays(scan: Volume) -> None:
    # An epsilon far below the texture's variance: else flat windows are smoothed.
    kept = translator(identity_translator().generators["scan_to_style"], guide_epsilon=1e-7)
    result = kept.translate(scan).image.array
    inside = gaussian_filter((scan.array > 150).astype(float), 1) > 0.99
    np.testing.assert_allclose(result[inside], scan.array[inside], atol=1)


def test_a_constant_answer_and_a_constant_scan_give_constants(scan: Volume) -> None:
    result = translator(Constant(), structure_floor=0).translate(scan).image.array
    body = result != 0
    assert body.mean() > 0.2
    # Within a window of the body's edge the background is fitted too.
    inside = gaussian_filter(body.astype(float), (1, 1, 0)) > 0.999
    assert np.ptp(result[inside]) < 0.35 * 625


@pytest.mark.parametrize("spacing", [(None, None, None), (1.5, 1.5, None)])
def test_background_geometry_and_arrays_on_disk(scan: Volume, tmp_path: Path, spacing) -> None:
    kept = translator(Smeared(), spacing=spacing)
    image = kept.translate(scan).image
    assert image.geometry == scan.geometry
    assert (image.array[0] == 0).all()  # the corner is air
    on_disk = kept.translate(scan, workspace=Workspace(tmp_path, 0)).image
    np.testing.assert_array_equal(on_disk.array, image.array)


def test_settings_come_from_one_place() -> None:
    from medstyle_gan.config.inference_sections import InferenceConfig, StylizeConfig

    names = ("structure", "structure_floor", "guide_radius", "guide_epsilon")
    for name in names:
        one, other = InferenceConfig.model_fields[name], StylizeConfig.model_fields[name]
        assert one.default == other.default
        assert one.description == other.description


def test_the_sidecar_and_the_memory_estimate_know_of_it(scan: Volume, tmp_path: Path) -> None:
    from medstyle_gan.inference.archive.memory import MemoryPlan

    free, kept = translator(Smeared(), "free"), translator(Smeared())
    totals = [MemoryPlan(t, "scan_to_style", 2**33, 1).of_volume(scan).total for t in (free, kept)]
    assert totals[1] - totals[0] >= 4 * np.prod(SHAPE)


def test_translate_writes_it_and_says_so(tmp_path: Path, model: Path, write_scan) -> None:
    from medstyle_gan.cli import main

    path = write_scan(shape=(24, 20, 6))
    out = tmp_path / "out"
    arguments = ["translate", str(model), str(path), "-o", str(out), "--device", "cpu"]
    assert main([*arguments, "inference.structure=preserved"]) == 0
    (sidecar,) = out.glob("*.json")
    facts = json.loads(sidecar.read_text())
    assert facts["structure"]["gradient_correlation"] >= 0.949


@pytest.mark.parametrize("colours", [1, 3])
def test_pictures_too(colours: int) -> None:
    config = make_config(inference={"structure": "preserved"}, data={"sample_size": (32, 32)})
    both = dict.fromkeys(("scan_to_style", "style_to_scan"), Smeared())
    known = facts(channels={"scan": colours, "style": colours}, pictures={"style": True})
    grey = textured_body((40, 36, 1), sigma=2)[..., 0] / 4
    pixels = np.repeat(grey[..., None], colours, axis=2).astype(np.uint8)
    picture = Picture(pixels, 255.0, Path("style.png"))
    kept = Translator.from_generators(config, both, **known).translate_picture(picture)
    assert kept.gradient_correlation is not None
    assert kept.gradient_correlation >= 0.95
