"""One of two processes of a training; run by test_two_ranks.py with the launcher's variables.

Step 0 is finite; at step 1 the loss of rank 1 alone is infinite, with finite gradients.
"""

from __future__ import annotations

import os
import sys
import warnings
from typing import Any

import lightning as L
import torch
import torch.distributed as dist
from torch import Tensor
from torch.utils.data import DataLoader

from medstyle_gan.methods import CycleGAN
from medstyle_gan.methods.vgg_regularizer import Term
from medstyle_gan.training.trainer import make_trainer
from tests.methods.training_steps import NO_VGG, Watch, images, made, settings


class CountExchanges(L.Callback):
    """Counts the gradient buckets that are exchanged; the exchange stays DDP's own."""

    buckets = 0

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        def hook(state: None, bucket: dist.GradBucket) -> torch.futures.Future[Tensor]:
            self.buckets += 1
            summed = dist.all_reduce(bucket.buffer().div_(2), async_op=True).get_future()
            return summed.then(lambda done: done.value()[0])

        hook.__annotations__.clear()  # torch takes classes there, not the strings these are
        trainer.strategy.model.register_comm_hook(None, hook)  # type: ignore[union-attr, operator]


def main(out: str, generator: str) -> None:
    rank = int(os.environ["RANK"])
    rates = [f"method.{n}_learning_rate=1e-3" for n in ("generator", "discriminator")]
    method = made(
        settings(*NO_VGG, *rates, generator, "training.devices=2", "training.accumulate=2")
    )
    terms = method.generator_terms

    def infinite(real: Any, *place: int) -> tuple[dict[str, Term], dict[str, Tensor]]:
        found, translated = terms(real, *place)
        if method.step == 1 and rank == 1:
            found["constant"] = Term(torch.tensor(torch.inf), 1.0)
        return found, translated

    method.generator_terms = infinite  # type: ignore[method-assign]
    whole = [images(seed, count=4) for seed in range(3)]
    mine = [{d: x.chunk(2)[rank] for d, x in batch.items()} for batch in whole]
    loader: DataLoader[Any] = DataLoader(mine, batch_size=None)  # type: ignore[arg-type]
    counted: list[tuple[int, int, int]] = []
    exchanges = CountExchanges()

    def note(module: CycleGAN) -> None:
        counted.append((module.skipped, module.skipped_in_a_row, exchanges.buckets))

    watch = Watch(note)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore")
        trainer = make_trainer(method.config, "fp32", [exchanges, watch], None)
        trainer.fit(method, train_dataloaders=loader)
    torch.save(
        {"snapshots": watch.snapshots, "gradients": watch.gradients, "counted": counted}, out
    )


if __name__ == "__main__":
    main(*sys.argv[1:])
