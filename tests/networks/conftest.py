from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torchvision.models import vgg19


@pytest.fixture(scope="session")
def torchvision_features() -> nn.Sequential:
    """torchvision's own VGG-19 features, from a seed, with ReLUs that keep what hooks saw."""
    with torch.device("meta"):
        features = vgg19(weights=None, init_weights=False).features
    features = features.to_empty(device="cpu")
    with torch.random.fork_rng():
        torch.manual_seed(0)
        for layer in features:
            if isinstance(layer, nn.Conv2d):
                layer.reset_parameters()
                layer.weight.data.mul_(2.4)  # activations that neither vanish nor explode
            elif isinstance(layer, nn.ReLU):
                layer.inplace = False
    return features.eval().requires_grad_(False)


@pytest.fixture(scope="session")
def torchvision_state(torchvision_features: nn.Sequential) -> dict[str, Tensor]:
    """A whole VGG-19 state dict; the classifier's 123 million zeros share one element."""
    with torch.device("meta"):
        whole = vgg19(weights=None, init_weights=False).state_dict()
    features = torchvision_features.state_dict(prefix="features.")
    return {
        key: features[key] if key in features else torch.zeros(1).expand(tensor.shape)
        for key, tensor in whole.items()
    }
