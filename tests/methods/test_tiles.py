from __future__ import annotations

import pytest
import torch

from medstyle_gan.methods.picture_objective import FeaturesInTiles
from medstyle_gan.methods.tiles import make_tiles, reach, stride
from medstyle_gan.networks import VGG19Features

SHALLOW = ("relu1_1", "conv2_2", "relu3_1")


@pytest.fixture(scope="module")
def vgg() -> VGG19Features:
    return VGG19Features("random:0", SHALLOW).double()


@pytest.mark.parametrize(
    ("layer", "pixels"), [("conv1_2", 1), ("pool1", 2), ("relu2_1", 2), ("conv5_1", 16)]
)
def test_strides_are_the_poolings_before(layer: str, pixels: int) -> None:
    assert stride(layer) == pixels


@pytest.mark.parametrize("layer", ["relu1_2", "relu2_1", "relu3_2"])
def test_a_feature_depends_on_no_pixel_beyond_its_reach(layer: str) -> None:
    network = VGG19Features("random:0", [layer], "average").double()
    picture = torch.rand(1, 1, 96, 96, dtype=torch.float64, requires_grad=True)
    step = stride(layer)
    cell = 48 // step
    network(picture)[layer][..., cell, cell].sum().backward()
    assert picture.grad is not None
    seen = torch.nonzero(picture.grad[0, 0].any(dim=0)).flatten()
    far = max(48 - int(seen[0]), int(seen[-1]) - (48 + step - 1))
    assert step <= far <= reach([layer])


@pytest.mark.parametrize("size", [(64, 64), (65, 97), (40, 33), (71, 39)])
@pytest.mark.parametrize("side", [None, 16, 32, 1000])
def test_each_pixel_is_in_one_core_and_each_core_holds_every_layer(
    size: tuple[int, int], side: int | None
) -> None:
    tiles = make_tiles(size, side, SHALLOW)
    counted = torch.zeros(size)
    for tile in tiles:
        counted[slice(*tile.core_rows), slice(*tile.core_columns)] += 1
        for (first, end), (start, stop) in (
            (tile.core_rows, tile.rows),
            (tile.core_columns, tile.columns),
        ):
            assert start <= first < end <= stop
            assert end // 4 > first // 4
    assert (counted == 1).all()
    assert len(tiles) == 1 or side in (16, 32)


@pytest.mark.parametrize("size", [(64, 64), (57, 50)])
def test_features_put_together_from_tiles_are_those_of_the_whole(
    vgg: VGG19Features, size: tuple[int, int]
) -> None:
    picture = torch.rand(1, 3, *size, dtype=torch.float64) * 2 - 1
    whole = vgg(picture)
    tiled = FeaturesInTiles(vgg, size, SHALLOW, side=16)
    assert len(tiled.tiles) > 4
    for name, features in tiled.of_whole(picture).items():
        torch.testing.assert_close(features, whole[name], msg=name)
