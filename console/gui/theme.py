"""Colours, spacing and icons, all from the desk's own palette.

No widget names a colour. A status has a tone; the tone's colour is moved until it reads at 4.5:1 on the
palette's background (WCAG 2.2, 1.4.3), so that dark and high-contrast desks are not an afterthought.
"""

from __future__ import annotations

from functools import lru_cache

from PySide6.QtCore import QByteArray, QRectF, QSize, Qt
from PySide6.QtGui import QColor, QIcon, QPainter, QPalette, QPixmap
from PySide6.QtSvg import QSvgRenderer
from PySide6.QtWidgets import QWidget

from console.gui.tones import Tone
from console.paths import resource

GRID = 8
PADDING = 12
ROW = 28
READABLE = 4.5
_ICON_SIZES = (16, 24, 32, 48)
_PIXEL_RATIO = 2.0  # drawn at twice the size, so that a scaled screen gets sharp edges


_HUES = {Tone.INFO: "#1f6fb2", Tone.GOOD: "#1d7a46", Tone.WARN: "#9a5b00", Tone.BAD: "#b3261e"}


def is_dark(palette: QPalette) -> bool:
    """Whether the desk shows light text on dark ground."""
    return palette.window().color().lightness() < palette.windowText().color().lightness()


def _luminance(color: QColor) -> float:
    def linear(part: float) -> float:
        return part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4

    return 0.2126 * linear(color.redF()) + 0.7152 * linear(color.greenF()) + 0.0722 * linear(color.blueF())


def contrast(first: QColor, second: QColor) -> float:
    """Contrast ratio of two opaque colours, 1 to 21 (WCAG 2.2)."""
    lighter, darker = sorted((_luminance(first), _luminance(second)), reverse=True)
    return (lighter + 0.05) / (darker + 0.05)


def blend(color: QColor, other: QColor, share: float) -> QColor:
    """``color`` with ``share`` (0 to 1) of ``other`` mixed in."""
    return QColor.fromRgbF(
        *(own + (new - own) * share for own, new in zip(color.getRgbF()[:3], other.getRgbF()[:3], strict=True))
    )


def readable(color: QColor, ground: QColor, ratio: float = READABLE) -> QColor:
    """``color`` moved towards black or white until it reads on ``ground``."""
    end = QColor("white") if _luminance(ground) < 0.18 else QColor("black")
    for step in range(11):
        moved = blend(color, end, step / 10)
        if contrast(moved, ground) >= ratio:
            return moved
    return end


def tone_color(tone: Tone, palette: QPalette) -> QColor:
    """The colour of a status on the palette's base and window grounds."""
    ground = min((palette.base().color(), palette.window().color()), key=lambda color: contrast(color, _far(palette)))
    if tone is Tone.PLAIN:
        return palette.text().color()
    if tone is Tone.QUIET:
        return readable(blend(palette.text().color(), palette.base().color(), 0.4), ground)
    return readable(QColor(_HUES[tone]), ground)


def _far(palette: QPalette) -> QColor:
    """The end of the scale that text lies at."""
    return QColor("white") if is_dark(palette) else QColor("black")


def accent(palette: QPalette) -> QColor:
    """The desk's accent, moved until white or black text reads on it and it stands out from the ground."""
    return readable(palette.color(QPalette.ColorRole.Accent), palette.base().color())


def on_accent(palette: QPalette) -> QColor:
    """The text colour on the accent."""
    ground = accent(palette)
    return max((QColor("white"), QColor("black")), key=lambda color: contrast(color, ground))


def line_color(palette: QPalette) -> QColor:
    """Hairlines and card edges."""
    return blend(palette.window().color(), palette.windowText().color(), 0.18)


def edge_color(palette: QPalette) -> QColor:
    """Outline of a control, at 3:1 on its ground (WCAG 2.2, 1.4.11)."""
    return readable(blend(palette.base().color(), palette.text().color(), 0.3), palette.base().color(), 3.0)


def style_sheet(palette: QPalette) -> str:
    """The product's style sheet with this palette's colours filled in."""
    window, text = palette.window().color(), palette.windowText().color()
    strong = accent(palette)
    tokens = {
        "side": blend(window, text, 0.04),
        "line": line_color(palette),
        "edge": edge_color(palette),
        "tint": blend(palette.base().color(), strong, 0.10),
        "accent": strong,
        "accent-strong": blend(strong, _far(palette), 0.15),
        "on-accent": on_accent(palette),
        "focus": text,
        "disabled": blend(window, text, 0.12),
        "on-disabled": readable(blend(window, text, 0.5), blend(window, text, 0.12)),
    }
    sheet = resource("gui", "console.qss").read_text(encoding="utf-8")
    for name, color in tokens.items():
        sheet = sheet.replace(f"@{name}@", color.name())
    return sheet


def harmonise(palette: QPalette) -> QPalette:
    """The desk's palette with its accent also as the selection, so that there is one accent and it can be read."""
    tuned = QPalette(palette)
    strong = accent(palette)
    tuned.setColor(QPalette.ColorRole.Accent, strong)
    for group in (QPalette.ColorGroup.Active, QPalette.ColorGroup.Inactive):
        tuned.setColor(group, QPalette.ColorRole.Highlight, strong)
        tuned.setColor(group, QPalette.ColorRole.HighlightedText, on_accent(palette))
    return tuned


@lru_cache(maxsize=64)
def _drawing(name: str) -> str:
    return resource("gui", "icons", f"{name}.svg").read_text(encoding="utf-8")


@lru_cache(maxsize=512)
def _tinted(name: str, rgb: str, size: int) -> QPixmap:
    pixels = round(size * _PIXEL_RATIO)
    pixmap = QPixmap(pixels, pixels)
    pixmap.fill(Qt.GlobalColor.transparent)
    renderer = QSvgRenderer(QByteArray(_drawing(name).replace("currentColor", rgb).encode()))
    painter = QPainter(pixmap)
    renderer.render(painter, QRectF(0, 0, pixels, pixels))
    painter.end()
    pixmap.setDevicePixelRatio(_PIXEL_RATIO)
    return pixmap


def pixmap(name: str, color: QColor, size: int = 16) -> QPixmap:
    """The named drawing in one colour; ``size`` in device-independent pixels."""
    return _tinted(name, color.name(), size)


def icon(name: str, palette: QPalette, tone: Tone = Tone.PLAIN) -> QIcon:
    """The named drawing as an icon for this palette: normal, disabled and selected."""
    made = QIcon()
    disabled = blend(palette.window().color(), palette.windowText().color(), 0.4)
    colors = (
        (QIcon.Mode.Normal, tone_color(tone, palette)),
        (QIcon.Mode.Active, tone_color(tone, palette)),
        (QIcon.Mode.Disabled, disabled),
        (QIcon.Mode.Selected, palette.highlightedText().color()),
    )
    for mode, color in colors:
        for size in _ICON_SIZES:
            made.addPixmap(pixmap(name, color, size), mode)
    return made


def icon_size(widget: QWidget) -> QSize:
    """Size of an icon beside the widget's text, so that both grow together."""
    side = max(16, widget.fontMetrics().height())
    return QSize(side, side)


def forget_icons() -> None:
    """Drop the drawn pixmaps; they must not outlive the application object."""
    _tinted.cache_clear()
