from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from medstyle_gan.errors import UserError
from medstyle_gan.networks.sizes import check_sizes, resized


@pytest.mark.parametrize("sizes", [(8, 12), (8, 8, 16)])
def test_fitting_sizes_pass(sizes: tuple[int, ...]) -> None:
    check_sizes(torch.zeros(1, 1, *sizes), divisor=4, minimum=8)


@pytest.mark.parametrize("sizes", [(8, 13), (4, 8), (8, 8, 10)])
def test_the_refusal_names_sizes_rule_and_setting(sizes: tuple[int, ...]) -> None:
    with pytest.raises(UserError) as refusal:
        check_sizes(torch.zeros(1, 1, *sizes), divisor=4, minimum=8)
    message = str(refusal.value)
    assert "x".join(map(str, sizes)) in message
    assert "multiples of 4" in message
    assert "at least 8" in message
    assert "data.sample_size" in message


def test_images_are_resized_as_pillow_does_and_not_without_need() -> None:
    image = torch.rand(1, 1, 24, 31, generator=torch.Generator().manual_seed(0))
    assert resized(image, (24, 31)) is image
    pillow = Image.fromarray(image[0, 0].numpy()).resize((13, 9), Image.Resampling.BILINEAR)
    np.testing.assert_allclose(resized(image, (9, 13))[0, 0], np.asarray(pillow), atol=1e-5)
