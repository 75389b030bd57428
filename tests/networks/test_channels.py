from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from medstyle_gan.networks import adapt_channels


@pytest.mark.parametrize("channels", [1, 3])
def test_images_with_the_right_channels_are_passed_through(channels: int) -> None:
    images = torch.rand(2, channels, 5, 6)
    assert adapt_channels(images, channels) is images


@pytest.mark.parametrize("spatial", [(5, 6), (3, 4, 5)])
def test_grey_is_repeated_to_colour_and_comes_back(spatial: tuple[int, ...]) -> None:
    grey = torch.rand(2, 1, *spatial)
    colour = adapt_channels(grey, 3)
    assert colour.shape == (2, 3, *spatial)
    assert all(torch.equal(colour[:, c], grey[:, 0]) for c in range(3))
    torch.testing.assert_close(adapt_channels(colour, 1), grey)


def test_colour_becomes_the_grey_of_pillow() -> None:
    picture = np.random.default_rng(0).integers(0, 256, (16, 16, 3), dtype=np.uint8)
    expected = np.asarray(Image.fromarray(picture).convert("L"), dtype=np.float32)
    colour = torch.from_numpy(picture).permute(2, 0, 1)[None].float()
    grey = adapt_channels(colour, 1)[0, 0].numpy()
    assert np.abs(grey - expected).max() <= 1  # Pillow rounds to whole grey levels


@pytest.mark.parametrize(("present", "wanted"), [(2, 1), (1, 2), (4, 3)])
def test_other_channels_are_refused(present: int, wanted: int) -> None:
    with pytest.raises(ValueError, match=f"{present} channels into {wanted}"):
        adapt_channels(torch.zeros(1, present, 4, 4), wanted)
