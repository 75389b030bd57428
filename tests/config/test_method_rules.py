"""Settings that a method cannot follow."""

from __future__ import annotations

import pytest

from medstyle_gan.config import Config, dump_config, load_config
from medstyle_gan.config.schema import default_config
from medstyle_gan.errors import UserError

BOTH = ("feedforward", "adain")


@pytest.mark.parametrize("method", BOTH)
@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ("loss.cycle.weight=1", "set loss.cycle.weight=0"),
        ("loss.identity.weight=1", "set loss.identity.weight=0"),
        ("loss.adversarial.weight=1", "set loss.adversarial.weight=0"),
        ("loss.perceptual.reconstruction_weight=1", "loss.perceptual.reconstruction_weight=0"),
        ("loss.style.every_n_steps=4", "set loss.style.every_n_steps=1"),
        ("loss.perceptual.every_n_steps=2", "set loss.perceptual.every_n_steps=1"),
    ],
)
def test_terms_that_a_method_has_no_use_for_are_refused(
    method: str, setting: str, words: str
) -> None:
    with pytest.raises(UserError, match=words):
        load_config(None, [f"method.name={method}", setting])


@pytest.mark.parametrize("method", BOTH)
def test_a_method_needs_something_to_learn_from(method: str) -> None:
    nothing = ["loss.perceptual.weight=0", "loss.style.weight=0"]
    with pytest.raises(UserError, match="nothing to learn from"):
        load_config(None, [f"method.name={method}", *nothing])


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (["loss.perceptual.layers=[relu4_2]"], r"loss.perceptual.layers=\[relu4_1\]"),
        (["loss.style.target=collection"], "loss.style.target=batch"),
        (["vgg.crop=64"], "vgg.crop=null"),
        (["vgg.scale=0.5"], "vgg.scale=1"),
        (["data.dims=2.5"], "set data.dims=2"),
    ],
)
def test_adain_has_an_encoder_of_its_own(settings: list[str], words: str) -> None:
    with pytest.raises(UserError, match=words):
        load_config(None, ["method.name=adain", *settings])
    other = [s for s in settings if "relu4_1" not in s]
    load_config(None, ["method.name=feedforward", *other])


@pytest.mark.parametrize("method", BOTH)
def test_the_defaults_of_a_method_are_accepted_back(method: str, tmp_path) -> None:
    config = load_config(None, [f"method.name={method}"])
    assert config == default_config(method)
    (tmp_path / "c.yaml").write_text(dump_config(config))
    assert load_config(tmp_path / "c.yaml") == config
    assert Config.model_validate(config.model_dump(mode="json")) == config
    assert config.loss.cycle.weight == 0
    assert config.loss.style.every_n_steps == 1


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (["loss.registration.weight=20"], "no pairs are declared; set data.pairing=subject"),
        (["method.name=feedforward", "data.pairing=subject"], "set data.pairing=none"),
        (["method.name=gatys", "data.pairing=subject"], "set data.pairing=none"),
        (
            [
                "data.pairing=subject",
                "training.warm_start.steps=4",
                "training.warm_start.kept_weight=1",
            ],
            "set training.warm_start.kept_weight=0",
        ),
        (["method.name=adain", "loss.registration.weight=1"], "loss.registration.weight=0"),
    ],
)
def test_registration_needs_declared_pairs(given: list[str], words: str) -> None:
    with pytest.raises(UserError, match=words):
        load_config(None, given)


@pytest.mark.parametrize("method", ["cyclegan", "cut", "fastcut"])
def test_declared_pairs_may_be_registered(method: str) -> None:
    given = [f"method.name={method}", "data.pairing=subject", "loss.registration.weight=20"]
    assert load_config(None, given).loss.registration.smoothness == 10
