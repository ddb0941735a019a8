"""A style for QGIS beside an image, which it reads by itself. Without one it takes bands 1, 2, 3 for red, green, blue.

QGIS applies the scale and offset of a band before it shows it: ranges are in reflectance, whatever the file stores.
"""

from __future__ import annotations

from xml.etree import ElementTree as xml

from hpc_sr.infer.finishing import KEY_TAG, add
from hpc_sr.infer.overview import Look

_DOCTYPE = "<!DOCTYPE qgis PUBLIC 'http://mrcc.com/qgis.dtd' 'SYSTEM'>\n"


def qml_of(look: Look, names: tuple[str, ...], digest: str) -> str:
    """Return the style (QML of QGIS 3) of an image with bands of these names; nodata stays transparent."""
    root = xml.Element("qgis", version="3.22.0", styleCategories="Symbology")
    root.append(xml.Comment(f" {KEY_TAG} {digest} "))
    renderer = xml.SubElement(xml.SubElement(root, "pipe"), "rasterrenderer", opacity="1", alphaBand="-1")
    if len(look.bands) == 3:
        renderer.set("type", "multibandcolor")
        channels = ["red", "green", "blue"]
        stretches = [f"{channel}ContrastEnhancement" for channel in channels]
    else:
        renderer.set("type", "singlebandgray")
        renderer.set("gradient", "BlackToWhite")
        channels, stretches = ["gray"], ["contrastEnhancement"]
    for channel, stretch, band, low, high in zip(channels, stretches, look.bands, look.low, look.high, strict=True):
        renderer.set(f"{channel}Band", str(names.index(band) + 1))
        element = xml.SubElement(renderer, stretch)
        add(element, "minValue", repr(low))
        add(element, "maxValue", repr(high))
        add(element, "algorithm", "StretchToMinimumMaximum")
    add(root, "blendMode", "0")
    xml.indent(root, " ")
    return _DOCTYPE + xml.tostring(root, encoding="unicode") + "\n"
