"""A model's card: what it was trained on, how, and what it gives; no path and no name."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from medstyle_gan.data.words import DOMAINS, Domain
from medstyle_gan.inference.bundles.bundle import Bundle

_DOMAINS: tuple[Domain, Domain] = ("scan", "style")


def describe_model(bundle: Bundle) -> dict[str, Any]:
    """All that a bundle tells, as plain numbers and text for JSON.

    Args:
        bundle: the model; one that was read from no folder is a checkpoint's.
    """
    config, data = bundle.config, bundle.config.data
    return {
        "format": "checkpoint" if bundle.folder is None else _format(bundle, bundle.folder),
        "hash": bundle.hash,
        "method": {
            "name": config.method.name,
            "steps": bundle.steps,
            "of_steps": config.training.steps,
            "moving_average": config.inference.ema,
            "seed": config.training.seed,
        },
        "networks": {
            # Of a model that translates nothing by itself, nothing comes from this section.
            "generator": config.generator.model_dump(mode="json") if bundle.directions else None,
            "parameters": bundle.parameters,
            "shared_parameters": bundle.shared_parameters,
            "channels": {
                direction: [bundle.channels[domain] for domain in DOMAINS[direction]]
                for direction in bundle.directions
            },
        },
        "data": {domain: dict(bundle.fingerprint.get(domain, {})) for domain in _DOMAINS},
        "intensity": {
            domain: {
                "settings": getattr(data.intensity, domain).model_dump(mode="json"),
                "typical": bundle.scales[domain].as_dict(),
                "integer": bundle.integer[domain],
                "background": bundle.background[domain],
                "pictures": bundle.pictures[domain],
            }
            for domain in _DOMAINS
        },
        "geometry": {
            "dims": data.dims,
            "plane": data.plane if data.dims != 3 else None,
            "spacing": list(data.spacing),
            "sample_size": list(data.sample_size),
            "orientation": "RAS",
        },
        "scope_check": {
            domain: bool(bundle.fingerprint.get(domain, {}).get("appearance"))
            for domain in _DOMAINS
        },
        "intensity_map": None
        if bundle.intensity_map is None
        else list(bundle.intensity_map.values),
        "versions": bundle.versions,
    }


def format_card(facts: Mapping[str, Any]) -> str:
    """The card as text, one fact a line.

    Args:
        facts: as `describe_model` gives them.
    """
    method, networks, geometry = facts["method"], facts["networks"], facts["geometry"]
    weights = "their moving average" if method["moving_average"] else "the generators themselves"
    rows = [
        ("format", facts["format"]),
        ("hash", facts["hash"]),
        ("method", f"{method['name']}, step {method['steps']} of {method['of_steps']}"),
        ("weights", f"{weights}, seed {method['seed']}"),
        *([("generator", _settings(networks["generator"]))] if networks["generator"] else []),
        *(
            (name, f"{count:,} parameters{_channels(networks['channels'].get(name))}")
            for name, count in networks["parameters"].items()
        ),
        *(
            [("shared", f"{networks['shared_parameters']:,} of these, by both directions")]
            if networks["shared_parameters"]
            else []
        ),
        ("samples", _samples(geometry)),
    ]
    for domain in _DOMAINS:
        rows += _collection(domain, facts)
    if facts["intensity_map"] is not None:
        what = f"{len(facts['intensity_map'])} numbers, learned from registered scans, for evaluate"
        rows.append(("intensity map", what))
    rows.append(("versions", ", ".join(f"{k} {v}" for k, v in facts["versions"].items())))
    width = max(len(name) for name, _ in rows) + 2
    return "".join(f"{name:<{width}}{text}\n" for name, text in rows)


def _format(bundle: Bundle, folder: Path) -> str:
    if bundle.graphs:
        return "onnx"
    around_monai = folder.name == "models" and (folder.parent / "configs/metadata.json").is_file()
    return "monai" if around_monai else "safetensors"


def _settings(values: Mapping[str, Any]) -> str:
    rest = ", ".join(f"{name} {value}" for name, value in values.items() if name != "name")
    return f"{values['name']} ({rest})"


def _channels(pair: list[int] | None) -> str:
    words = {1: "grey", 3: "colour"}
    given = [words.get(count, f"{count} channels") for count in pair or ()]
    return f", {' to '.join(given)}" if given else ""


def _samples(geometry: Mapping[str, Any]) -> str:
    size = "x".join(map(str, geometry["sample_size"]))
    spacing = ", ".join("own" if s is None else f"{s:g}" for s in geometry["spacing"])
    what = f"{geometry['plane']} slices" if geometry["plane"] else "patches"
    return (
        f"{size} {what} (data.dims {geometry['dims']}), voxels {spacing} mm along right, front, up"
    )


def _collection(domain: Domain, facts: Mapping[str, Any]) -> list[tuple[str, str]]:
    known, intensity = facts["data"][domain], facts["intensity"][domain]
    kind = "pictures" if intensity["pictures"] else "volumes"
    rows: list[tuple[str, str]] = [(domain, f"{kind}, of which nothing more is recorded")]
    if known:
        rows = [
            (
                domain,
                f"{known['volumes']} {kind} of {known['subjects']} subjects "
                f"({known.get('validation_subjects', 0)} more held out), "
                f"{known['slices']} slices, {', '.join(known['dtypes'])}",
            )
        ]
        if not intensity["pictures"]:
            sizes = " x ".join(
                f"{low:g}" if low == high else f"{low:g}-{high:g}"
                for low, high in known["spacing_range"]
            )
            rows.append(("", f"voxels {sizes} mm, axes {', '.join(known['orientations'])}"))
            rows.append(("", f"shapes {_few(known['shapes'])}"))
        quantiles = ", ".join(f"{q:g}" for q in known["quantiles_median"])
        rows.append(("", f"intensities at 0, 1, 25, 50, 75, 99, 100 %: {quantiles}"))
    scale = intensity["typical"]
    low, high = scale["center"] - scale["half_range"], scale["center"] + scale["half_range"]
    rows += [
        ("", f"scale {_settings(intensity['settings'])}"),
        ("", f"typically {low:.5g} to {high:.5g}, background {intensity['background']:.5g}"),
        ("", f"scope of inputs can{'' if facts['scope_check'][domain] else 'not'} be checked"),
    ]
    if known.get("contents"):
        rows.append(("", f"contents {known['contents']}"))
    return rows


def _few(names: list[str], most: int = 6) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more
