"""Every setting of the product as pydantic models: the one source for YAML, CLI and docs.

Imports neither torch nor numpy, so that `medstyle COMMAND --help` stays fast.
"""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field, ValidationInfo, field_validator

from medstyle_gan.config.base import Section
from medstyle_gan.config.data_section import DataConfig
from medstyle_gan.config.inference_sections import InferenceConfig, StylizeConfig, path_fault
from medstyle_gan.config.loss_section import (
    AdversarialLossConfig,
    ContrastiveLossConfig,
    LossConfig,
    PerceptualLossConfig,
    StyleLossConfig,
    WeightedLossConfig,
)
from medstyle_gan.config.method_rules import (
    generator_fault,
    loss_fault,
    pairing_fault,
    registration_fault,
    training_fault,
    vgg_fault,
)
from medstyle_gan.config.method_section import (
    AdainConfig,
    CutConfig,
    CycleGANConfig,
    FastCutConfig,
    FeedforwardConfig,
    GatysConfig,
)
from medstyle_gan.config.network_sections import (
    GeneratorConfig,
    PatchGANConfig,
    ResNetGeneratorConfig,
    VGGConfig,
)
from medstyle_gan.config.panel_section import PanelConfig
from medstyle_gan.config.registration_section import RegistrationNetworkConfig
from medstyle_gan.config.training_sections import GuardsConfig, LoggingConfig, TrainingConfig

_METHODS: tuple[Any, ...] = (
    *(CycleGANConfig, CutConfig, FastCutConfig, FeedforwardConfig),
    *(AdainConfig, GatysConfig),
)
_ONE_WAY: dict[str, Any] = {
    "adversarial": AdversarialLossConfig(weight=0.0),
    "cycle": WeightedLossConfig(weight=0.0),
    "identity": WeightedLossConfig(weight=0.0),
}
# Of the GANs that translate one way: no way back, and no L1 to what is there already.
_CONTRASTED: dict[str, Any] = {
    "cycle": WeightedLossConfig(weight=0.0),
    "identity": WeightedLossConfig(weight=0.0),
    "perceptual": PerceptualLossConfig(reconstruction_weight=0.0),
}
# Optimising a picture has no other terms to be in balance with: these are the usual weights.
_OF_ITS_OWN: dict[str, dict[str, Any]] = {
    # Park et al.: the mean of both terms, weight 1; without the identity's, weight 10.
    "cut": {**_CONTRASTED, "contrastive": ContrastiveLossConfig(weight=0.5, identity_weight=0.5)},
    "fastcut": {**_CONTRASTED, "contrastive": ContrastiveLossConfig(weight=10.0)},
    "gatys": {
        "perceptual": PerceptualLossConfig(weight=1.0),
        "style": StyleLossConfig(weight=1e6),
    },
    # Johnson et al.'s layers, with the weights that PyTorch's example gives them (1e5 and 1e10
    # of the sum over four layers).
    "feedforward": {
        **_ONE_WAY,
        "perceptual": PerceptualLossConfig(
            weight=1.0, reconstruction_weight=0.0, layers=("relu2_2",), every_n_steps=1
        ),
        "style": StyleLossConfig(
            weight=4e5, layers=("relu1_2", "relu2_2", "relu3_3", "relu4_3"), every_n_steps=1
        ),
    },
    # Huang & Belongie's layers; usual is a weight of 10 of the sum over four layers.
    "adain": {
        **_ONE_WAY,
        "perceptual": PerceptualLossConfig(
            weight=1.0, reconstruction_weight=0.0, layers=("relu4_1",), every_n_steps=1
        ),
        "style": StyleLossConfig(
            weight=40.0,
            layers=("relu1_1", "relu2_1", "relu3_1", "relu4_1"),
            target="batch",
            every_n_steps=1,
        ),
    },
}


def _loss_of_the_method(validated: dict[str, Any]) -> LossConfig:
    method = validated.get("method")  # absent where it has mistakes of its own
    return LossConfig(**_OF_ITS_OWN.get(getattr(method, "name", ""), {}))


