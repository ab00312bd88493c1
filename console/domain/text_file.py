"""The one door for text that people bring: bytes in; text, encoding and the true cause of a refusal out.

Every importer reads through here. The encoding is told by its mark, by the zero bytes of UTF-16, or because the bytes
are UTF-8; what is none of these is guessed by charset-normalizer, and a guess is called one, because a name read in
the wrong encoding is a name that no search finds. What cannot be decoded costs its row and not the file: it stands in
the text as a lone surrogate (PEP 383), which no valid file can hold.
"""

from __future__ import annotations

import codecs
import re
from dataclasses import dataclass

from charset_normalizer import from_bytes

from console.domain.alphabets import LATIN, likeliest_latin, telling_word
from console.domain.visible import quoted
from console.errors import InputError

LARGEST_FILE = 64 * 2**20  # bytes; facts and benchmark rows are far smaller
LONGEST_TEXT = 1_000_000  # characters of one field; longer ones are damaged files
CUT = "\udfff"  # stands where a file ends inside a character

# What people choose from, by the name that Python knows.
ENCODINGS: dict[str, str] = {
    "utf-8": "UTF-8",
    "utf-16": "UTF-16",
    "utf-16-le": "UTF-16 little-endian",
    "utf-16-be": "UTF-16 big-endian",
    "utf-32": "UTF-32",
    "cp1252": "Windows-1252 (Western Europe)",
    "cp1250": "Windows-1250 (Central Europe)",
    "cp1251": "Windows-1251 (Cyrillic)",
    "cp1253": "Windows-1253 (Greek)",
    "cp1254": "Windows-1254 (Turkish)",
    "cp1255": "Windows-1255 (Hebrew)",
    "cp1256": "Windows-1256 (Arabic)",
    "cp1257": "Windows-1257 (Baltic)",
    "cp1258": "Windows-1258 (Vietnamese)",
    "iso8859-1": "ISO 8859-1 (Latin-1)",
    "iso8859-2": "ISO 8859-2 (Latin-2)",
    "iso8859-5": "ISO 8859-5 (Cyrillic)",
    "iso8859-7": "ISO 8859-7 (Greek)",
    "iso8859-15": "ISO 8859-15 (Latin-9)",
    "cp850": "DOS 850 (Western Europe)",
    "cp852": "DOS 852 (Central Europe)",
    "cp866": "DOS 866 (Cyrillic)",
    "mac-roman": "Mac Roman",
    "koi8-r": "KOI8-R (Russian)",
    "koi8-u": "KOI8-U (Ukrainian)",
    "cp932": "Shift JIS (Japanese)",
    "euc_jp": "EUC-JP (Japanese)",
    "gb18030": "GB 18030 (Chinese)",
    "big5": "Big5 (Chinese)",
    "cp949": "EUC-KR (Korean)",
}
# Encodings that another one holds whole; a byte-order mark is taken off in any case.
_HELD_BY = {
    "utf-8-sig": "utf-8",
    "ascii": "utf-8",
    "shift_jis": "cp932",
    "gb2312": "gb18030",
    "gbk": "gb18030",
    "euc_kr": "cp949",
    "iso8859-9": "cp1254",
}
_UNICODE = frozenset({"utf-8", "utf-16", "utf-16-le", "utf-16-be", "utf-32"})
# A guess is made among these; the ISO forms add nothing that their Windows forms do not hold.
_GUESSED = [name for name in ENCODINGS if name not in _UNICODE and not name.startswith("iso")]
_SAMPLE = 64 * 1024  # bytes of the telling lines; a guess over more is slow and no better

# Files that are no text, by how they begin: what they are and what to do.
_SIGNATURES: tuple[tuple[bytes, str], ...] = (
    (b"\x1f\x8b", "is packed with gzip: unpack it first"),
    (b"BZh", "is packed with bzip2: unpack it first"),
    (b"\xfd7zXZ\0", "is packed with xz: unpack it first"),
    (b"\x28\xb5\x2f\xfd", "is packed with zstd: unpack it first"),
    (b"7z\xbc\xaf\x27\x1c", "is a 7-Zip archive: unpack it first"),
    (b"Rar!", "is a RAR archive: unpack it first"),
    (b"\xd0\xcf\x11\xe0", "is an old Office document (such as .xls): save it as 'CSV UTF-8' there"),
    (b"{\\rtf", "is a word processor's document: save it as plain text or CSV"),
    (b"%PDF", "is a PDF: choose the table or list that it was made from"),
    (b"\x89PNG", "is a picture: choose a file of text"),
    (b"\xff\xd8\xff", "is a picture: choose a file of text"),
    (b"SQLite format 3\0", "is a database: export the table as CSV"),
    (b"PAR1", "is a Parquet file: export it as CSV or JSON lines"),
    (b"GGUF", "is a model and not a file of text: choose the table or list"),
    (b"version https://git-lfs", "is only a pointer to a file in Git LFS: fetch the file itself with 'git lfs pull'"),
)
_ZIP = b"PK\x03\x04"
_WEB_PAGE = re.compile(r"\s*(?:<!--.*?-->\s*)*<(?:!doctype\s+html|html|head|body|script)\b", re.IGNORECASE | re.DOTALL)
_LONE = re.compile("[\ud800-\udfff]")


