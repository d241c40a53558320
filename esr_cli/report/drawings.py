"""Prepares SVG files for embedding in an HTML page."""

from __future__ import annotations

import re
from pathlib import Path
from xml.etree import ElementTree

from esr_cli.plots.style import INK

# What matplotlib draws with. Everything else is dropped, so that nothing in a drawing can run.
ELEMENTS = {"svg", "g", "defs", "clipPath", "path", "rect", "use", "text", "tspan", "image"}
ATTRIBUTES = {
    "id", "d", "x", "y", "width", "height", "transform", "clip-path", "clip-rule", "fill",
    "fill-opacity", "fill-rule", "font-family", "font-size", "font-style", "font-weight", "href",
    "opacity", "preserveAspectRatio", "stroke", "stroke-dasharray", "stroke-dashoffset",
    "stroke-linecap", "stroke-linejoin", "stroke-miterlimit", "stroke-opacity", "stroke-width",
    "text-anchor",
}  # fmt: skip
HREF = re.compile(r"#|data:image/png;base64,[A-Za-z0-9+/=\s]*$")
OUTSIDE = re.compile(r"url\((?!#)|[\\<]|:(?!image/png)")
REFERS = re.compile(r"url\(#([^)]+)\)")
# A CSS shorthand that SVG attributes do not have. Only the size is kept: the page sets the family.
FONT = re.compile(r"^(?:[\w-]+ )*?([\d.]+)px\b")
PAGE = {"#ffffff", "white"}
GREY = re.compile(r"#([0-9a-f]{2})\1\1")
DARK, PALE = (0x1A, 0x66), 0xE0
# Width in points above which a drawing may use the full width of the page.
WIDE = 560


def inline(path: Path, name: str, alt_text: str) -> str:
    """Returns the drawing as an HTML element, with `alt_text` as its label for screen readers.

    Its ids begin with `name`, its ink takes the colour of the page's text, and its white background
    is removed. Styles become attributes. Elements, attributes and references outside the lists
    above are dropped.
    """
    root = ElementTree.parse(path).getroot()
    box = root.get("viewBox", "")
    _clean(root, name)
    _remove_background(root)
    root.attrib.clear()
    root.attrib |= {"viewBox": box, "role": "img", "aria-label": alt_text, "class": "drawing"}
    if float(box.split()[2]) > WIDE:
        root.set("class", "drawing broad")
    return ElementTree.tostring(root, encoding="unicode", short_empty_elements=False)


def _clean(node: ElementTree.Element, name: str) -> None:
    node.tag = node.tag.split("}")[-1]
    attributes = {key.split("}")[-1]: value for key, value in node.attrib.items()}
    attributes |= _attributes(attributes.pop("style", ""))
    node.attrib.clear()
    for key, value in attributes.items():
        if key not in ATTRIBUTES or (key == "href" and not HREF.match(value)):
            continue
        if key != "id" and OUTSIDE.search(value):
            continue
        if key == "id" or (key == "href" and value.startswith("#")):
            value = f"#{name}-{value[1:]}" if key == "href" else f"{name}-{value}"
        value = REFERS.sub(lambda found: f"url(#{name}-{found[1]})", value)
        _colour(node, key, value)
    for child in list(node):
        if not isinstance(child.tag, str) or child.tag.split("}")[-1] not in ELEMENTS:
            node.remove(child)
        else:
            _clean(child, name)


def _colour(node: ElementTree.Element, key: str, value: str) -> None:
    """Ink and dark greys take the colour of the page's text; a pale grey becomes a transparent one.

    Black stays: it is drawn on colours that do not change.
    """
    grey = GREY.fullmatch(value.lower())
    shade = int(grey[1], 16) if grey else None
    if value.lower() == INK or (shade is not None and DARK[0] <= shade <= DARK[1]):
        value = "currentColor"
    elif shade is not None and PALE <= shade < 255:
        value = "currentColor"
        node.set(f"{key}-opacity", "0.1")
    node.set(key, value)


def _attributes(style: str) -> dict[str, str]:
    found = {}
    for rule in style.split(";"):
        key, sign, value = (part.strip() for part in rule.partition(":"))
        if sign and key == "font":
            if size := FONT.match(value):
                found["font-size"] = size[1]
        elif sign and not key.startswith("-"):
            found[key] = value
    return found


def _remove_background(root: ElementTree.Element) -> None:
    """Removes the white behind the figure and the axes, which would show on a dark page."""
    for node in root.iter("path"):
        if node.get("fill", "").lower() in PAGE:
            node.set("fill", "none")
