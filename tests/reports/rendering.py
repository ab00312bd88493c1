"""Pages as pictures and as text, for tests and for review by eye."""

from __future__ import annotations

import pypdfium2
from PIL.Image import Image


def render_pages(pdf: bytes, *, scale: float = 1.5) -> list[Image]:
    """Every page as a picture; ``scale`` 1 is 72 dots an inch."""
    document = pypdfium2.PdfDocument(pdf)
    try:
        return [page.render(scale=scale).to_pil() for page in document]
    finally:
        document.close()


def page_texts(pdf: bytes) -> list[str]:
    """The text of every page, white space normalised."""
    document = pypdfium2.PdfDocument(pdf)
    try:
        return [" ".join(page.get_textpage().get_text_range().split()) for page in document]
    finally:
        document.close()
