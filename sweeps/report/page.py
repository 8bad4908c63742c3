"""Renders a report as one self-contained HTML file: styles, scripts, data and pictures are embedded."""

import base64
import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

_ASSETS = Path(__file__).parent / "assets"
_SCRIPTS = ("chart.js", "front.js", "page.js")


def render(words: Mapping[str, Any], charts: Mapping[str, Any]) -> str:
    """Renders the page.

    Whatever comes from a sweep is text: the template escapes it, the numbers of the charts stand in a block of JSON
    that no `<` can end, and the browser is told to run the one script whose hash the page names.

    Args:
        words: What the template shows.
        charts: What the script draws; only what JSON knows.
    """
    environment = Environment(
        loader=FileSystemLoader(_ASSETS),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    script = "\n" + "\n".join(_asset(name) for name in _SCRIPTS)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return environment.get_template("page.html.jinja").render(
        **words,
        style=Markup(_asset("page.css")),  # noqa: S704 - our own file
        script=Markup(script),  # noqa: S704 - our own files
        digest=digest,
        document=Markup(as_json(charts)),  # noqa: S704 - escaped by as_json
    )


def as_json(document: Any) -> str:
    """JSON that is safe inside `<script>`: it can neither open nor close a tag or comment.

    Raises:
        ValueError: If a number is not finite: JSON has no word for it.
    """
    text = json.dumps(document, allow_nan=False, separators=(",", ":"))
    return text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")


def embed_png(picture: bytes) -> str:
    """A PNG as a data URI."""
    return f"data:image/png;base64,{base64.b64encode(picture).decode()}"


def _asset(name: str) -> str:
    return (_ASSETS / name).read_text(encoding="utf-8")
