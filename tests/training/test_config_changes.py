from __future__ import annotations

import pytest

from medstyle_gan.config import Config, load_config
from medstyle_gan.errors import UserError
from medstyle_gan.methods.schedule import constant_then_linear
from medstyle_gan.training.config_changes import (
    CHANGEABLE,
    REASONS,
    describe_changes,
    flat_fields,
    refuse_changes,
)


def config(*overrides: str) -> Config:
    base = ["training.steps=100", "method.constant_fraction=0.5"]
    return load_config(None, [*base, *overrides])


@pytest.mark.parametrize(
    ("override", "reason"),
    [
        ("generator.ngf=8", "other networks"),
        ("generator.name=unet", "other networks"),
        ("discriminator.layers=1", "other networks"),
        ("data.spacing=[2,2,2]", "other samples"),
        ("data.sampler.match=none", "other samples"),
        ("loss.cycle.weight=3", "other rules"),
        ("method.ema_decay=0.5", "other rules"),
        ("vgg.scale=0.5", "measured differently"),
        ("training.seed=1", "random choice"),
        ("training.batch_size=2", "other samples"),
        ("training.devices=2", "part of every batch"),
        ("training.precision=fp32", "roundings"),
    ],
)
def test_refused_field_is_named_with_its_reason(override: str, reason: str) -> None:
    key = override.partition("=")[0]
    with pytest.raises(UserError, match=rf"{key}: was .*, now .*\(.*{reason}") as caught:
        refuse_changes(config(), config(override, "logging.log_every=7"), step=10)
    refused, _, allowed = str(caught.value).partition("these may change: ")
    assert "log_every" not in refused
    assert allowed.endswith("logging.log_every 50 → 7")


def test_every_field_is_changeable_or_has_a_reason_to_be_refused() -> None:
    known = (*CHANGEABLE, *(prefix for prefix, _ in REASONS), "training.steps")
    assert [name for name in flat_fields(config().model_dump()) if not name.startswith(known)] == []


def test_allowed_changes_are_told_in_one_line_without_paths() -> None:
    overrides = ("logging.log_every=7", "data.scans=/home/someone", "training.keep_checkpoints=9")
    overrides += ("vgg.weights=/home/someone/vgg.pth",)
    told = describe_changes(refuse_changes(config(), config(*overrides), step=10))
    assert "logging.log_every 50 → 7" in told
    assert "training.keep_checkpoints 3 → 9" in told
    assert "data.scans (another place)" in told
    assert "vgg.weights (another place)" in told
    assert "someone" not in told
    assert "\n" not in told


@pytest.mark.parametrize(
    ("step", "steps", "fraction", "allowed"),
    [
        (0, 50, 0.5, True),
        (50, 200, 0.5, True),  # the 51st step would be the first with a lower rate
        (51, 200, 0.5, True),  # that of step 50 is still the full one: (100 - 50) / 50
        (52, 200, 0.5, False),
        (40, 80, 0.5, True),
        (42, 80, 0.5, False),
        (100, 300, 1.0, True),  # rates that never fall
        (60, 60, 1.0, True),
        (61, 60, 1.0, False),
        (1, 99, 0.0, True),
        (2, 99, 0.0, False),
    ],
)
def test_another_length_is_allowed_where_the_rates_so_far_are_those_of_that_length(
    step: int, steps: int, fraction: float, allowed: bool
) -> None:
    same = all(
        constant_then_linear(s, 100, fraction) == constant_then_linear(s, steps, fraction)
        for s in range(step)
    )
    assert allowed == (same and steps >= step)  # the table itself is right
    constant = f"method.constant_fraction={fraction}"
    old, new = config(constant), config(constant, f"training.steps={steps}")
    if allowed:
        assert list(refuse_changes(old, new, step)) == ["training.steps"]
        return
    with pytest.raises(UserError, match=r"training\.steps: was 100, now \d+ \("):
        refuse_changes(old, new, step)


@pytest.mark.parametrize(("schedule", "allowed"), [("constant", True), ("cosine", False)])
def test_a_longer_training_must_have_had_the_same_weights(schedule: str, allowed: bool) -> None:
    settings = [
        "training.steps=100",
        "method.constant_fraction=1",
        "loss.structure.mind.weight=1",
        f"loss.structure.mind.schedule={schedule}",
        "loss.structure.mind.constant_fraction=0.1",
    ]
    old, new = (load_config(None, [*settings, *more]) for more in ([], ["training.steps=200"]))
    if allowed:
        assert list(refuse_changes(old, new, 50)) == ["training.steps"]
        return
    assert list(refuse_changes(old, new, 5)) == ["training.steps"]  # not yet fallen
    with pytest.raises(UserError, match=r"mind.weight falls .* from step 11 on"):
        refuse_changes(old, new, 50)
