"""Trained weights back into a network."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn

from medstyle_gan.errors import UserError


def load_trained_weights(network: nn.Module, weights: Mapping[str, Tensor], name: str) -> nn.Module:
    """Give a network its trained weights, and put it in evaluation mode.

    Args:
        network: built by the settings of the training.
        weights: its state.
        name: what the model calls it.

    Returns:
        The same network.

    Raises:
        UserError: where the weights do not fit.
    """
    try:
        network.load_state_dict(weights)
    except RuntimeError as error:
        raise UserError(
            f"the model's {name} weights do not fit its own config ({error}); "
            "the model folder is damaged or was edited"
        ) from error
    return network.eval()