@dataclass(frozen=True)
class TextFile:
    """A file as text.

    Attributes:
        name: what it is called, quoted and escaped for a sentence.
        ending: how its name ends, in small letters, such as ``.csv``.
        text: without a byte-order mark; bytes that are no text are lone surrogates.
        encoding: in words.
        is_guess: the encoding was guessed, and names with accents must be looked at.
        is_cut: the file ends inside a character, which :data:`CUT` stands for.
    """

    name: str
    ending: str
    text: str
    encoding: str
    is_guess: bool = False
    is_cut: bool = False

    @property
    def reading(self) -> str:
        """How it was read, in words."""
        return f"{self.encoding} (a guess)" if self.is_guess else self.encoding

    @property
    def caution(self) -> str:
        """What the reader of a guess should do; empty where nothing was guessed."""
        if not self.is_guess:
            return ""
        word = telling_word(self.text)
        sample = f", for instance {quoted(word)}" if word else ""
        return (
            f"The file does not say how its letters are stored; it was read as {self.encoding}, which is a guess. Look "
            f"at names with accents{sample}, and choose another encoding if they are wrong."
        )

    def broken_text(self, text: str, what: str) -> str | None:
        """Why a part of this file is not text, as a sentence; None where it is.

        Args:
            what: what the part is called, such as ``The answer``.
        """
        if not _LONE.search(text):
            return None
        if self.is_cut and CUT in text:
            return "The file ends in the middle of a character: it was cut off, and more may be missing. Copy it again."
        return f"{what} holds bytes that are not {self.encoding}: save the whole file again as UTF-8."


def open_text(data: bytes, file_name: str, encoding: str | None = None) -> TextFile:
    """The text of a file.

    Args:
        file_name: the last part of its path.
        encoding: what the person chose, see :func:`encoding_named`; found out where it is None.

    Raises:
        InputError: the file is empty, too large, or no text; the sentence names the file and the cause.
    """
    name = quoted(file_name)
    if len(data) > LARGEST_FILE:
        raise too_large(file_name, LARGEST_FILE)
    if not data:
        raise InputError(f"The file {name} is empty (0 bytes): choose a file with at least one row.")
    if (kind := _no_text(data)) is not None:
        raise InputError(f"The file {name} {kind}.")
    chosen = None if encoding is None else encoding_named(encoding)
    used, is_guess = (chosen, False) if chosen is not None else _encoding_of(data)
    try:
        text, is_cut = _decoded(data, used)
    except UnicodeDecodeError as error:  # of UTF-32 and of a chosen encoding; the others give lone surrogates
        raise InputError(
            f"The file {name} is not text in {ENCODINGS[used]}: choose another encoding, or save it again as UTF-8."
        ) from error
    text = text.removeprefix("\ufeff")
    if not text.strip().strip("\0"):
        raise InputError(f"The file {name} is empty but for blanks: choose a file with at least one row.")
    if "\0" in text or (is_cut and len(text) == 1):
        raise InputError(f"The file {name} is not text: if a spreadsheet made it, save it again as 'CSV UTF-8'.")
    if _WEB_PAGE.match(text[:4096]):
        raise InputError(
            f"The file {name} is a web page and no table: it was probably saved in place of the file, for instance a "
            "page to sign in. Download the file again."
        )
    if text[:100].lstrip().startswith("<?xml"):
        raise InputError(f"The file {name} is XML: save it as CSV or JSON lines.")
    ending = re.search(r"\.[^.]*\Z", file_name)
    return TextFile(name, ending[0].lower() if ending else "", text, ENCODINGS[used], is_guess, is_cut)


