from __future__ import annotations

import pytest
import torch

from medstyle_gan.errors import UserError
from medstyle_gan.networks.sizes import check_sizes


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
