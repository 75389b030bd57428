from __future__ import annotations

import numpy as np
import pytest

from medstyle_gan.config import load_config
from medstyle_gan.evaluation.interpretability import loss_parts


@pytest.fixture(scope="module")
def loss():
    return load_config(
        options={
            "loss.cycle.weight": 10,
            "loss.identity.weight": 5,
            "loss.perceptual.weight": 0.5,
            "loss.perceptual.reconstruction_weight": 2,
            "loss.style.weight": 100,
        }
    ).loss


ROW = {
    "step": 10,
    "loss/generator": 12.0,
    "loss/adversarial_scan_to_style": 0.25,
    "loss/adversarial_style_to_scan": 0.75,
    "loss/cycle_scan": 0.2,
    "loss/cycle_style": 0.3,
    "loss/identity_scan": 0.1,
    "loss/discriminator_style": 9.0,
    "loss/gradient_penalty_style": 9.0,
    "guard/advantage_scan": 1.0,
}


def test_parts_are_weights_times_values_of_both_directions(loss):
    parts = loss_parts([ROW, ROW | {"step": 20, "loss/cycle_scan": 0.1}], loss)
    assert list(parts.steps) == [10, 20]
    assert {name: list(part) for name, part in parts.parts.items()} == {
        "cycle": pytest.approx([5, 4]),
        "adversarial": pytest.approx([1, 1]),
        "identity": pytest.approx([0.5, 0.5]),
    }
    assert list(parts.parts) == ["cycle", "adversarial", "identity"]  # the largest first
    assert parts.unknown == ()


def test_shares_sum_to_one(loss):
    shares = loss_parts([ROW], loss).shares
    assert sum(share[0] for share in shares.values()) == pytest.approx(1)
    assert shares["cycle"][0] == pytest.approx(5 / 6.5)


def test_both_perceptual_terms_have_their_own_weight(loss):
    row = ROW | {
        "loss/perceptual_scan_to_style": 1.0,
        "loss/perceptual_reconstruction_scan": 1.0,
        "loss/style_scan_to_style": 0.01,
    }
    parts = loss_parts([row], loss).parts
    assert parts["perceptual"] == pytest.approx([0.5])
    assert parts["perceptual_reconstruction"] == pytest.approx([2])
    assert parts["style"] == pytest.approx([1])


def test_terms_that_do_not_act_in_every_row_are_taken_from_those_around(loss):
    rows = [ROW | {"step": step} for step in (1, 2, 3)]
    rows[0] = rows[0] | {"loss/style_scan_to_style": 0.01}
    rows[2] = rows[2] | {"loss/style_scan_to_style": 0.03}
    assert loss_parts(rows, loss).parts["style"] == pytest.approx([1, 2, 3])


def test_losses_of_unknown_weight_are_told(loss):
    parts = loss_parts([ROW | {"loss/contrast_of_patches": 1.0}], loss)
    assert parts.unknown == ("contrast_of_patches",)
    assert np.isfinite(list(parts.parts.values())).all()


@pytest.mark.parametrize("rows", [[], [{"step": 5, "validation/psnr": 20.0}]])
def test_no_losses_are_none(loss, rows):
    assert loss_parts(rows, loss) is None
