"""Memory is bounded by slab and batch: what is foretold, and what a process really holds."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from medstyle_gan.errors import UserError
from medstyle_gan.inference import Translator, save_bundle
from medstyle_gan.inference.archive import memory
from medstyle_gan.inference.archive.memory import GIBIBYTE, MemoryPlan
from medstyle_gan.inference.network import stacks
from medstyle_gan.inference.network.padding import pad_images
from medstyle_gan.inference.network.paths import ways_of
from medstyle_gan.volumes import Workspace, read_header

from ..conftest import make_bundle, make_config, rotated, textured_body


def header_of(tmp_path: Path, shape: tuple[int, int, int]) -> object:
    path = tmp_path / "volume.nii"
    nib.save(nib.Nifti1Image(np.zeros(shape, np.int16), np.eye(4)), path)
    return read_header(path)


@pytest.mark.parametrize(("side", "most"), [(512, 1), (256, 1), (128, 4), (64, 8)])
def test_a_cpu_takes_large_slices_one_by_one(tmp_path: Path, side: int, most: int) -> None:
    translator = Translator.load(make_bundle(make_config(inference={"batch_size": 8})))
    plan = MemoryPlan(translator, "scan_to_style", 4.0 * GIBIBYTE, workers=1)
    header = header_of(tmp_path, (side, side, 16))
    assert plan.of_volume(header).batch_size == most  # type: ignore[arg-type]


def test_the_bound_chooses_the_batch_and_refuses_what_cannot_fit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stacks, "_CPU_PIXELS", 2**20)
    config = make_config(inference={"batch_size": 8}, generator={"ngf": 32, "blocks": 2})
    translator = Translator.load(make_bundle(config), precision="fp32")
    header = header_of(tmp_path, (160, 144, 4))
    batches, residents = [], []
    for limit in (4.0, 1.2, 1.13):
        plan = MemoryPlan(translator, "scan_to_style", limit * GIBIBYTE, workers=1)
        estimate = plan.of_volume(header)  # type: ignore[arg-type]
        batches.append(estimate.batch_size)
        residents.append(estimate.resident)
        assert estimate.resident <= limit * GIBIBYTE
    assert batches[0] == 8 > batches[1] > batches[2] >= 1
    assert residents == sorted(residents, reverse=True)
    with pytest.raises(UserError, match=r"--max-memory 1: a volume of 160x144x4 needs about 1\.1"):
        MemoryPlan(translator, "scan_to_style", GIBIBYTE, 1).of_volume(header)  # type: ignore[arg-type]


@pytest.mark.parametrize("spinning", [False, True])
@pytest.mark.parametrize("size", [(30, 47), (32, 48), (33, 61), (64, 16)])
def test_what_is_foretold_is_as_large_as_what_goes_through(
    spinning: bool, size: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    config = make_config(inference={"cycle_spinning": spinning}, data={"sample_size": (32, 48)})
    translator = Translator.load(make_bundle(config), precision="fp32")
    network = translator.network("scan_to_style")
    seen: list[tuple[int, ...]] = []

    def foretell(network: object, shape: tuple[int, ...]) -> int:
        seen.append(shape)
        return 1

    monkeypatch.setattr(memory, "forward_bytes", foretell)
    MemoryPlan(translator, "scan_to_style", 4.0 * GIBIBYTE, 1).network_bytes(2, size)
    images = np.zeros((2, 1, *size), np.float32)
    divisor = int(network.generator.divisor)  # type: ignore[arg-type]
    padded = [
        pad_images(images, (32, 48), divisor, -1.0, way.offsets((0, 1), size))[0].shape
        for way in ways_of(network)
    ]
    assert len(padded) == 1 + spinning
    assert seen == [tuple(np.max(padded, axis=0))]


@pytest.mark.parametrize("axes", ["RAS", "PSR", "ILP"])
@pytest.mark.parametrize("plane", ["axial", "coronal", "sagittal"])
@pytest.mark.parametrize("spacing", [(None, None, None), (1.7, 1.1, 2.9)])
def test_arrays_on_disk_give_the_same_voxels(
    tmp_path: Path,
    axes: str,
    plane: str,
    spacing: tuple[float | None, ...],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    percentile = {"name": "percentile", "region": "foreground"}
    intensity = {"scan": percentile, "style": percentile}
    config = make_config(data={"plane": plane, "spacing": spacing, "intensity": intensity})
    translator = Translator.load(make_bundle(config), precision="fp32")
    path = tmp_path / "a.nii.gz"
    image = nib.Nifti1Image(textured_body((22, 27, 17)).astype(np.int16), rotated((1, 1, 2), axes))
    image.header.set_slope_inter(0.5, 3.0)
    nib.save(image, path)
    whole = translator.translate(path)
    for module in ("volumes.workspace", "data.resampling"):  # many slabs, of one slice or two
        monkeypatch.setattr(f"medstyle_gan.{module}.SLAB_VOXELS", 1200)
    expected = translator.translate(path)
    actual = translator.translate(path, workspace=Workspace(tmp_path, memory=0))
    np.testing.assert_array_equal(actual.image.array, expected.image.array)
    # Torch's sampling grid rounds a little differently in slabs of another thickness.
    tolerance = 0 if spacing[0] is None else 1
    np.testing.assert_allclose(actual.image.array, whole.image.array, rtol=0, atol=tolerance)
    assert actual.clipped == expected.clipped
    assert actual.input_scale == expected.input_scale
    assert [file.name for file in tmp_path.iterdir()] == ["a.nii.gz"]


PROGRAM = """
import ctypes, gc, json, sys
from pathlib import Path
from medstyle_gan.inference import Translator, plan_translation, run_translation
from medstyle_gan.inference.archive.memory import MemoryPlan, GIBIBYTE

