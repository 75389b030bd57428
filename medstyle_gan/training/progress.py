"""The live progress of a training: one line on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping
from typing import Any, TextIO

import lightning as L
from lightning.pytorch.callbacks import ProgressBar
from tqdm import tqdm

from medstyle_gan.training.interval import IntervalMeans
from medstyle_gan.training.observed import observed
from medstyle_gan.training.throughput import STEP_PARTS, Throughput

# What is shown → the losses whose mean it is.
_SHOWN = {"generator": "loss/generator", "discriminator": "loss/discriminator_"}
_SHOWN |= {"cycle": "loss/cycle_"}
# What a narrow terminal cuts off stands last.
_TERMINAL_FORMAT = (
    "step {n_fmt}/{total_fmt} |{bar}| {desc} {rate_noinv_fmt}, {remaining} left{postfix}"
)
_WAIT_WORTH_SHOWING = 0.05  # share of the time without a batch
_WAIT_WINDOW = 15.0  # seconds of training that the share is taken over, at least


class TrainingProgress(ProgressBar):
    """Steps done, main losses, steps a second and time left; takes Lightning's bar's place.

    Args:
        steps: Steps of the whole training.
        stream: Where it goes (None: stderr); what is not a terminal gets plain lines.
        line_every: Seconds between plain lines.
        redraw_every: Seconds between redraws on a terminal; losses are read only then.
        clock: Seconds, monotonic.
        throughput: Tells the wait for data, which is shown where it is worth it, and what it
            measured last (`shown_throughput`).
    """

    def __init__(
        self,
        steps: int,
        stream: TextIO | None = None,
        line_every: float = 30.0,
        redraw_every: float = 0.5,
        clock: Callable[[], float] = time.monotonic,
        throughput: Throughput | None = None,
    ) -> None:
        super().__init__()
        self._throughput = throughput
        self._wait_since = self._wait_until = (0.0, 0.0)  # seconds in all, without a batch
        self._steps = steps
        self._stream = sys.stderr if stream is None else stream
        self._clock = clock
        self._terminal = self._stream.isatty()
        self._every = redraw_every if self._terminal else line_every
        self._means = IntervalMeans()
        self._bar: tqdm[Any] | None = None
        self._enabled = True
        self._first = self._shown = (0, 0.0)  # step, seconds

    def disable(self) -> None:
        """Show nothing (Lightning asks for it on all ranks but the first)."""
        self._enabled = False

    def enable(self) -> None:
        """Show progress."""
        self._enabled = True

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Begin at the step that the method is at: a resumed run does not begin at 0."""
        self._enabled = self._enabled and trainer.is_global_zero
        step = observed(pl_module).step
        self._first = self._shown = (step, self._clock())
        if self._enabled and self._terminal:
            self._bar = tqdm(
                total=self._steps,
                initial=step,
                file=self._stream,
                bar_format=_TERMINAL_FORMAT,
                unit=" steps",
                dynamic_ncols=True,
                mininterval=0,
                smoothing=0.1,
            )

    def on_train_batch_end(
        self,
        trainer: L.Trainer,
        pl_module: L.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        """Note the losses; show them when it is time."""
        if not self._enabled:
            return
        method = observed(pl_module)
        self._means.add({k: v for k, v in method.logged.items() if k.startswith("loss/")})
        if self._clock() - self._shown[1] >= self._every or method.step == self._steps:
            self._show(method.step)

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Leave the last state standing."""
        self._close(observed(pl_module).step)

    def on_exception(
        self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException
    ) -> None:
        """End the line, so that an error's message begins a new one."""
        self._close(observed(pl_module).step)

    def print(self, *args: Any, **kwargs: Any) -> None:
        """Write a line without tearing the bar."""
        text = kwargs.get("sep", " ").join(map(str, args))
        if self._bar is not None:
            self._bar.write(text, file=self._stream)
        elif self._enabled:
            self._stream.write(text + "\n")
            self._stream.flush()

    def _show(self, step: int) -> None:
        losses = shown_losses(self._means.means()) + self._wait()
        self._means.clear()
        figures = "" if self._throughput is None else shown_throughput(self._throughput.latest)
        if self._bar is not None:
            self._bar.set_description_str(losses, refresh=False)
            self._bar.set_postfix_str(figures, refresh=False)
            self._bar.update(step - self._bar.n)
        else:
            rate = _rate(self._shown, (step, self._clock()))
            overall = _rate(self._first, (step, self._clock()))
            left = f"{format_seconds((self._steps - step) / overall)} left" if overall else ""
            line = f"step {step}/{self._steps}  {losses}  {rate:.2f} steps/s, {left}"
            self.print(f"{line}, {figures}" if figures else line)
        self._shown = (step, self._clock())

    def _wait(self) -> str:
        """The wait for data over the last seconds, in words; empty where it is short."""
        if self._throughput is None:
            return ""
        now = self._throughput.totals
        if now[0] - self._wait_until[0] >= _WAIT_WINDOW:
            self._wait_since, self._wait_until = self._wait_until, now
        share = (now[1] - self._wait_since[1]) / max(now[0] - self._wait_since[0], 1e-9)
        return f"  waits for data {share:.0%}" if share > _WAIT_WORTH_SHOWING else ""

    def _close(self, step: int) -> None:
        if self._enabled and step > self._shown[0]:
            self._show(step)
        if self._bar is not None:
            self._bar.close()
            self._bar = None


def shown_losses(means: Mapping[str, float]) -> str:
    """The main losses in words; a loss of two directions or domains is their mean."""
    parts = []
    for label, prefix in _SHOWN.items():
        values = [value for name, value in means.items() if name.startswith(prefix)]
        if values:
            parts.append(f"{label} {sum(values) / len(values):.3f}")
    return "  ".join(parts)


def shown_throughput(figures: Mapping[str, float]) -> str:
    """What a row of `metrics.csv` tells of speed, memory and power, as far as it is known.

    Args:
        figures: as `Throughput.latest` holds them.

    Returns:
        Such as `2.1 samples/s, generators/discriminators/vgg 61/22/12%, 1.9 GiB, 31 W`.
    """
    parts = []
    if "samples_per_second" in figures:
        parts.append(f"{figures['samples_per_second']:.3g} samples/s")
    shares = [figures[name] for name in map("step_share/{}".format, STEP_PARTS) if name in figures]
    if shares:
        percent = "/".join(f"{100 * share:.0f}" for share in shares)
        parts.append(f"{'/'.join(STEP_PARTS)} {percent}%")
    if "peak_memory_mib" in figures:
        parts.append(f"{figures['peak_memory_mib'] / 1024:.1f} GiB")
    if "watts" in figures:
        parts.append(f"{figures['watts']:.0f} W")
    return ", ".join(parts)


def format_seconds(seconds: float) -> str:
    """A duration to the precision one cares for: `2 h 05 min`, `3 min 20 s`, `8 s`."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes:02d} min"
    return f"{minutes} min {rest:02d} s" if minutes else f"{rest} s"


def _rate(earlier: tuple[int, float], later: tuple[int, float]) -> float:
    """Steps a second."""
    return (later[0] - earlier[0]) / max(later[1] - earlier[1], 1e-9)


def beside_bars(announce: Callable[[str], None]) -> Callable[[str], None]:
    """Take lines for a terminal without tearing the bars that are drawn on it."""

    def say(line: str) -> None:
        with tqdm.external_write_mode(file=sys.stderr):
            announce(line)

    return say
