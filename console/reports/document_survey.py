"""What a PDF holds besides pages: what acts, what is attached, what can be filled in; and whether it is bounded.

Every object of the file is looked at, also those that no page refers to: a report has none of what is named here, so
that nothing has to be proved about when it would run. Names of actions and annotations: ISO 32000-1, 12.5.6 and 12.6.4.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pikepdf

from console.domain.visible import quoted
from console.errors import InputError
from console.reports import pdf_limits
from console.reports.encoding import EVIDENCE_NAME
from console.reports.pdf_limits import beyond

_KEYS = {
    "/OpenAction": "an action on opening (OpenAction)",
    "/AA": "actions on events (AA)",
    "/JS": "a script (JavaScript)",
    "/JavaScript": "a script (JavaScript)",
    "/XFA": "a form of its own (XFA)",
    "/RichMediaContent": "media that plays (RichMedia)",
}
_ACTIONS = {
    "/JavaScript": "a script (JavaScript)",
    "/Launch": "a program to start (Launch)",
    "/URI": "a link to the network (URI)",
    "/SubmitForm": "a form that is sent away (SubmitForm)",
    "/ImportData": "data to import (ImportData)",
    "/GoToR": "a link to another file (GoToR)",
    "/GoToE": "a link into an attached file (GoToE)",
    "/Rendition": "media that plays (Rendition)",
    "/Movie": "media that plays (Movie)",
    "/Sound": "media that plays (Sound)",
    "/RichMediaExecute": "media that plays (RichMedia)",
    "/Hide": "an action that hides (Hide)",
    "/ResetForm": "an action that empties a form (ResetForm)",
    "/SetOCGState": "an action that changes what is seen (SetOCGState)",
}
_ANNOTATIONS = {
    "/FileAttachment": "an attached file (FileAttachment)",
    "/Movie": "media that plays (Movie)",
    "/Sound": "media that plays (Sound)",
    "/Screen": "media that plays (Screen)",
    "/RichMedia": "media that plays (RichMedia)",
    "/3D": "a three-dimensional scene (3D)",
}


class DamagedError(Exception):
    """No PDF reader can open the file."""


@dataclass(frozen=True)
class Survey:
    """What was found: phrases for a person, and names of fields that can be filled in (foreign text)."""

    active: tuple[str, ...]
    open_fields: tuple[str, ...]


def survey(data: bytes) -> Survey:
    """Look at every object of a PDF that :func:`pdf_limits.check_limits` let pass.

    Raises:
        InputError: encrypted, or beyond a limit.
        DamagedError: it cannot be opened.
    """
    pdf_limits.check_inflated(data)
    try:
        # Pages would take over what they inherit at once, all of them, before anybody has counted them.
        document = pikepdf.open(io.BytesIO(data), suppress_warnings=True, inherit_page_attributes=False)
    except pikepdf.PasswordError as error:
        raise _encrypted() from error
    except (pikepdf.PdfError, ValueError, RuntimeError) as error:
        raise DamagedError from error
    with document:
        if document.is_encrypted:
            raise _encrypted()
        _check_pages(document)
        if len(document.objects) > pdf_limits.MOST_OBJECTS:
            raise beyond(f"has more than {pdf_limits.MOST_OBJECTS} objects")
        return _look(document)


def _encrypted() -> InputError:
    return InputError("The PDF is encrypted, and no report of a console is; ask for the file as it was signed.")


def _leaves(document: pikepdf.Pdf) -> Iterator[Any]:
    """The page entries of the tree, each as often as it stands there."""
    waiting, passed = [document.Root.get("/Pages")], 0
    while waiting:
        node = waiting.pop()
        passed += 1
        if passed > 2 * pdf_limits.MOST_PAGES:  # also ends a tree that bites its tail
            raise beyond(f"has more than {pdf_limits.MOST_PAGES} pages")
        if not isinstance(node, pikepdf.Dictionary):
            continue
        children = node.get("/Kids")
        if not isinstance(children, pikepdf.Array):
            yield node
        elif len(children) > pdf_limits.MOST_PAGES:
            raise beyond(f"has more than {pdf_limits.MOST_PAGES} pages")
        else:
            waiting.extend(list(children))


def _check_pages(document: pikepdf.Pdf) -> None:
    """The instructions of all pages; what many pages share counts for each of them, as a reader runs it each time."""
    sizes: dict[tuple[int, int], int] = {}
    total = 0
    for page in _leaves(document):
        contents = page.get("/Contents")
        for part in contents if isinstance(contents, pikepdf.Array) else (contents,):
            if not isinstance(part, pikepdf.Stream):
                continue
            if part.objgen not in sizes:
                sizes[part.objgen] = _size(part)
            total += sizes[part.objgen]
            if total > pdf_limits.LARGEST_PAGES:
                raise beyond(f"has pages of more than {pdf_limits.LARGEST_PAGES // pdf_limits.MIB} MB of instructions")


def _size(stream: pikepdf.Stream) -> int:
    """Unpacked size of a stream; safe for one layer of Flate, whose sum was bounded before."""
    filters = stream.stream_dict.get("/Filter")
    if isinstance(filters, pikepdf.Array):
        filters = filters[0] if len(filters) == 1 else None if len(filters) == 0 else pikepdf.Name.Several
    if filters is not None and filters != pikepdf.Name.FlateDecode:
        raise beyond("has pages that are packed in an unusual way")
    try:
        return len(stream.read_bytes())
    except pikepdf.PdfError:
        return len(stream.read_raw_bytes())


def _dictionaries(document: pikepdf.Pdf) -> Iterator[Any]:
    """Every dictionary in every object, without following references: what they point to comes by itself."""
    passed = 0
    for top in document.objects:
        waiting = [(top, 0)]
        while waiting:
            value, depth = waiting.pop()
            passed += 1
            if passed > pdf_limits.MOST_NODES:
                raise beyond(f"has more than {pdf_limits.MOST_NODES} values")
            if depth > pdf_limits.DEEPEST:
                raise beyond(f"nests its values deeper than {pdf_limits.DEEPEST}")
            if isinstance(value, pikepdf.Stream):
                value = value.stream_dict
            if isinstance(value, pikepdf.Dictionary):
                yield value
                inside = list(value.values())
            elif isinstance(value, pikepdf.Array):
                if len(value) > pdf_limits.MOST_NODES:
                    raise beyond(f"has more than {pdf_limits.MOST_NODES} values")
                inside = list(value)
            else:
                continue
            waiting += [
                (child, depth + 1) for child in inside if isinstance(child, pikepdf.Object) and not child.is_indirect
            ]


def _look(document: pikepdf.Pdf) -> Survey:
    active: list[str] = []
    fields: list[str] = []
    attached: list[str] = []
    for entry in _dictionaries(document):
        active += _acting(entry)
        if "/EF" in entry:
            attached.append(str(entry.get("/UF", entry.get("/F", ""))))
        if "/FT" in entry and entry.get("/FT") != pikepdf.Name.Sig:
            fields.append(str(entry.get("/T", "")))
    if EVIDENCE_NAME in attached:
        attached.remove(EVIDENCE_NAME)
    active += [f"an attached file, {quoted(name)}" for name in attached]
    return Survey(tuple(dict.fromkeys(active)), tuple(dict.fromkeys(fields)))


def _acting(entry: Any) -> Iterator[str]:
    for key, phrase in _KEYS.items():
        # An opening view (an array) moves the page and does no more.
        if key in entry and not (key == "/OpenAction" and isinstance(entry[key], pikepdf.Array)):
            yield phrase
    for key, phrases in (("/S", _ACTIONS), ("/Subtype", _ANNOTATIONS)):
        value = entry.get(key)
        if isinstance(value, pikepdf.Name) and str(value) in phrases:
            yield phrases[str(value)]
