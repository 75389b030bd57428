from __future__ import annotations

import itertools
from typing import Any

import pytest
import torch
from torch import Tensor

from medstyle_gan.config.network_sections import VGGConfig
from medstyle_gan.methods.vgg_views import View, Views


def views(seed: int = 0, **settings: Any) -> Views:
    return Views(VGGConfig(**settings), seed)


def coordinates(*size: int, count: int = 1) -> Tensor:
    """`(count, 1 + dims, *size)`: each voxel holds its image's number and its own position."""
    axes = torch.meshgrid(*(torch.arange(n) for n in size), indexing="ij")
    images = [torch.stack([torch.full(size, i), *axes]) for i in range(count)]
    return torch.stack(images).float()


def corners(view: View, *size: int) -> list[tuple[int, ...]]:
    """Where each part of a view begins: number of the image, then position."""
    parts = view(coordinates(*size, count=view.count))
    return [tuple(int(x) for x in part[:, 0, 0]) for seen in parts for part in seen]


def test_whole_images_are_the_very_same_tensor() -> None:
    images = torch.rand(2, 1, 6, 8)
    view = Views().choose((6, 8), 2, step=3)
    (seen,) = view(images)
    assert seen is images
    assert view.shares == [1.0]


def test_a_crop_is_a_square_of_its_own_image_at_every_possible_place() -> None:
    size, side = (6, 8), 5
    found = set()
    for step in range(120):
        view = views(crop=side).choose(size, 2, step)
        (seen,) = view(coordinates(*size, count=2))
        for number, part in enumerate(seen):
            image, top, left = (int(x) for x in part[:, 0, 0])
            assert image == number
            expected = coordinates(*size)[0, 1:, top : top + side, left : left + side]
            assert torch.equal(part[1:], expected)
            found.add((top, left))
    assert found == set(itertools.product(range(2), range(4)))


def test_a_crop_as_large_as_the_image_is_the_image() -> None:
    images = coordinates(6, 6, count=2)
    (seen,) = views(crop=6).choose((6, 6), 2, 0)(images)
    assert torch.equal(seen, images)


@pytest.mark.parametrize(("size", "settings"), [((20, 20), {"crop": 5}), ((6, 7, 8), {"crop": 3})])
def test_choices_are_keyed_by_seed_step_and_place_alone(
    size: tuple[int, ...], settings: dict[str, int]
) -> None:
    def places(seed: int, step: int, count: int, position: int = 0) -> list[tuple[int, ...]]:
        view = views(seed, **settings).choose(size, count, step, position)
        return [corner[1:] for corner in corners(view, *size)]

    whole = places(0, 7, 4)
    assert len(set(whole)) > 1
    assert places(0, 7, 1) + places(0, 7, 3, position=1) == whole
    assert places(0, 7, 4) == whole
    assert places(1, 7, 4) != whole
    assert places(0, 8, 4) != whole


def test_slices_of_a_volume_take_the_planes_in_turn() -> None:
    size = (5, 6, 7)
    shapes = {(6, 7), (5, 7), (5, 6)}
    view = Views().choose(size, 2, step=0)
    seen = view(coordinates(*size, count=2))
    assert {tuple(part.shape[2:]) for part in seen} == shapes
    assert view.shares == [pytest.approx(1 / 3)] * 3
    for parts in seen:
        axis = [(6, 7), (5, 7), (5, 6)].index((parts.shape[2], parts.shape[3]))
        for number, part in enumerate(parts):
            index = int(part[1 + axis, 0, 0])
            expected = coordinates(*size, count=2)[number].select(1 + axis, index)
            assert torch.equal(part, expected)


def test_every_slice_of_every_plane_is_seen_in_time_even_one_a_volume() -> None:
    size = (3, 4, 5)
    found = set()
    for step in range(200):
        view = views(slices=1).choose(size, 1, step)
        (seen,) = view(coordinates(*size))
        constant = [i for i in range(3) if (seen[0, 1 + i] == seen[0, 1 + i, 0, 0]).all()]
        assert len(constant) == 1
        found.add((constant[0], int(seen[0, 1 + constant[0], 0, 0])))
    assert found == {(axis, index) for axis, n in enumerate(size) for index in range(n)}


def test_crops_of_slices_are_all_of_one_size() -> None:
    view = views(crop=3, slices=4).choose((3, 4, 5), 2, step=0)
    (seen,) = view(coordinates(3, 4, 5, count=2))
    assert seen.shape == (8, 4, 3, 3)
    assert seen[:, 0, 0, 0].tolist() == [0] * 4 + [1] * 4
    assert view.shares == [1.0]


def test_a_reduction_keeps_places_and_does_not_alias() -> None:
    ramp = coordinates(16, 12)[:, 1:2]
    (seen,) = views(scale=0.5).choose((16, 12), 1, step=0)(ramp)
    assert seen.shape == (1, 1, 8, 6)
    torch.testing.assert_close(seen[0, 0, 1:-1, 0], torch.arange(1, 7) * 2 + 0.5)
    torch.manual_seed(0)
    noise = torch.randn(1, 1, 128, 128)
    (seen,) = views(scale=0.25).choose((128, 128), 1, step=0)(noise)
    # A triangle of eight pixels' width in both directions; of two alone it would be a half.
    assert float(seen.std()) == pytest.approx(1 / 6, rel=0.1)


def test_a_reduction_is_made_in_fp32_and_takes_gradients() -> None:
    images = torch.rand(1, 1, 9, 9).bfloat16().requires_grad_()
    (seen,) = views(scale=0.5, crop=7).choose((9, 9), 1, step=0)(images)
    assert seen.dtype == torch.float32
    assert seen.shape == (1, 1, 4, 4)
    seen.sum().backward()
    assert images.grad is not None
    assert int((images.grad != 0).sum()) == 49


@pytest.mark.parametrize(
    ("size", "settings", "smallest", "fields"),
    [
        ((64, 48), {}, (64, 48), "data.sample_size"),
        ((64, 48), {"scale": 0.5}, (32, 24), "data.sample_size or vgg.scale"),
        ((64, 48), {"crop": 20}, (20, 20), "data.sample_size or vgg.crop"),
        (
            *((64, 48), {"crop": 20, "scale": 0.25}, (5, 5)),
            "data.sample_size, vgg.crop or vgg.scale",
        ),
        ((64, 8, 32), {}, (8, 32), "data.sample_size"),
        ((8, 64, 32), {"scale": 0.01}, (1, 1), "data.sample_size or vgg.scale"),
    ],
)
def test_the_smallest_image_seen_and_what_makes_it_larger_are_told(
    size: tuple[int, ...], settings: dict[str, Any], smallest: tuple[int, int], fields: str
) -> None:
    mine = views(**settings)
    assert mine.smallest(size) == smallest
    assert mine.fields() == fields
    seen = mine.choose(size, 1, step=0)(torch.zeros(1, 1, *size))
    assert min(min(part.shape[2:]) for part in seen) == min(smallest)


def test_what_cannot_be_seen_is_refused() -> None:
    with pytest.raises(ValueError, match=r"vgg\.crop 9 is larger than images of 8x12"):
        views(crop=9).choose((8, 12), 1, step=0)
    with pytest.raises(ValueError, match="view of 2 images was given 3"):
        views(crop=4).choose((8, 8), 2, step=0)(torch.zeros(3, 1, 8, 8))
