from __future__ import annotations

import numpy as np
import pytest
import torch
from monai.visualize import OcclusionSensitivity, VanillaGrad
from torch import nn

from medstyle_gan.config import load_config
from medstyle_gan.evaluation.interpretability import (
    input_gradient,
    network_input,
    occlusion,
    reach,
    region_at,
)
from medstyle_gan.inference.network.network import Network
from medstyle_gan.networks import ResNetGenerator

SHAPE = (22, 18, 9)
BODY = np.ones(SHAPE, bool)


class Averaging(nn.Module):
    """Gives the mean over a square of known size."""

    divisor = 4

    def __init__(self, channels: int, dims: int, side: int) -> None:
        super().__init__()
        layer = {2: nn.Conv2d, 3: nn.Conv3d}[dims]
        self.layer = layer(channels, channels, side, padding=side // 2, groups=channels, bias=False)
        nn.init.constant_(self.layer.weight, 1 / side**dims)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layer(x)


class Scored(nn.Module):
    """A score as the network of one output that MONAI expects."""

    def __init__(self, given, generator: nn.Module) -> None:
        super().__init__()
        self.given = given
        self.generator = generator

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.given.score(x)[:, None]


def network(dims: float, plane: str = "axial", side: int = 5, generator=None) -> Network:
    size = [24, 24] if dims < 3 else [16, 16, 8]
    config = load_config(
        options={"data.dims": dims, "data.plane": plane, "data.sample_size": size}
        | ({"data.spacing": [1, 1, 1]} if dims == 3 else {})
    )
    slices = config.data.sample_slices
    return Network(
        generator=generator or Averaging(slices, config.data.spatial_dims, side).eval(),
        in_channels=1,
        out_channels=1,
        data=config.data,
        inference=config.inference,
        device=torch.device("cpu"),
        precision="fp32",
    )


@pytest.fixture
def scan(rng) -> np.ndarray:
    return rng.uniform(-1, 1, SHAPE).astype(np.float32)


CASES = [(2, "axial"), (2, "coronal"), (2, "sagittal"), (2.5, "axial"), (3, "axial")]


@pytest.mark.parametrize(("dims", "plane"), CASES)
def test_the_score_is_the_translations_mean_in_the_region(scan, dims: float, plane: str):
    net = network(dims, plane, side=1)  # which gives back what it takes
    axis = {"axial": 2, "coronal": 1, "sagittal": 0}[plane]
    region = region_at((11, 9, 4), SHAPE, plane)
    given = network_input(net, scan, BODY, region)
    shown = np.take(scan, region.slice, axis)
    expected = shown[slice(*region.rows), slice(*region.columns)].mean()
    assert given.score(given.image).item() == pytest.approx(float(expected), abs=1e-5)


@pytest.mark.parametrize(("dims", "plane"), CASES)
def test_the_gradient_is_where_the_network_looks(scan, dims: float, plane: str):
    region = region_at((11, 9, 4), SHAPE, plane)
    values = input_gradient(network_input(network(dims, plane), scan, BODY, region))
    axis = {"axial": 2, "coronal": 1, "sagittal": 0}[plane]
    assert values.shape == tuple(np.delete(SHAPE, axis))
    # A region of 7 under a mean over 5 sees 11.
    seen = np.zeros(values.shape, bool)
    (top, bottom), (left, right) = region.rows, region.columns
    seen[max(0, top - 2) : bottom + 2, max(0, left - 2) : right + 2] = True
    assert (values[seen] > 0).all()
    assert (values[~seen] == 0).all()
    if dims < 3:
        assert values.sum() == pytest.approx(1, rel=0.3)


def test_the_gradient_is_monais(scan):
    torch.manual_seed(0)
    generator = ResNetGenerator(1, 1, ngf=2, blocks=1).eval()
    given = network_input(
        network(2, generator=generator), scan, BODY, region_at((11, 9, 4), SHAPE, "axial")
    )

    theirs = VanillaGrad(Scored(given, generator))(given.image.clone(), index=0)
    expected = given.to_slice(theirs.abs()[0, 0].numpy())
    assert input_gradient(given) == pytest.approx(expected, rel=1e-4, abs=1e-8)
    assert given.image.grad is None


@pytest.mark.parametrize(("dims", "plane"), CASES)
def test_occlusion_is_where_the_network_looks(scan, dims: float, plane: str):
    bright = np.full(SHAPE, 0.8, np.float32)
    region = region_at((11, 9, 4), SHAPE, plane)
    values = occlusion(network_input(network(dims, plane), bright, BODY, region), 4, -1.0)
    assert values.min() >= 0
    row, column = (round(place) for place in region.centre)
    assert values[row, column] > 0.2
    assert reach(values, region.centre, (1, 1)) < 10


@pytest.mark.filterwarnings("ignore:.*non-tuple sequence.*")
def test_occlusion_is_monais(scan):
    torch.manual_seed(0)
    generator = ResNetGenerator(1, 1, ngf=2, blocks=1).eval()
    net, region = network(2, generator=generator), region_at((11, 9, 4), SHAPE, "axial")
    whole = np.ones((24, 24, 9), np.float32)  # of the sample's size: nothing is padded
    whole[1:23, 3:21] = scan
    given = network_input(net, whole, whole < 2, region)
    scores, _ = OcclusionSensitivity(
        Scored(given, generator), mask_size=6, verbose=False, mode=0.2, overlap=0.0, activate=False
    )(given.image)
    expected = (scores[0, 0] - given.score(given.image)).abs().detach().numpy()
    assert occlusion(given, 6, 0.2) == pytest.approx(expected, rel=1e-3, abs=1e-6)


def test_air_is_not_covered(scan):
    region = region_at((11, 9, 4), SHAPE, "axial")
    body = BODY.copy()
    body[:, :9] = False
    values = occlusion(network_input(network(2), scan, body, region), 3, 1.0)
    assert (values[:, :6] == 0).all()
    assert values[:, 9:].max() > 0


def test_a_network_without_gradients_is_told(scan):
    class Graph(nn.Module):
        divisor = 4

        def forward(self, x):
            return x.detach().clone()

    given = network_input(
        network(2, generator=Graph()), scan, BODY, region_at((0, 0, 0), SHAPE, "axial")
    )
    with pytest.raises(ValueError, match="no gradient"):
        input_gradient(given)


@pytest.mark.parametrize(("voxel", "rows"), [((0, 0, 0), (0, 7)), ((21, 17, 8), (15, 22))])
def test_a_region_stays_in_the_slice(voxel, rows):
    assert region_at(voxel, SHAPE, "axial").rows == rows


def test_reach_is_the_radius_of_a_share():
    values = np.ones((101, 101), np.float32)
    rows, columns = np.indices(values.shape)
    values[np.hypot(rows - 50, columns - 50) > 40] = 0
    assert reach(values, (50, 50), (0.5, 0.5)) == pytest.approx(20 * np.sqrt(0.9), abs=0.3)
    assert reach(values, (50, 50), (0.5, 0.5), share=1.0) == pytest.approx(20)
    assert np.isnan(reach(0 * values, (50, 50), (1, 1)))
