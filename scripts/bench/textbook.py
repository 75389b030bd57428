"""CycleGAN as a textbook has it (Zhu et al. 2017): the loop that ours is measured against.

Every image passes alone, everything is fp32, the generators' backward comes before the
discriminators' and `requires_grad` is switched in between. Networks and losses are ours, the
networks' layers torch's own or, to tell what the loop alone makes of them, ours.
"""

from __future__ import annotations

import copy
import itertools
import random
import time
from collections.abc import Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bench.machine import synchronize
from bench.plain_layers import with_plain_layers
from medstyle_gan.config import Config
from medstyle_gan.methods import CycleGAN

Batch = Mapping[str, Tensor]


class Textbook:
    """A plain CycleGAN that starts from copies of a method's networks.

    Args:
        name: in the table.
        method: whose networks are copied.
        config: weights of the losses, learning rates and size of the image pool.
        device: where it runs.
        plain_layers: torch's own layers in place of those that we compute cheaper.
    """

    def __init__(
        self,
        name: str,
        method: CycleGAN,
        config: Config,
        device: torch.device,
        plain_layers: bool = True,
    ) -> None:
        self.name = name
        self.config = config
        self.device = device
        dims = config.data.spatial_dims
        networks = {
            name: with_plain_layers(network, dims) if plain_layers else copy.deepcopy(network)
            for name, network in method.trained_networks().items()
        }
        for network in networks.values():
            network.to(device).train()
        self.to_style, self.to_scan = networks["scan_to_style"], networks["style_to_scan"]
        self.judges = {d: networks[f"{d}_discriminator"] for d in ("scan", "style")}
        rates = method.settings
        self.generator_optimizer = _adam(
            [self.to_style, self.to_scan], rates.generator_learning_rate, rates.betas
        )
        self.discriminator_optimizer = _adam(
            list(self.judges.values()), rates.discriminator_learning_rate, rates.betas
        )
        self.pool_size = rates.pool_size
        self.pools: dict[str, list[Tensor]] = {"scan": [], "style": []}

    def run(self, batches: Sequence[Batch], warmup: int) -> list[float]:
        """Train on batches; the seconds of each step after the first `warmup`."""
        seconds = []
        for batch in batches:
            began = time.perf_counter()
            self.step(batch["scan"].to(self.device), batch["style"].to(self.device))
            synchronize(self.device)
            seconds.append(time.perf_counter() - began)
        return seconds[warmup:]

    def step(self, scan: Tensor, style: Tensor) -> dict[str, Tensor]:
        """One step of all four networks; the losses of generators and discriminators."""
        weights = self.config.loss
        self._require_discriminator_gradients(False)
        self.generator_optimizer.zero_grad()
        fake_style = self.to_style(scan)
        scan_again = self.to_scan(fake_style)
        fake_scan = self.to_scan(style)
        style_again = self.to_style(fake_scan)
        cycle = F.l1_loss(scan_again, scan) + F.l1_loss(style_again, style)
        generator_loss = weights.cycle.weight * cycle
        for domain, fake in (("scan", fake_scan), ("style", fake_style)):
            adversarial = _least_squares(self.judges[domain](fake), 1.0)
            generator_loss = generator_loss + weights.adversarial.weight * adversarial
        if weights.identity.weight:
            same = F.l1_loss(self.to_scan(scan), scan) + F.l1_loss(self.to_style(style), style)
            generator_loss = generator_loss + weights.identity.weight * same
        generator_loss.backward()
        self.generator_optimizer.step()

        self._require_discriminator_gradients(True)
        self.discriminator_optimizer.zero_grad()
        losses = {"generator": generator_loss.detach()}
        for domain, real, fake in (("scan", scan, fake_scan), ("style", style, fake_style)):
            judge = self.judges[domain]
            real_loss = _least_squares(judge(real), 1.0)
            fake_loss = _least_squares(judge(self._pooled(domain, fake.detach())), 0.0)
            loss = 0.5 * (real_loss + fake_loss)
            loss.backward()
            losses[f"discriminator_{domain}"] = loss.detach()
        self.discriminator_optimizer.step()
        return losses

    def _require_discriminator_gradients(self, wanted: bool) -> None:
        for judge in self.judges.values():
            for parameter in judge.parameters():
                parameter.requires_grad_(wanted)

    def _pooled(self, domain: str, images: Tensor) -> Tensor:
        pool, size = self.pools[domain], self.pool_size
        chosen = []
        for image in images:
            if len(pool) < size:
                pool.append(image.clone())
            elif size and random.random() < 0.5:
                slot = random.randrange(size)
                image, pool[slot] = pool[slot], image.clone()
            chosen.append(image)
        return torch.stack(chosen)


def _adam(
    networks: Sequence[nn.Module], rate: float, betas: tuple[float, float]
) -> torch.optim.Adam:
    parameters = itertools.chain.from_iterable(network.parameters() for network in networks)
    return torch.optim.Adam(parameters, lr=rate, betas=betas, foreach=True)


def _least_squares(scores: Sequence[Tensor], target: float) -> Tensor:
    """Mean over a discriminator's scales of the squared distance to a target."""
    return torch.stack([F.mse_loss(s, torch.full_like(s, target)) for s in scores]).mean()
