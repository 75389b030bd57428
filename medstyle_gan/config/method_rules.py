"""What of `generator`, `loss`, `vgg` and `data` a method cannot follow."""

from __future__ import annotations

from medstyle_gan.config.data_section import DataConfig
from medstyle_gan.config.loss_section import LossConfig
from medstyle_gan.config.network_sections import GeneratorConfig, VGGConfig
from medstyle_gan.config.training_sections import TrainingConfig

# Methods that learn one way only, and from the VGG-19's terms alone.
ONE_WAY = ("feedforward", "adain")
# Methods that contrast patches by their generator's features, and learn one way.
_CONTRASTING = ("cut", "fastcut")


def generator_fault(method: str, generator: GeneratorConfig) -> str | None:
    """Why a method cannot learn with a generator, or None.

    Args:
        method: its name.
        generator: the `generator` section.
    """
    if method in _CONTRASTING and generator.name != "resnet":
        return (
            f"{method} contrasts features of a ResNet's layers, which {generator.name} does not "
            "have; set generator.name=resnet"
        )
    if method in ONE_WAY and generator.background == "clamp":
        return f"{method} styles whole images; set generator.background=free"
    return None


def loss_fault(method: str, loss: LossConfig) -> str | None:
    """Which terms a method has no use for, or cannot do without, or None.

    Args:
        method: its name.
        loss: the `loss` section.
    """
    if method == "gatys":
        held = [name for name, term in loss.structure.terms.items() if term.weight]
        if held:
            return "gatys knows no structure terms; set " + " ".join(
                f"loss.structure.{name}.weight=0" for name in held
            )
    if loss.region == "foreground" and method in (*ONE_WAY, "gatys"):
        return f"{method} has no terms that look at the body alone; set loss.region=sample"
    if method in _CONTRASTING:
        return _contrasting_fault(method, loss)
    contrastive = loss.contrastive
    if contrastive.weight or contrastive.identity_weight:
        return (
            f"{method} contrasts no patches; set loss.contrastive.weight=0 "
            "loss.contrastive.identity_weight=0, or method.name=cut"
        )
    if method not in ONE_WAY:
        return None
    weights = {
        "adversarial.weight": loss.adversarial.weight,
        "cycle.weight": loss.cycle.weight,
        "identity.weight": loss.identity.weight,
        "perceptual.reconstruction_weight": loss.perceptual.reconstruction_weight,
    }
    without = [f"loss.{name}=0" for name, weight in weights.items() if weight]
    if without:
        return (
            f"{method} has no discriminators and no way back, so nothing for these terms to look "
            f"at; set {' '.join(without)}"
        )
    lazy = [
        f"loss.{name}.every_n_steps=1"
        for name, section in (("perceptual", loss.perceptual), ("style", loss.style))
        if section.weight and section.every_n_steps > 1
    ]
    if lazy:
        return f"{method} learns from these terms alone, at each step; set {' '.join(lazy)}"
    if not (loss.perceptual.weight or loss.style.weight):
        return (
            f"loss.perceptual.weight and loss.style.weight are both 0, so that {method} has "
            "nothing to learn from; set one above 0"
        )
    if method == "adain" and loss.perceptual.layers != ("relu4_1",):
        return "adain compares contents where it transfers; set loss.perceptual.layers=[relu4_1]"
    if method == "adain" and loss.style.target != "batch":
        return "adain learns to follow the style that it is shown; set loss.style.target=batch"
    return None


def pairing_fault(method: str, data: DataConfig) -> str | None:
    """Why a method has no use for declared pairs, or None.

    Args:
        method: its name.
        data: the `data` section.
    """
    if data.pairing != "none" and method in (*ONE_WAY, "gatys"):
        return f"{method} learns from no pairs; set data.pairing=none"
    return None


def registration_fault(method: str, loss: LossConfig, data: DataConfig) -> str | None:
    """Why translations cannot be compared with their own style images, or None.

    Args:
        method: its name.
        loss: the `loss` section.
        data: the `data` section.
    """
    if not loss.registration.weight:
        return None
    if method in (*ONE_WAY, "gatys"):
        return f"{method} learns from no pairs; set loss.registration.weight=0"
    if data.pairing == "none":
        return (
            "registration compares translations with the same subject's style images, and no pairs "
            "are declared; set data.pairing=subject where scans and style volumes are of the same "
            "subjects, else loss.registration.weight=0"
        )
    return None


def _contrasting_fault(method: str, loss: LossConfig) -> str | None:
    weights = {
        "cycle.weight": loss.cycle.weight,
        "perceptual.reconstruction_weight": loss.perceptual.reconstruction_weight,
    }
    without = [f"loss.{name}=0" for name, weight in weights.items() if weight]
    if without:
        return f"{method} has no way back, so nothing for these terms; set {' '.join(without)}"
    if not loss.contrastive.weight:
        return (
            f"loss.contrastive.weight is 0, and it is what holds {method}'s translations to their "
            "scans; set it above 0"
        )
    return None


def vgg_fault(method: str, vgg: VGGConfig, data: DataConfig) -> str | None:
    """Why a method's own VGG-19 cannot see the samples so, or None.

    Args:
        method: its name.
        vgg: the `vgg` section.
        data: the `data` section.
    """
    if method != "adain":
        return None
    if data.dims != 2:
        return (
            f"adain encodes images by a VGG-19, which knows slices alone, and data.dims is "
            f"{data.dims:g}; set data.dims=2"
        )
    if vgg.crop is not None or vgg.scale != 1:
        return "adain's VGG-19 sees whole samples; set vgg.crop=null vgg.scale=1"
    return None


def training_fault(method: str, training: TrainingConfig, data: DataConfig | None) -> str | None:
    """What of a training a method cannot do with its data, or None.

    Args:
        method: its name.
        training: the `training` section.
        data: the `data` section; None where it has mistakes of its own.
    """
    start = training.warm_start
    if data is not None and data.pairing != "none" and start.kept:
        return (
            "samples after the warm start are of declared pairs (data.pairing=subject), not of "
            "pseudo-pairs; set training.warm_start.kept_weight=0"
        )
    if not start.steps:
        return None
    if method in ONE_WAY and start.name == "registered":
        return (
            f"{method} learns a style of its own, not the contrast of other scans; set "
            "training.warm_start.steps=0"
        )
    if method == "adain" and start.name == "inpainting":
        return (
            "adain's decoder is given features, not images with holes; set "
            "training.warm_start.steps=0"
        )
    return None
