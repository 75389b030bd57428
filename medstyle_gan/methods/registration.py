"""Learning from pairs that do not align: translations are deformed before they are compared.

After RegGAN (Kong et al. 2021, "Breaking the Dilemma of Medical Image-to-image Translation",
NeurIPS 34), which takes misalignment for noise in the labels. The second network learns the noise:
with its generator it makes deformed translations like the style images, as smoothly as can be. What
no smooth deformation explains is left for the generator to learn.
"""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from medstyle_gan.config.registration_section import RegistrationLossConfig
from medstyle_gan.losses import deformed, l1, roughness
from medstyle_gan.methods.vgg_regularizer import Term
from medstyle_gan.networks import DeformationNetwork

# A pixel that any of the outside has been mixed into does not count.
_INSIDE = 0.99


def registration_terms(
    config: RegistrationLossConfig,
    network: DeformationNetwork | None,
    real: Mapping[str, Tensor],
    translated: Mapping[str, Tensor],
    weight: Tensor | None,
) -> dict[str, Term]:
    """The terms of pairs, from scan to style: the way back has the cycle.

    Args:
        config: the `loss.registration` section.
        network: what deforms; None compares translations as they lie.
        real: domain → images `(B, C, *spatial)`, of one subject at one place.
        translated: domain → images translated into it.
        weight: `(B, 1 or slices, *spatial)` in [0, 1], where the style image shows the subject.

    Returns:
        name → term; empty where its weight is 0.
    """
    if not config.weight:
        return {}
    terms: dict[str, Term] = {}
    made, wanted = translated["style"], real["style"]
    if network is not None:
        # Not detached, as in the paper: generators learn to make what can be registered, too.
        displacement = network(made, wanted)
        terms["registration_roughness"] = Term(roughness(displacement), config.smoothness)
        made = deformed(made, displacement)
    inside = None if weight is None else weight > _INSIDE
    terms["registration_scan_to_style"] = Term(l1(made, wanted, inside), config.weight)
    return terms
