"""XML read strictly: a value that must not be guessed and is not there, or is none, is an error."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from pathlib import Path
from xml.parsers import expat

from hpc_sr.errors import MetadataError


def parse_xml(content: bytes, where: Path) -> ET.Element:
    """Return the root of an XML document. Raises MetadataError if it is none, or declares a document type."""

    def refuse(*_: object) -> None:
        raise MetadataError(
            "declares a document type or entities", where=where, cure="no Sentinel-2 product does: discard"
        )

    guard = expat.ParserCreate()
    guard.StartDoctypeDeclHandler = refuse
    try:
        guard.Parse(content, True)
        return ET.fromstring(content)
    except (expat.ExpatError, ET.ParseError, ValueError, LookupError) as error:
        raise MetadataError(f"cannot be parsed ({error})", where=where, cure="fetch the product again") from error


def in_one_dialect(tree: ET.Element) -> ET.Element:
    """Return the tree with the names of today.

    Level-2A of 2017 and early 2018 marks many names as its own: L2A_Product_Info, L2A_BOA_QUANTIFICATION_VALUE,
    IMAGE_FILE_2A, TILE_ID_2A. What is marked as L1C's (PRODUCT_URI_1C, L1C_TILE_ID) is another thing and stays.
    """
    for element in tree.iter():
        element.tag = re.sub(r"^L2A_|_2A$", "", element.tag)
    return tree


def text_of(element: ET.Element) -> str:
    """Return an element's text, stripped; "" without any: callers must not take that for a value."""
    return (element.text or "").strip()


def optional(tree: ET.Element, tag: str) -> str:
    """Return the text of the first element of this name, "" if there is none or it is blank."""
    return next((text_of(element) for element in tree.iter(tag)), "")


def one(tree: ET.Element, tag: str, where: Path) -> str:
    """Return what the elements of this name say.

    Raises MetadataError if there is none, the first is blank, or they contradict each other.
    """
    texts = [text_of(element) for element in tree.iter(tag)]
    if not texts or not texts[0]:
        raise MetadataError(
            f"has no {tag}",
            where=where,
            cure="the product cannot be read without it: fetch it again; files that other software wrote are not read",
        )
    other = next((text for text in texts if text and text != texts[0]), None)
    if other is not None:
        raise MetadataError(
            f"{tag} is {texts[0]} and {other}", where=where, cure="the metadata contradict themselves: fetch again"
        )
    return texts[0]


def number(tree: ET.Element, tag: str, where: Path, at_least: float, at_most: float) -> float:
    """Return the number in the first element of this name. Raises MetadataError if it is none or out of range."""
    text = one(tree, tag, where)
    try:
        value = float(text)
    except ValueError:
        raise MetadataError(f"{tag} = {text!r} is no number", where=where, cure="fetch the product again") from None
    if not at_least <= value <= at_most:  # NaN is in no range
        raise MetadataError(
            f"{tag} = {text} is out of range", where=where, cure=f"between {at_least:g} and {at_most:g}: fetch again"
        )
    return value


def whole(tree: ET.Element, tag: str, where: Path, at_least: int, at_most: int) -> int:
    """Return a whole number, as `number` does."""
    value = number(tree, tag, where, at_least, at_most)
    if value != int(value):
        raise MetadataError(f"{tag} = {value:g} is no whole number", where=where, cure="fetch the product again")
    return int(value)
