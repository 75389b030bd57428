"""What generators learn from pseudo-pairs: contrast, first without a game, then beside it.

A pseudo-pair's anatomy is that of another subject (see `data/pseudo_pairs.py`): what is compared
can be smoothed over the errors of a registration, and edges are held to those of the input itself.
In a game with few style volumes discriminators learn these by heart, and pull apart what was
learned; the distance from the pseudo-pairs, kept beside it, holds the contrast in its places. No
pair knows the finest details of its scan: through a Gaussian, it leaves these to the game.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from torch import Tensor, nn

from medstyle_gan.config.loss_section import ScheduledLossConfig, StructureLossConfig
from medstyle_gan.config.warm_start_section import WarmStartConfig
from medstyle_gan.data.words import DOMAINS, Direction
from medstyle_gan.losses.low_pass import low_pass_l1
from medstyle_gan.methods.structure_terms import StructureTerms
from medstyle_gan.methods.vgg_regularizer import Term


class Start:
    """The first steps of a training, whatever is learned in them.

    Args:
        steps: how many they are; 0 is none.
    """

    def __init__(self, steps: int) -> None:
        self._steps = steps

    def acts(self, step: int) -> bool:
        """Whether a step belongs to the start.

        Args:
            step: steps done before it.
        """
        return step < self._steps

    def ends(self, step: int) -> bool:
        """Whether a step is the first after the start."""
        return 0 < self._steps == step


class WarmStart(Start):
    """The terms of the warm start, for any method whose generators translate by themselves.

    Args:
        config: the `training.warm_start` section.
        steps: of the whole training.
        slices: that an image has as channels.
    """

    def __init__(self, config: WarmStartConfig, steps: int, slices: int = 1) -> None:
        super().__init__(config.steps)
        self.config = config
        edges = ScheduledLossConfig(weight=config.structure)
        self._structure = StructureTerms(
            StructureLossConfig(gradient_correlation=edges), steps, slices
        )

    def terms(
        self,
        generators: Mapping[str, nn.Module],
        directions: Sequence[Direction],
        real: Mapping[str, Tensor],
        weight: Tensor,
    ) -> dict[str, Term]:
        """The terms of a pseudo-pair, in every direction.

        Args:
            generators: by direction.
            directions: that they translate in.
            real: domain → images `(B, C, *spatial)` of pseudo-pairs.
            weight: `(B, 1 or slices, *spatial)`, where the pairs can be believed.
        """
        terms: dict[str, Term] = {}
        translated: dict[str, Tensor] = {}
        for direction in directions:
            source, target = DOMAINS[direction]
            translated[target] = generators[direction](real[source])
            value = low_pass_l1(translated[target], real[target], self.config.low_pass, weight)
            terms[f"warm_start_{direction}"] = Term(value, 1.0)
        # Edges are compared where the pairs are, air beside the body included.
        believed = dict.fromkeys(real, weight > 0.5)
        held = self._structure(0, real, translated, believed)
        return terms | {f"warm_start_{name}": term for name, term in held.items()}

    def kept_terms(
        self,
        generators: Mapping[str, nn.Module],
        directions: Sequence[Direction],
        real: Mapping[str, Tensor],
        translated: Mapping[str, Tensor],
        batch: Mapping[str, Tensor],
    ) -> dict[str, Term]:
        """The distance from pseudo-pairs in a step of the game, in every direction.

        The scans of such a step are of pseudo-pairs: their translations are there already. Style
        images are drawn independently of them, so that pseudo-pairs' are translated for this.

        Args:
            generators: by direction.
            directions: that they translate in.
            real: domain → images `(B, C, *spatial)`.
            translated: domain → images translated into it.
            batch: with `"pseudo_style"`, the scans' partners `(B, C', *spatial)`, and `"weight"`,
                `(B, 1 or slices, *spatial)`.

        Returns:
            name → term; none where pseudo-pairs are not kept.
        """
        terms: dict[str, Term] = {}
        if not self.config.kept:
            return terms
        partner = batch["pseudo_style"]
        for direction in directions:
            forth = direction == "scan_to_style"
            made = translated["style"] if forth else generators[direction](partner)
            target = partner if forth else real["scan"]
            value = low_pass_l1(made, target, self.config.kept_low_pass, batch["weight"])
            terms[f"pseudo_pair_{direction}"] = Term(value, self.config.kept_weight)
        return terms