def encoding_named(name: str) -> str:
    """The encoding that a person named, in any of its usual spellings.

    Raises:
        InputError: no encoding of text has this name.
    """
    try:
        wanted = codecs.lookup(name).name
    except (LookupError, ValueError):  # ValueError: a name with a zero byte
        wanted = ""
    wanted = _HELD_BY.get(wanted, wanted)
    for known in ENCODINGS:
        if codecs.lookup(known).name == wanted:
            return known
    raise InputError(f"There is no encoding {quoted(name)}; use one of {', '.join(ENCODINGS)}, or none to find it out.")


def too_large(file_name: str, largest: int) -> InputError:
    """The refusal of a file of more than ``largest`` bytes."""
    return InputError(f"The file {quoted(file_name)} is larger than {largest // 2**20} MB: cut it into several files.")


def _no_text(data: bytes) -> str | None:
    """What a file is that holds no text, and what to do."""
    if data.startswith(_ZIP):
        head = data[:8192] + data[-8192:]
        if b"xl/" in head:
            return "is an Excel workbook: save it as 'CSV UTF-8' there"
        if b"opendocument.spreadsheet" in head:
            return "is a LibreOffice spreadsheet: save it as CSV in UTF-8 there"
        if b"word/" in head or b"opendocument.text" in head:
            return "is a word processor's document: save the table as CSV"
        return "is a zip archive: unpack it first"
    return next((what for start, what in _SIGNATURES if data.startswith(start)), None)


def _encoding_of(data: bytes) -> tuple[str, bool]:
    """The encoding of a file, and whether it is a guess."""
    if data.startswith((codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE)):
        return "utf-32", False
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return "utf-16", False
    if data.startswith(codecs.BOM_UTF8):
        return "utf-8", False
    start = data[:4096]
    even, odd = start[0::2].count(0), start[1::2].count(0)
    # Blanks, digits, separators and line ends of any script have a zero byte, always on the same side.
    if max(even, odd) >= max(2, len(start) / 16) and min(even, odd) * 8 <= max(even, odd):
        return ("utf-16-be" if even > odd else "utf-16-le"), False
    valid, broken = _telling_lines(data)
    if len(valid) >= len(broken):
        return "utf-8", False
    sample = b"\n".join([*broken, *valid])[:_SAMPLE]
    found = from_bytes(sample, cp_isolation=_GUESSED).best()
    names = ["cp1252"] if found is None else [found.encoding, *found.could_be_from_charset]
    # Several encodings can give the same letters; then the usual one is named.
    guess = encoding_named("cp1252" if "cp1252" in names else names[0])
    return (likeliest_latin(sample, guess) if guess in LATIN else guess), True


def _telling_lines(data: bytes) -> tuple[list[bytes], list[bytes]]:
    """The lines with bytes beyond ASCII: those that are UTF-8, and those that are not.

    Letters of another encoding are hardly ever UTF-8 by accident, so the larger part tells. A file that ends inside
    a character is as good as its beginning.
    """
    if data.isascii():
        return [], []
    valid, broken = [], []
    for line in _whole_characters(data).split(b"\n"):
        if line.isascii():
            continue
        try:
            line.decode("utf-8")
        except UnicodeDecodeError:
            broken.append(line)
        else:
            valid.append(line)
    return valid, broken


def _whole_characters(data: bytes) -> bytes:
    """The bytes without the beginning of a UTF-8 character at their end."""
    for back in range(1, min(3, len(data)) + 1):
        byte = data[-back]
        if byte >= 0xC0:  # begins a character of 2 to 4 bytes
            width = 2 if byte < 0xE0 else 3 if byte < 0xF0 else 4
            return data[:-back] if width > back and byte < 0xF8 else data
        if byte < 0x80:
            break
    return data


def _decoded(data: bytes, encoding: str) -> tuple[str, bool]:
    """The text, and whether it ends inside a character."""
    width = {"utf-16": 2, "utf-16-le": 2, "utf-16-be": 2, "utf-32": 4}.get(encoding, 1)
    whole = data[: len(data) - len(data) % width] if width > 1 else data
    if encoding == "utf-8":
        whole = _whole_characters(data)
    # Halves of a character in UTF-16 and bytes that are no UTF-8 both become lone surrogates.
    text = whole.decode(encoding, {2: "surrogatepass", 4: "strict"}.get(width, "surrogateescape"))
    is_cut = len(whole) < len(data)
    if width == 2 and text and "\ud800" <= text[-1] <= "\udbff":
        text, is_cut = text[:-1], True
    return (text + CUT if is_cut else text), is_cut
