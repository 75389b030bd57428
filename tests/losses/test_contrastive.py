from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from medstyle_gan.losses import patch_nce


def units(seed: int, count: int = 5, width: int = 7) -> Tensor:
    rng = torch.Generator().manual_seed(seed)
    return F.normalize(torch.randn(count, width, dtype=torch.float64, generator=rng))


def test_it_is_the_papers_cross_entropy_of_the_positive_against_all_negatives() -> None:
    """As the paper's code has it: the positive first, then negatives with itself struck out."""
    queries, keys, temperature = units(0), units(1), 0.07
    logits = []
    for i, query in enumerate(queries):
        negatives = [float(query @ key) for j, key in enumerate(keys) if j != i]
        logits.append([float(query @ keys[i]), *negatives])
    expected = F.cross_entropy(
        torch.tensor(logits, dtype=torch.float64) / temperature,
        torch.zeros(len(queries), dtype=torch.long),
    )
    torch.testing.assert_close(patch_nce(queries, keys, temperature), expected)
    by_hand = sum(math.log(sum(math.exp((x - row[0]) / 0.07) for x in row)) for row in logits) / 5
    assert float(expected) == pytest.approx(by_hand)


def test_it_is_log_n_where_nothing_is_told_apart_and_nothing_where_all_is() -> None:
    same = units(0)[:1].expand(6, -1)
    assert float(patch_nce(same, same)) == pytest.approx(math.log(6))
    assert float(patch_nce(torch.eye(6), torch.eye(6))) == pytest.approx(0, abs=1e-4)


def test_keys_learn_nothing() -> None:
    queries, keys = units(0).requires_grad_(), units(1).requires_grad_()
    patch_nce(queries, keys).backward()
    assert keys.grad is None
    assert queries.grad is not None
    assert torch.autograd.gradcheck(lambda q: patch_nce(q, units(1)), units(0).requires_grad_())


def test_half_precision_is_compared_in_fp32() -> None:
    queries, keys = units(0).bfloat16(), units(1).bfloat16()
    with torch.autocast("cpu", torch.bfloat16):
        found = patch_nce(queries, keys)
    torch.testing.assert_close(found, patch_nce(queries.float(), keys.float()))