def resident(kind):
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(l.split()[1]) / 1024 for l in lines if l.startswith(kind))

def limited(fit):
    fit[1]._left = 0  # all arrays in files
    return fit

model, whole_model, planes_model, small, large, thick, out = map(Path, sys.argv[1:8])
grown = {}
for name, model, path in (
    # What the first translation of a kind loads would count for the one that comes first.
    ("warm-up", planes_model, small),
    ("small", model, small), ("large", model, large), ("whole", whole_model, small),
    ("on disk", planes_model, thick), ("planes", planes_model, thick),
):
    translator = Translator.load(model, precision="fp32")
    jobs = plan_translation(translator, [path], out / name)
    plan = MemoryPlan(translator, "scan_to_style", GIBIBYTE * 4, 1)
    if name in ("whole", "planes"):
        estimate, _ = plan.of_all(jobs)
        grown[f"{name} foretold"] = estimate.resident / 2**20
        grown[f"{name} arrays"] = estimate.arrays / 2**20
    else:
        plan.fitting = lambda job, fitting=plan.fitting: limited(fitting(job))
    # What an earlier translation has freed but not given back would be used again, uncounted.
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5")  # forget the peak
    before = resident("VmRSS")
    (outcome,) = run_translation(translator, jobs, out=out / name, memory=plan)
    assert outcome.status == "done", outcome.reason
    grown[name] = resident("VmHWM") - before
print(json.dumps(grown))
"""


@pytest.fixture(scope="module")
def grown(tmp_path_factory: pytest.TempPathFactory) -> dict[str, float]:
    """Resident memory (MiB) that translations took in a process of their own."""
    folder = tmp_path_factory.mktemp("resident")
    percentile = {"scan": {"name": "percentile"}, "style": {"name": "percentile"}}
    config = make_config(data={"intensity": percentile}, inference={"batch_size": 2})
    model = save_bundle(make_bundle(config), folder / "model")
    whole = make_config(
        data={"intensity": percentile, "dims": 3, "sample_size": (16, 16, 16)},
        generator={"ngf": 8, "blocks": 1},
    )
    whole_model = save_bundle(make_bundle(whole), folder / "whole")
    planes = make_config(
        data={"intensity": percentile},
        generator={"ngf": 2, "blocks": 1},
        inference={"batch_size": 2, "planes": 3},
    )
    planes_model = save_bundle(make_bundle(planes), folder / "planes")
    rng = np.random.default_rng(0)
    plane = (rng.normal(size=(128, 128, 1)) * 20 + 500).astype(np.int16)
    plane[:16] = plane[-16:] = plane[:, :16] = plane[:, -16:] = 0
    for name, count in (("small", 160), ("large", 800)):
        array = np.repeat(plane, count, axis=2)
        array[..., :2] = 0
        nib.save(nib.Nifti1Image(array, np.eye(4)), folder / f"{name}.nii.gz")
    # Thick slices: cubic voxels are sixteen times as many.
    thick = nib.Nifti1Image(np.tile(plane, (2, 2, 20)), np.diag([1.0, 1.0, 16.0, 1.0]))
    nib.save(thick, folder / "thick.nii.gz")
    process = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(model), str(whole_model), str(planes_model)]
        + [str(folder / f"{name}.nii.gz") for name in ("small", "large", "thick")]
        + [str(folder / "out")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert process.returncode == 0, process.stderr
    return json.loads(process.stdout)  # type: ignore[no-any-return]


def test_resident_memory_does_not_grow_with_the_number_of_slices(grown: dict[str, float]) -> None:
    # The large volume's arrays take 15 bytes a voxel, 150 MiB more than the small one's.
    assert grown["large"] < grown["small"] + 30


def test_a_volume_as_a_whole_takes_what_is_foretold_and_not_much_less(
    grown: dict[str, float],
) -> None:
    libraries = 0.85 * 1024
    assert grown["whole"] <= grown["whole foretold"] - libraries
    # All of `inference.feature_memory`, 2 GiB, would be far more.
    assert grown["whole"] >= 0.25 * (grown["whole foretold"] - libraries)


def test_the_grid_of_three_planes_is_foretold_and_not_much_more(grown: dict[str, float]) -> None:
    libraries = 0.85 * 1024
    assert grown["planes"] <= grown["planes foretold"] - libraries, grown
    assert grown["planes"] >= 0.7 * grown["planes arrays"]
    # In files: slabs and a batch, of the planes too whose slices go across the volume's own.
    assert grown["on disk"] <= grown["planes"] - 0.35 * grown["planes arrays"], grown


def test_the_estimate_of_a_small_volume_leaves_out_what_it_cannot_fill(tmp_path: Path) -> None:
    config = make_config(
        data={"dims": 3, "sample_size": (16, 16, 16)}, generator={"ngf": 8, "blocks": 1}
    )
    translator = Translator.load(make_bundle(config), precision="fp32")
    residents = []
    for side in (16, 64, 384):
        plan = MemoryPlan(translator, "scan_to_style", 16 * GIBIBYTE, workers=1)
        estimate = plan.of_volume(header_of(tmp_path, (side,) * 3))  # type: ignore[arg-type]
        assert estimate.unit == "volume"
        residents.append(estimate.resident / GIBIBYTE)
    assert residents[0] < 1.2  # the libraries and the slabs, but no feature memory
    assert residents[0] < residents[1] < residents[2]
    assert residents[2] > 2 + 1.1  # all of the feature memory
