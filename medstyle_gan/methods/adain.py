"""Arbitrary style transfer in real time by AdaIN (Huang & Belongie 2017): trains the decoder.

A frozen VGG-19 encodes scan and style image down to relu4_1, AdaIN gives the scan's features the
style's statistics, and a decoder learns to make an image of them:

    loss.perceptual.weight · mean((f(g(t)) − t)²) + loss.style.weight · Σ w_l (mean((μ_l − μ'_l)²)
      + mean((σ_l − σ'_l)²)) + loss.total_variation.weight · TV,  t = AdaIN(f(scan), f(style)),

g being the decoder, f the encoder, μ and σ the statistics of the image's features and μ' and σ'
the style image's; w_l are equal and sum to 1 where `loss.style.layer_weights` does not give them,
so that the weight of 10 that is usual for the sum over four layers is 40 here. As the styles are
drawn anew at each step, the decoder knows any of their kind.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from medstyle_gan.config import Config
from medstyle_gan.config.loss_section import LossConfig
from medstyle_gan.config.method_section import AdainConfig
from medstyle_gan.losses import content_distance, statistics_distance, total_variation
from medstyle_gan.methods.batch_facts import NOTHING, BatchFacts
from medstyle_gan.methods.trained_method import TrainedMethod
from medstyle_gan.methods.vgg_regularizer import Term, VGGRegularizer, wanted_layers
from medstyle_gan.networks import AdaINDecoder, VGG19Features
from medstyle_gan.networks.adain import adain, channel_statistics
from medstyle_gan.networks.adain_decoder import CODE_LAYER


class AdaIN(TrainedMethod):
    """Trains the decoder on scans in the styles that are drawn beside them.

    Args:
        config: all settings.
        scan_channels: channels of a scan's sample.
        style_channels: channels of a style image's sample; the decoder gives colour where
            either is.
        regularizer: holds the VGG-19, which is the encoder.

    Raises:
        ValueError: without it.
    """

    directions = ()

    def __init__(
        self,
        config: Config,
        scan_channels: int = 1,
        style_channels: int = 1,
        regularizer: VGGRegularizer | None = None,
    ) -> None:
        super().__init__(config, scan_channels, style_channels, regularizer)
        if regularizer is None:
            raise ValueError("adain encodes by the VGG-19, and was given none")
        self.decoder = AdaINDecoder(decoder_channels(self.channels), self.settings.width)
        self.begin()

    @staticmethod
    def layers(loss: LossConfig) -> tuple[str, ...]:
        """Those of the loss, and the one that is the code."""
        return tuple(dict.fromkeys((*wanted_layers(loss), CODE_LAYER)))

    @property
    def settings(self) -> AdainConfig:
        """The `method` section."""
        assert isinstance(self.config.method, AdainConfig)
        return self.config.method

    @property
    def generators(self) -> dict[str, nn.Module]:
        """The decoder, which needs a style to make anything of a scan."""
        return {"decoder": self.decoder}

    @property
    def learning_rates(self) -> dict[str, float]:
        """Of the decoder."""
        return {"generator": self.settings.learning_rate}

    @torch.no_grad()
    def panel(self, batch: Mapping[str, Tensor]) -> dict[str, list[Tensor]]:
        """Scans in the style of the style images beside them, and as the decoder knows them.

        Returns:
            `{"scan": [scan, in the style, without a style], "style": [style]}`, each
            `(B, C, H, W)`.
        """
        scan, style = batch["scan"], batch["style"]
        code = self._vgg(scan, (CODE_LAYER,))[CODE_LAYER]
        target = adain(code, channel_statistics(self._vgg(style, (CODE_LAYER,))[CODE_LAYER]))
        decoder = self.ema.generators["decoder"]
        made = [decoder(of).float().clamp(-1, 1) for of in (target, code)]
        return {"scan": [scan, *made], "style": [style]}

    def generator_terms(
        self, real: Mapping[str, Tensor], position: int = 0, facts: BatchFacts = NOTHING
    ) -> tuple[dict[str, Term], dict[str, Tensor]]:
        """All terms of the loss, and the scans in the styles beside them.

        Args:
            real: domain → images `(B, C, H, W)`.
            position: of the first image in the step's batch over all processes; nothing here is
                random.
            facts: what is known of the images; nothing here asks for it.
        """
        return self._terms(self.decoder, real)

    @torch.no_grad()
    def held_out_terms(self, real: Mapping[str, Tensor]) -> dict[str, Term]:
        """The terms of images that are not trained on, by the moving average."""
        return self._terms(self.ema.generators["decoder"], real)[0]

    @property
    def _vgg(self) -> VGG19Features:
        assert self.regularizer is not None
        return self.regularizer.vgg

    def _terms(
        self, decoder: nn.Module, real: Mapping[str, Tensor]
    ) -> tuple[dict[str, Term], dict[str, Tensor]]:
        loss = self.config.loss
        style_layers = loss.style.layers if loss.style.weight else ()
        with self.step_clock.part("vgg"), torch.no_grad():
            code = self._vgg(real["scan"], (CODE_LAYER,))[CODE_LAYER]
            shown = self._vgg(real["style"], (*style_layers, CODE_LAYER))
            wanted = {name: channel_statistics(features) for name, features in shown.items()}
            target = adain(code, wanted[CODE_LAYER])
        image = decoder(target)
        self.step_clock.backward("generators", [image])
        terms: dict[str, Term] = {}
        if loss.total_variation.weight:
            value = total_variation(image)
            terms["total_variation_scan_to_style"] = Term(value, loss.total_variation.weight)
        with self.step_clock.part("vgg"):
            features = self._vgg(image, (*style_layers, CODE_LAYER))
            if loss.perceptual.weight:
                value = content_distance(features, {CODE_LAYER: target}, (CODE_LAYER,))
                terms["perceptual_scan_to_style"] = Term(value, loss.perceptual.weight)
            if style_layers:
                value = statistics_distance(
                    features, wanted, style_layers, loss.style.layer_weights
                )
                terms["statistics_scan_to_style"] = Term(value, loss.style.weight)
        self.step_clock.backward("vgg", (term.value for term in terms.values()))
        return terms, {"style": image}


def decoder_channels(channels: Mapping[str, int]) -> int:
    """Channels of what a decoder makes: colour where scans or style images have it.

    Args:
        channels: domain → channels of its samples.
    """
    return max(channels.values())
