"""A teaching panel as PNG and PDF: each image's pixels stand in the PNG as they are."""

from __future__ import annotations

import textwrap
from io import BytesIO
from typing import Any, Literal

from matplotlib import rc_context
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from medstyle_gan.inference.outputs.sidecar import NOTE, PNG_TEXT
from medstyle_gan.inference.panels.panel import Panel

_DPI = 100
_GAP, _MARGIN, _BESIDE, _LINE = 8, 14, 26, 18  # pixels
_CHARACTER = 0.6  # width of one over the font's size


def draw_panel(panel: Panel, kind: Literal["png", "pdf"]) -> bytes:
    """Set a panel's images with captions, legend and footer.

    Args:
        panel: what it shows.
        kind: PNG, or PDF with text that can be selected.

    Returns:
        The file, the same bytes each time; its metadata says that it is synthetic.
    """
    layout = _Layout(panel)
    # TrueType, so that text can be selected and searched for.
    with rc_context({"pdf.fonttype": 42, "svg.hashsalt": "panel"}):
        figure = layout.draw()
        encoded = BytesIO()
        if kind == "png":
            figure.savefig(encoded, format="png", metadata={PNG_TEXT: NOTE})
        else:
            about = {"Title": panel.title or "Panel", "Subject": NOTE, "CreationDate": None}
            figure.savefig(encoded, format="pdf", metadata=about)
    return encoded.getvalue()


class _Layout:
    """Where everything stands, in pixels from the upper left."""

    def __init__(self, panel: Panel) -> None:
        self.panel = panel
        first = panel.rows[0][1][0].pixels
        self.height, self.width = first.shape[:2]
        names = max((len(name) for name, _ in panel.rows), default=0)
        # Names stand upright beside their row, which may be flatter than they are long.
        self.pitch = max(self.height, round(_pixels("x" * names, 9))) + _GAP
        self.left = _MARGIN + (_BESIDE if any(name for name, _ in panel.rows) else 0)
        columns = len(panel.captions)
        self.across = self.left + columns * (self.width + _GAP) - _GAP + _MARGIN
        inner = self.across - 2 * _MARGIN
        self.title = _wrapped(panel.title, inner, 14)
        self.captions = [_wrapped(caption, self.width, 10) for caption in panel.captions]
        footer = [panel.orientation] + ([_footer()] if panel.marked else [])
        self.footer = [line for text in footer for line in _wrapped(text, inner, 8)]
        self.legend = _flowed(panel.legend, inner)
        self.top = _MARGIN + 24 * len(self.title) + _LINE * max(map(len, self.captions)) + 4
        below = self.top + len(panel.rows) * self.pitch
        self.legend_top = below + 4
        self.footer_top = self.legend_top + 22 * len(self.legend)
        self.down = self.footer_top + 15 * len(self.footer) + _MARGIN

    def draw(self) -> Figure:
        size = (self.across / _DPI, self.down / _DPI)
        figure = Figure(figsize=size, dpi=_DPI, facecolor="white")
        FigureCanvasAgg(figure)
        for i, line in enumerate(self.title):
            self._text(figure, _MARGIN, _MARGIN + 24 * i, line, 14, weight="bold")
        for column, caption in enumerate(self.captions):
            centre = self.left + column * (self.width + _GAP) + self.width / 2
            for i, line in enumerate(caption):
                y = self.top - 4 - _LINE * (len(caption) - i)
                self._text(figure, centre, y, line, 10, ha="center")
        for row, (name, tiles) in enumerate(self.panel.rows):
            y = self.top + row * self.pitch + (self.pitch - _GAP - self.height) / 2
            if name:
                x, middle = _MARGIN + 4, y + self.height / 2
                self._text(figure, x, middle, name, 9, rotation=90, va="center")
            for column, tile in enumerate(tiles):
                left = self.left + column * (self.width + _GAP)
                bottom = self.down - y - self.height
                axes = figure.add_axes(
                    (
                        left / self.across,
                        bottom / self.down,
                        self.width / self.across,
                        self.height / self.down,
                    )
                )
                axes.imshow(tile.pixels, interpolation="none", aspect="auto")
                axes.set_axis_off()
        for i, entries in enumerate(self.legend):
            y = self.legend_top + 22 * i
            for start, label, colour in entries:
                corner = ((_MARGIN + start) / self.across, 1 - (y + 14) / self.down)
                box = Rectangle(
                    corner,
                    14 / self.across,
                    14 / self.down,
                    facecolor=[value / 255 for value in colour],
                    edgecolor="black",
                    linewidth=0.5,
                    transform=figure.transFigure,
                )
                figure.add_artist(box)
                self._text(figure, _MARGIN + start + 20, y + 7, label, 9, va="center_baseline")
        for i, line in enumerate(self.footer):
            self._text(figure, _MARGIN, self.footer_top + 15 * i, line, 8, color="#333333")
        return figure

    def _text(self, figure: Figure, x: float, y: float, text: str, size: int, **look: Any) -> None:
        options: dict[str, Any] = {"va": "top", "ha": "left", "parse_math": False, **look}
        figure.text(x / self.across, 1 - y / self.down, text, fontsize=size, **options)


def _footer() -> str:
    return f"Images marked SYNTHETIC: {NOTE[0].lower()}{NOTE[1:]}"


def _pixels(text: str, size: int) -> float:
    return len(text) * size * _CHARACTER * _DPI / 72


def _wrapped(text: str, width: float, size: int) -> list[str]:
    return textwrap.wrap(text, max(8, int(width / _pixels("x", size))))


def _flowed(
    legend: tuple[tuple[str, tuple[int, int, int]], ...], width: float
) -> list[list[tuple[float, str, tuple[int, int, int]]]]:
    """Lines of (x, name, colour)."""
    lines: list[list[tuple[float, str, tuple[int, int, int]]]] = []
    x = 0.0
    for name, colour in legend:
        needed = 20 + _pixels(name, 9) + 16
        if not lines or x + needed > width:
            lines.append([])
            x = 0.0
        lines[-1].append((x, name, colour))
        x += needed
    return lines
