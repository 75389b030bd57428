"""A network that gives every image one style, in one pass (Johnson, Alahi & Fei-Fei 2016).

It learns on a collection of scans to make images whose deep features are the scan's and whose Gram
matrices are the style's, which is one picture or a collection:

    loss.perceptual.weight · mean((F − P)²) + loss.style.weight · Σ w_l mean((G_l − A_l)²)
      + loss.total_variation.weight · TV,

the loss of `gatys` with its conventions, minimised once for all images.
"""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn

from medstyle_gan.config import Config
from medstyle_gan.config.method_section import FeedforwardConfig
from medstyle_gan.losses import total_variation
from medstyle_gan.methods.batch_facts import NOTHING, BatchFacts
from medstyle_gan.methods.trained_method import TrainedMethod
from medstyle_gan.methods.vgg_regularizer import Term, VGGRegularizer
from medstyle_gan.networks import build_generator, middle_slice


class FeedForward(TrainedMethod):
    """Trains the image transformation network, which is the `generator` section's.

    Johnson et al.'s own has batch norms; the ResNet here has instance norms, which Ulyanov et al.
    (2016) found to do better and which treat each image as it will be treated alone.

    Args:
        config: all settings.
        scan_channels: channels of a scan's sample, all slices' of a 2.5-D one.
        style_channels: channels of a style image's sample, and of what the network gives.
        regularizer: the VGG-19 terms.

    Raises:
        ValueError: without them, as there is no other loss.
    """

    directions = ("scan_to_style",)

    def __init__(
        self,
        config: Config,
        scan_channels: int = 1,
        style_channels: int = 1,
        regularizer: VGGRegularizer | None = None,
    ) -> None:
        super().__init__(config, scan_channels, style_channels, regularizer)
        if regularizer is None:
            raise ValueError("feedforward learns from the VGG-19's terms, and was given none")
        dims = config.data.spatial_dims
        self.scan_to_style = build_generator(config.generator, scan_channels, style_channels, dims)
        self.begin()

    @property
    def settings(self) -> FeedforwardConfig:
        """The `method` section."""
        assert isinstance(self.config.method, FeedforwardConfig)
        return self.config.method

    @property
    def generators(self) -> dict[str, nn.Module]:
        """The one network, by its direction."""
        return {"scan_to_style": self.scan_to_style}

    @property
    def learning_rates(self) -> dict[str, float]:
        """Of the network."""
        return {"generator": self.settings.learning_rate}

    def panel(self, batch: Mapping[str, Tensor]) -> dict[str, list[Tensor]]:
        """Scans with their translations, and what the style is like.

        Returns:
            `{"scan": [scan, translation], "style": [style]}`, each `(B, C, *spatial)`.
        """
        slices = self.config.data.sample_slices
        stages = [batch["scan"], self.translate(batch["scan"], "scan_to_style")]
        return {
            "scan": [middle_slice(stage, slices) for stage in stages],
            "style": [middle_slice(batch["style"], slices)],
        }

    def generator_terms(
        self, real: Mapping[str, Tensor], position: int = 0, facts: BatchFacts = NOTHING
    ) -> tuple[dict[str, Term], dict[str, Tensor]]:
        """All terms of the loss, and the translations.

        Args:
            real: domain → images `(B, C, *spatial)`.
            position: of the first image in the step's batch over all processes; what the VGG-19
                sees of an image is keyed by it.
            facts: what is known of the images.
        """
        assert self.regularizer is not None
        translated = {"style": self.scan_to_style(real["scan"])}
        self.step_clock.backward("generators", translated.values())
        terms: dict[str, Term] = {}
        weight = self.config.loss.total_variation.weight
        if weight:
            value = total_variation(translated["style"])
            terms["total_variation_scan_to_style"] = Term(value, weight)
        with self.step_clock.part("vgg"):
            seen = self.regularizer(self.step, real, translated, {}, position, facts.heights)
        self.step_clock.backward("vgg", (term.value for term in seen.values()))
        return terms | seen, translated
