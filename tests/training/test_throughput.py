from __future__ import annotations

import resource
from pathlib import Path

import lightning as L
import pytest
import torch

from medstyle_gan.methods.step_clock import StepClock
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

    assert "samples_per_second" not in throughput.measure()  # no step of its own


class TakenApart(DummyMethod):
    """Steps of 1 s for the generators and 2 s for the rest; every fourth has 4 s of VGG too."""

    def __init__(self, clock: Clock) -> None:
        super().__init__()
        self.time = clock
        self.step_clock = StepClock(clock)

    def training_step(self, batch: dict[str, torch.Tensor], batch_index: int) -> None:
        with self.step_clock.part("generators"):
            self.time.advance(1.0)
        if self.step % 4 == 0:
            with self.step_clock.part("vgg"):
                self.time.advance(4.0)
        self.time.advance(2.0)
        super().training_step(batch, batch_index)


def test_shares_are_those_of_whole_periods() -> None:
    clock = Clock()
    throughput = Throughput(clock, period=4)
    method = TakenApart(clock)
    started: list[int] = []
    start = method.step_clock.start
    method.step_clock.start = lambda device: (started.append(method.step), start(device))[1]  # type: ignore[method-assign,func-returns-value]
    fit(method, 20, [throughput], read=lambda: clock.advance(9.0))
    figures = throughput.measure()

    assert started == [0, 1, 2, 3, 16, 17, 18, 19]  # one period in four, whole
    assert figures["step_share/generators"] == pytest.approx(4 / 16)
    assert figures["step_share/vgg"] == pytest.approx(4 / 16)
    assert figures["step_share/discriminators"] == 0


def test_energy_is_told_without_that_of_pauses() -> None:
    clock = Clock()
    throughput = Throughput(clock, energy=lambda: 10 * clock.now)

    class Validation(SlowMethod):
        def on_train_batch_end(self, outputs: object, batch: object, batch_idx: int) -> None:
            with throughput.paused():
                clock.advance(100.0)

    fit(Validation(clock), 4, [throughput])
    assert throughput.measure()["energy_joules"] == pytest.approx(4 * 3 * 10)
    clock.advance(1.0)
    assert throughput.measure()["energy_joules"] == pytest.approx(10)


def test_what_is_not_told_is_left_out() -> None:
    clock = Clock()
    throughput = Throughput(clock, energy=lambda: None)
    fit(SlowMethod(clock), 2, [throughput])
    assert set(throughput.measure()) == {
        "samples_per_second",
        "data_wait_share",
        "peak_memory_mib",
    }


def test_no_rate_is_told_where_a_pause_ends_with_the_interval() -> None:
    clock = Clock()
    throughput = Throughput(clock)
    with throughput.paused():
        clock.advance(5.0)
    clock.advance(0.01)  # from the pause's end to the row
    assert not {"samples_per_second", "data_wait_share"} & throughput.measure().keys()


def test_steps_inside_a_pause_are_no_part_of_the_training() -> None:
    clock = Clock()
    throughput = Throughput(clock)
    rows: list[dict[str, float]] = []

    class Window(L.Callback):
        """Pauses over steps 3 to 6, and asks for figures after steps 2, 4 and 8."""

        def on_train_batch_end(
            self, trainer: L.Trainer, pl_module: L.LightningModule, *args: object
        ) -> None:
            step = pl_module.step
            if step in (2, 4, 8):
                rows.append(throughput.measure())
            if step == 2:
                self.pause = throughput.paused()
                self.pause.__enter__()
            if step == 6:
                self.pause.__exit__(None, None, None)

    fit(SlowMethod(clock), 8, [throughput, Window()], read=lambda: clock.advance(1.0))

    before, inside, after = rows
    assert before["samples_per_second"] == pytest.approx(1 / 4)
    assert "samples_per_second" not in inside
    assert after["samples_per_second"] == pytest.approx(1 / 4)
    assert after["data_wait_share"] == pytest.approx(1 / 4)
    assert throughput.totals == pytest.approx((16.0, 4.0))


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
