from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter
from torch import Tensor, nn

from medstyle_gan.config import Config
from medstyle_gan.data.intensity import FittedScale
from medstyle_gan.data.words import DIRECTIONS
from medstyle_gan.inference import Bundle, Translator, joined_state, save_bundle
from medstyle_gan.networks import build_generators

# Identifying text that stands in every path and header here and must get into no output.
CANARY = "Canary-Patient"


class Identity(nn.Module):
    """Gives its input back; counts its calls and keeps the last batch that it saw."""

    def __init__(self, divisor: int = 4) -> None:
        super().__init__()
        self.divisor = divisor
        self.calls = 0
        self.seen = torch.empty(0)

    def forward(self, x: Tensor) -> Tensor:
        assert all(size % self.divisor == 0 for size in x.shape[2:])
        self.calls += 1
        self.seen = x
        return x


def ellipsoid(shape: tuple[int, int, int], scale: float = 1.0) -> np.ndarray:
    """Bool (X, Y, Z): a body in the middle, bounded along Z too where there is room."""
    grids = np.meshgrid(*[np.linspace(-1, 1, n) for n in shape], indexing="ij")
    radii = (0.8 * scale, 0.65 * scale, 0.9 * scale if shape[2] > 1 else 2.0)
    return sum((g / r) ** 2 for g, r in zip(grids, radii, strict=True)) < 1


def textured_body(shape: tuple[int, int, int], seed: int = 0, sigma: float = 1.0) -> np.ndarray:
    """Float64 (X, Y, Z): texture in [300, 900] inside an ellipsoid, exactly 0 outside."""
    noise = gaussian_filter(np.random.default_rng(seed).normal(size=shape), sigma)
    noise = (noise - noise.min()) / (noise.max() - noise.min())
    return np.where(ellipsoid(shape), 300 + 600 * noise, 0.0)


def rotated(spacing: tuple[float, float, float], axes: str = "RAS", degrees: float = 0) -> Any:
    """An affine with the given voxel size and axis codes, turned obliquely."""
    start = nib.orientations.axcodes2ornt("RAS")
    end = nib.orientations.axcodes2ornt(axes)
    permutation = nib.orientations.inv_ornt_aff(
        nib.orientations.ornt_transform(start, end), (1, 1, 1)
    )
    turn = nib.eulerangles.euler2mat(*np.radians([degrees, degrees / 2, degrees / 3]))
    affine = np.eye(4)
    affine[:3, :3] = turn @ permutation[:3, :3] @ np.diag(spacing)
    affine[:3, 3] = (-30.5, 12.25, 70.125)
    return affine


def make_config(**sections: Any) -> Config:
    """A small config whose scales are fixed, wide and invertible, at native spacing."""
    fixed = {"name": "fixed", "lower": 0.0, "upper": 1000.0, "clip": False}
    values: dict[str, Any] = {
        "data": {
            "spacing": (None, None, None),
            "sample_size": (8, 8),
            "intensity": {"scan": fixed, "style": fixed},
        },
        "generator": {"name": "resnet", "ngf": 4, "blocks": 1},
        "inference": {"batch_size": 3},
    }
    for name, section in sections.items():
        values[name] = {**values.get(name, {}), **section}
    return Config.model_validate(values)


FIXED = FittedScale(center=500.0, half_range=500.0, clip=False)


def facts(**changes: Any) -> dict[str, Any]:
    """What is known of two grey, integer collections on the scale of `make_config`."""
    values: dict[str, Any] = {
        "channels": {"scan": 1, "style": 1},
        "scales": {"scan": FIXED, "style": FIXED},
        "integer": {"scan": True, "style": True},
        "background": {"scan": 0.0, "style": 0.0},
        "pictures": {"scan": False, "style": False},
    }
    for name, change in changes.items():
        values[name] = {**values[name], **change}
    return values


def make_bundle(config: Config | None = None, seed: int = 0, **changes: Any) -> Bundle:
    """A bundle of seeded, untrained generators."""
    config = config or make_config()
    known = facts(**changes)
    taken, given = (known["channels"][d] * config.data.sample_slices for d in ("scan", "style"))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        both = build_generators(config.generator, taken, given, config.data.spatial_dims)
    state = joined_state({d: g.state_dict() for d, g in zip(DIRECTIONS, both, strict=True)})
    # Wide enough weights that an untrained translation has contrast.
    state = {name: tensor * (1 if ".codes." in name else 5) for name, tensor in state.items()}
    return Bundle(config=config, state=state, steps=7, **known)


def identity_translator(config: Config | None = None, **changes: Any) -> Translator:
    generators = {"scan_to_style": Identity(), "style_to_scan": Identity()}
    return Translator.from_generators(config or make_config(), generators, **facts(**changes))


@pytest.fixture
def write_scan(tmp_path: Path) -> Callable[..., Path]:
    """Writes a textured body as NIfTI with identifying header text; gives its path."""

    def write(
        name: str = f"scans/{CANARY}.nii.gz",
        shape: tuple[int, int, int] = (20, 18, 6),
        seed: int = 0,
        dtype: type = np.int16,
    ) -> Path:
        image = nib.Nifti1Image(textured_body(shape, seed).astype(dtype), rotated((1, 1, 2)))
        image.header["descrip"] = CANARY.encode()
        image.header["aux_file"] = CANARY.encode()
        image.header["db_name"] = CANARY.encode()
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        nib.save(image, path)
        return path

    return write


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A bundle's folder."""
    return save_bundle(make_bundle(), tmp_path / "model")
