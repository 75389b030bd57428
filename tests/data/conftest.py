from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from PIL import Image
from scipy.spatial.transform import Rotation

from medstyle_gan.config import Config
from medstyle_gan.config.data_section import DataConfig

SHAPE = (40, 44, 14)


def _head(seed: int, shape: tuple[int, int, int] = SHAPE) -> np.ndarray:
    """(X, Y, Z) int16: a textured ellipsoid in the dark, empty slices at both ends."""
    rng = np.random.default_rng(seed)
    x, y, z = np.meshgrid(*[np.linspace(-1, 1, n) for n in shape], indexing="ij")
    tilt = rng.uniform(-0.15, 0.15, size=3)
    body = ((x - tilt[0]) / 0.7) ** 2 + ((y - tilt[1]) / 0.8) ** 2 + (z / 0.8) ** 2 < 1
    values = 400 + 150 * np.sin(5 * x + tilt[2]) * np.cos(4 * y) + 100 * z
    noisy = np.where(body, values, 0) + np.abs(rng.normal(0, 4, size=shape))
    return noisy.astype(np.int16)


@pytest.fixture(scope="session")
def head() -> Callable[..., np.ndarray]:
    return _head


def _affine(spacing: tuple[float, ...] = (2.0, 2.0, 3.0), degrees: float = 0.0) -> np.ndarray:
    """Voxel → mm; rotated about all axes by up to `degrees`."""
    turn = Rotation.from_euler("xyz", [degrees, -0.7 * degrees, 0.5 * degrees], degrees=True)
    affine = np.eye(4)
    affine[:3, :3] = turn.as_matrix() @ np.diag(spacing)
    affine[:3, 3] = (-31.0, -40.0, 12.0)
    return affine


@pytest.fixture(scope="session")
def affine_of() -> Callable[..., np.ndarray]:
    return _affine


def _write(path: Path, array: np.ndarray, affine: np.ndarray | None = None) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(array, _affine() if affine is None else affine), path)
    return path


@pytest.fixture(scope="session")
def write_nifti() -> Callable[..., Path]:
    return _write


@dataclass(frozen=True)
class Folders:
    scans: Path
    style: Path
    pictures: Path


@pytest.fixture(scope="session")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Folders:
    """Three scan subjects (one with two volumes), three style subjects, three pictures."""
    root = tmp_path_factory.mktemp("collections")
    found = Folders(root / "scans", root / "style", root / "pictures")
    for number, name in enumerate(["sub-01_ses-1", "sub-01_ses-2", "sub-02", "sub-03"]):
        _write(found.scans / f"{name}_T1w.nii.gz", _head(number))
    for number, name in enumerate(["sub-11", "sub-12", "sub-13"]):
        shape = (40, 44, 14 + 4 * number)
        _write(found.style / f"{name}_T2w.nii.gz", 1000 - _head(50 + number, shape))
    found.pictures.mkdir()
    rng = np.random.default_rng(3)
    for number, (size, mode) in enumerate([((60, 50), "RGB"), ((40, 90), "L"), ((33, 33), "RGB")]):
        pixels = rng.integers(0, 256, size=(*size, 3), dtype=np.uint8)
        Image.fromarray(pixels).convert(mode).save(found.pictures / f"art{number}.png")
    return found


def _settings(**data: Any) -> Config:
    small = {"spacing": (None, None, None), "sample_size": (32, 32), "validation_fraction": 0}
    training = data.pop("training", {})
    return Config.model_validate({"data": {**small, **data}, "training": training})


@pytest.fixture(scope="session")
def settings() -> Callable[..., Config]:
    """A small config; keywords go to `data`, `training=` to `training`."""
    return _settings


@pytest.fixture(scope="session")
def data_settings() -> Callable[..., DataConfig]:
    def make(**data: Any) -> DataConfig:
        return _settings(**data).data

    return make
