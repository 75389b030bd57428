from __future__ import annotations

import resource
from pathlib import Path

import pytest
import torch

from medstyle_gan.training.throughput import Throughput, peak_memory_mib
from tests.training.dummy_method import DummyMethod, fit


class Clock:
    """Time that passes only when it is told to."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now

    def advance(self, seconds: float) -> None:
        self.now += seconds


class SlowMethod(DummyMethod):
    def __init__(self, clock: Clock) -> None:
        super().__init__()
        self.clock = clock

    def training_step(self, batch: dict[str, torch.Tensor], batch_index: int) -> None:
        self.clock.advance(3.0)
        super().training_step(batch, batch_index)


def test_rate_and_wait_share_follow_from_the_time_in_loader_and_step() -> None:
    clock = Clock()
    throughput = Throughput(clock)
    # A sample takes half a second to read: batches of 2 are waited for 1 s, worked on 3 s.
    fit(SlowMethod(clock), 5, [throughput], batch_size=2, read=lambda: clock.advance(0.5))

    figures = throughput.measure()

    assert figures["samples_per_second"] == pytest.approx(2 / 4)
    assert figures["data_wait_share"] == pytest.approx(1 / 4)


def test_what_is_done_while_paused_counts_neither_as_work_nor_as_wait() -> None:
    clock = Clock()
    throughput = Throughput(clock)

    class Validation(DummyMethod):
        def training_step(self, batch: dict[str, torch.Tensor], batch_index: int) -> None:
            clock.advance(3.0)
            super().training_step(batch, batch_index)

        def on_train_batch_end(self, outputs: object, batch: object, batch_idx: int) -> None:
            with throughput.paused(), throughput.paused():
                clock.advance(100.0)

    fit(Validation(), 4, [throughput], read=lambda: clock.advance(1.0))
    figures = throughput.measure()

    assert figures["samples_per_second"] == pytest.approx(1 / 4)
    assert figures["data_wait_share"] == pytest.approx(1 / 4)


def test_each_measurement_begins_a_new_interval() -> None:
    clock = Clock()
    throughput = Throughput(clock)
    fit(SlowMethod(clock), 2, [throughput])
    throughput.measure()
    clock.advance(10.0)

    assert throughput.measure()["samples_per_second"] == 0


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="needs Linux' /proc")
def test_peak_memory_lies_between_what_is_resident_now_and_what_the_kernel_charges() -> None:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    resident = pages * resource.getpagesize() / 2**20
    charged = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024

    assert 0.98 * resident <= peak_memory_mib(torch.device("cpu")) <= 1.02 * charged


@pytest.mark.gpu
def test_peak_memory_on_a_gpu_counts_tensors_that_were_given_back() -> None:
    device = torch.device("cuda", torch.cuda.current_device())
    torch.empty(64 * 2**20, dtype=torch.uint8, device=device)

    assert peak_memory_mib(device) >= 64
