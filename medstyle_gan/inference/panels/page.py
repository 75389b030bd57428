"""A teaching panel as one HTML file that needs nothing else: no script, no request, no font."""

from __future__ import annotations

from base64 import b64encode
from html import escape

from medstyle_gan.inference.outputs.sidecar import NOTE, PNG_TEXT
from medstyle_gan.inference.panels.panel import Panel, Tile
from medstyle_gan.volumes import encode_png

# The policy makes sure that a browser fetches nothing, whatever a caption holds.
_HEAD = """\
<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src data:; \
style-src 'unsafe-inline'">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="description" content="{note}">
<link rel="icon" href="data:,">
<title>{title}</title>
<style>
body {{ font: 16px/1.4 system-ui, sans-serif; margin: 1.5rem; color: #111; background: #fff; }}
table {{ border-collapse: separate; border-spacing: 8px; }}
th {{ font-weight: 600; }}
tbody th {{ font-weight: 400; white-space: nowrap; }}
img {{ display: block; max-width: 100%; height: auto; image-rendering: pixelated; }}
.scroll {{ overflow-x: auto; }}
.legend {{ list-style: none; padding: 0; display: flex; flex-wrap: wrap; gap: .3rem 1.2rem; }}
.legend span {{ display: inline-block; width: 1em; height: 1em; margin-right: .4em;
  border: 1px solid #111; vertical-align: -.12em; }}
.note {{ font-size: .85rem; color: #333; }}
</style>
</head>
"""


def write_page(panel: Panel) -> str:
    """Set a panel as a page.

    Args:
        panel: what it shows.

    Returns:
        HTML with all images in it as PNG, each with an alternative text; the title of the page
        is the panel's.
    """
    title = escape(panel.title or "Original and stylised images")
    parts = [_HEAD.format(note=escape(NOTE), title=title), "<body>\n", f"<h1>{title}</h1>\n"]
    beside = any(name for name, _ in panel.rows)
    corner = "<td></td>" if beside else ""
    heads = "".join(f'<th scope="col">{escape(caption)}</th>' for caption in panel.captions)
    parts.append('<div class="scroll">\n<table>\n')
    parts.append(f"<thead><tr>{corner}{heads}</tr></thead>\n<tbody>\n")
    for name, tiles in panel.rows:
        head = f'<th scope="row">{escape(name)}</th>' if beside else ""
        cells = "".join(f"<td>{_image(tile)}</td>" for tile in tiles)
        parts.append(f"<tr>{head}{cells}</tr>\n")
    parts.append("</tbody>\n</table>\n</div>\n")
    if panel.legend:
        entries = "".join(
            f'<li><span style="background: rgb{colour}"></span>{escape(name)}</li>'
            for name, colour in panel.legend
        )
        parts.append(f'<ul class="legend">{entries}</ul>\n')
    notes = [panel.orientation] + ([f"Images marked SYNTHETIC: {NOTE}"] if panel.marked else [])
    parts += [f'<p class="note">{escape(note)}</p>\n' for note in notes if note]
    parts.append("</body>\n</html>\n")
    return "".join(parts)


def _image(tile: Tile) -> str:
    data = b64encode(encode_png(tile.pixels, {PNG_TEXT: NOTE} if tile.synthetic else None))
    height, width = tile.pixels.shape[:2]
    return (
        f'<img src="data:image/png;base64,{data.decode()}" width="{width}" height="{height}" '
        f'alt="{escape(tile.alt)}">'
    )