class Config(Section):
    """All settings of one run."""

    data: DataConfig = Field(default_factory=DataConfig, description="collections and samples")
    method: Annotated[
        CycleGANConfig | CutConfig | FastCutConfig | FeedforwardConfig | AdainConfig | GatysConfig,
        Field(discriminator="name"),
    ] = Field(
        default_factory=CycleGANConfig,
        description="how a translator is learned (train), or a picture optimised (stylize)",
    )
    generator: Annotated[GeneratorConfig, Field(discriminator="name")] = Field(
        default_factory=ResNetGeneratorConfig, description="both generators"
    )
    discriminator: PatchGANConfig = Field(
        default_factory=PatchGANConfig, description="both discriminators"
    )
    loss: LossConfig = Field(default_factory=_loss_of_the_method, description="terms and weights")
    registration: RegistrationNetworkConfig = Field(
        default_factory=RegistrationNetworkConfig,
        description="the network of loss.registration, which deforms translations",
    )
    vgg: VGGConfig = Field(default_factory=VGGConfig, description="the frozen VGG-19")
    training: TrainingConfig = Field(default_factory=TrainingConfig, description="the training")
    guards: GuardsConfig = Field(default_factory=GuardsConfig, description="what is watched for")
    logging: LoggingConfig = Field(default_factory=LoggingConfig, description="what is written")
    inference: InferenceConfig = Field(default_factory=InferenceConfig, description="whole volumes")
    stylize: StylizeConfig = Field(
        default_factory=StylizeConfig, description="around a style transfer"
    )
    panel: PanelConfig = Field(default_factory=PanelConfig, description="panels for teaching")

    @property
    def chosen_by_pairs(self) -> bool:
        """Whether pairs of one subject choose the best checkpoint."""
        return bool(self.data.pairs.folder) and self.training.validate_on != "unpaired"

    @property
    def uses_masks(self) -> bool:
        """Whether a training looks at where the body is in each sample."""
        return self.generator.background == "clamp" or self.loss.region == "foreground"

    @property
    def uses_heights(self) -> bool:
        """Whether a training looks at how high in the body each sample is."""
        return bool(self.loss.style.weight) and self.loss.style.target == "position"

    @field_validator("inference")
    @classmethod
    def _paths_of_slices(cls, inference: InferenceConfig, info: ValidationInfo) -> InferenceConfig:
        data = info.data.get("data")  # absent where it has mistakes of its own
        fault = None if data is None else path_fault(inference, data)
        if fault:
            raise ValueError(fault)
        return inference

    @field_validator("method")
    @classmethod
    def _with_the_pairs_that_it_can_use(cls, method: Any, info: ValidationInfo) -> Any:
        data = info.data.get("data")  # absent where it has mistakes of its own
        fault = None if data is None else pairing_fault(method.name, data)
        if fault:
            raise ValueError(fault)
        return method

    @field_validator("generator")
    @classmethod
    def _with_what_the_method_looks_at(
        cls, generator: GeneratorConfig, info: ValidationInfo
    ) -> GeneratorConfig:
        method = info.data.get("method")  # absent where it has mistakes of its own
        fault = None if method is None else generator_fault(method.name, generator)
        if fault:
            raise ValueError(fault)
        return generator

    @field_validator("loss")
    @classmethod
    def _terms_that_the_method_has(cls, loss: LossConfig, info: ValidationInfo) -> LossConfig:
        method = info.data.get("method")  # absent where it has mistakes of its own
        fault = None if method is None else loss_fault(method.name, loss)
        data = info.data.get("data")
        if method is not None and data is not None:
            fault = fault or registration_fault(method.name, loss, data)
        if fault:
            raise ValueError(fault)
        return loss

    @field_validator("training")
    @classmethod
    def _steps_that_the_method_has(
        cls, training: TrainingConfig, info: ValidationInfo
    ) -> TrainingConfig:
        method = info.data.get("method")  # absent where it has mistakes of its own
        fault = (
            None if method is None else training_fault(method.name, training, info.data.get("data"))
        )
        if fault:
            raise ValueError(fault)
        return training

    @field_validator("vgg")
    @classmethod
    def _seen_as_the_method_needs(cls, vgg: VGGConfig, info: ValidationInfo) -> VGGConfig:
        method, data = info.data.get("method"), info.data.get("data")
        fault = None if method is None or data is None else vgg_fault(method.name, vgg, data)
        if fault:
            raise ValueError(fault)
        return vgg

    @field_validator("vgg")
    @classmethod
    def _crop_within_the_samples(cls, vgg: VGGConfig, info: ValidationInfo) -> VGGConfig:
        data = info.data.get("data")  # absent where it has mistakes of its own
        if vgg.crop is not None and data is not None and vgg.crop > min(data.sample_size):
            size = "x".join(map(str, data.sample_size))
            raise ValueError(
                f"vgg.crop {vgg.crop} is larger than data.sample_size {size}; set vgg.crop to "
                f"{min(data.sample_size)} or less, or null"
            )
        return vgg


def default_config(method: object = None) -> Config:
    """The defaults of a method, which may have loss weights of its own.

    Args:
        method: its name; those of another or none are the first method's.
    """
    models = {model.model_fields["name"].default: model for model in _METHODS}
    model = models.get(method) if isinstance(method, str) else None
    return Config() if model is None else Config(method=model())
