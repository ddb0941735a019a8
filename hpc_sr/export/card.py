"""The model card: what a network takes, returns and was made of, as plain data and as text."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jinja2
import torch
from markupsafe import Markup

from hpc_sr import __version__
from hpc_sr.errors import HpcSrError
from hpc_sr.export.graphs import least_multiples
from hpc_sr.markdown import as_text
from hpc_sr.models.generator import Generator
from hpc_sr.sentinel2.bands import BANDS, SATELLITES
from hpc_sr.sentinel2.degrade import kernel
from hpc_sr.tasks import REFLECTANCE, REFLECTANCE_ONE, Layer, Task, Units
from hpc_sr.weights.card import Card

SCHEMA = 1

_LAWS = {
    "wald": "a Gaussian of sigma 1/scale fine pixels, then the mean of scale x scale pixels",
    "mtf": "a Gaussian for each band, then the mean of scale x scale pixels: together the instrument's MTF",
}


def describe(generator: Generator, card: Card) -> dict[str, Any]:
    """Return all that follows from a network and its card: inputs, output, sizes, units, degradation."""
    task = generator.task
    return {
        "schema": SCHEMA,
        "family": card.family,
        "scale": task.scale,
        "inputs": [_layer(layer) for layer in task.inputs],
        "outputs": [{**_layer(target), "scale": target.scale} for target in task.targets],
        "sizes": {
            "multiple_px": generator.multiple_px,
            "smallest_px": least_multiples(generator) * generator.multiple_px,
            "halo_px": generator.halo_px,
        },
        "units": {
            **_stored_units(generator.task, generator.units),
            "network_unit": generator.units.unit,
            "network": "the same divided by network_unit",
        },
        "degradation_law": {
            "law": _LAWS.get(card.degradation),
            "scale": task.scale,
            "sigma_px": _sigma_px(card.degradation, task),
        },
        "software": {"hpc_sr": __version__, "torch": torch.__version__},
    }


def _stored_units(task: Task, units: Units) -> dict[str, Any]:
    """Return what files take and give: `short`, `graphs` in full, what is full brightness, how it is made of pixels."""
    if units.stored == REFLECTANCE or not (units.stored or task.of_images):
        return {
            "short": "reflectance x 10 000",
            "reflectance_one": REFLECTANCE_ONE,
            "graphs": "reflectance x 10 000 after the radiometric offset, float32",
            "made_of": "(DN + offset) / quantification x 10 000",
            "range": "nothing is clipped; values below 0 and above 10 000 are as in the training data, int16",
        }
    bits = f" of {units.stored}s" if units.stored else ""
    return {
        "short": f"grey levels{bits}",
        "graphs": f"grey levels{bits}, float32",
        "made_of": "the pixels as files of images hold them",
        "range": "nothing is clipped; round and clip to the range of the files",
    }


def as_markdown(document: dict[str, Any]) -> str:
    """Return an exported folder's card.json as a page to read. What it holds is text and never markup."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,  # macros then return markup, which is not escaped again
        finalize=lambda value: Markup(as_text(value)) if type(value) is str else value,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters["flat"] = _flat
    return environment.get_template("model_card.md.j2").render(card=document)


def _flat(section: dict[str, Any], prefix: str = "") -> str:
    """Return a section of a recipe in one line: "patch_px 32, split.by tile"."""
    parts = [
        _flat(value, f"{prefix}{key}.") if isinstance(value, dict) else f"{prefix}{key} {value}"
        for key, value in section.items()
    ]
    return ", ".join(part for part in parts if part)


def _layer(layer: Layer) -> dict[str, Any]:
    """Images have no ground sampling distance and no known wavelengths."""
    return {
        "name": layer.name,
        "bands": list(layer.bands),
        "gsd_m": layer.gsd_m or None,
        "stride": layer.stride,
        "wavelengths_nm": [BANDS[name].wavelength_nm if name in BANDS else None for name in layer.bands],
    }


def _sigma_px(degradation: str, task: Task) -> dict[str, dict[str, float]]:
    """Return the Gaussian's sigma in fine pixels by band and satellite; empty where the degradation has no Gaussian."""
    bands = tuple(dict.fromkeys(band for layer in task.inputs for band in layer.bands))
    try:
        by_satellite = {name: kernel(degradation, task.scale, bands, name).sigma_px for name in SATELLITES}
    except HpcSrError:
        return {}
    return {
        band: {name: round(sigmas[index], 6) for name, sigmas in by_satellite.items()}
        for index, band in enumerate(bands)
    }
