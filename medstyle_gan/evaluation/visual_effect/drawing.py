"""How charts of a report are drawn: opaque, on paper, in colours that everyone can tell apart."""

from __future__ import annotations

from collections.abc import Mapping
from io import BytesIO
from typing import Any

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure as Chart

from medstyle_gan.evaluation.wording import title

PAPER = "#f4f4f1"  # readable in a light and in a dark page alike
INK = "#222222"
REAL = "#222222"
# Okabe & Ito 2008; the first is the translation's.
_COLOURS = ("#d55e00", "#0072b2", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")
_STYLES = ("-", "--", "-.", ":", (0, (5, 1)), (0, (1, 1)))


def new_chart(width: float, height: float) -> Chart:
    """An empty chart (inches)."""
    chart = Chart(figsize=(width, height), layout="constrained", dpi=110, facecolor=PAPER)
    FigureCanvasAgg(chart)
    return chart


def png_bytes(chart: Chart) -> bytes:
    """The chart as a PNG file's bytes, without metadata."""
    encoded = BytesIO()
    chart.savefig(encoded, format="png", facecolor=PAPER, metadata={"Software": None})
    return encoded.getvalue()


def legend_beside(chart: Chart, panel: Any) -> None:
    """A panel's legend at the right of the whole chart, where it covers no curve."""
    chart.legend(*panel.get_legend_handles_labels(), fontsize=8, loc="outside right upper")


def said(name: str) -> str:
    """A candidate's or metric's name in words."""
    return title(name)


def lines_of(names: Mapping[str, object]) -> dict[str, dict[str, Any]]:
    """Colour and dashes of each candidate, the translation's line the thickest."""
    return {
        name: {
            "color": _COLOURS[place % len(_COLOURS)],
            "linestyle": _STYLES[place % len(_STYLES)],
            "linewidth": 2.2 if place == 0 else 1.4,
            "label": said(name),
        }
        for place, name in enumerate(names)
    }
