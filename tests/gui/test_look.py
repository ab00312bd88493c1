"""Colours that can be read, icons that follow the palette, no colour of a widget's own."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from PySide6.QtGui import QColor, QPalette
from PySide6.QtWidgets import QApplication

import console.gui
from console.gui.theme import accent, contrast, edge_color, harmonise, icon, on_accent, style_sheet, tone_color
from console.gui.tones import Tone

pytestmark = pytest.mark.gui
GUI = Path(console.gui.__file__).parent
ICONS = GUI.parent.parent / "resources" / "gui" / "icons"


def palette(window: str, base: str, own_accent: str) -> QPalette:
    made = QPalette(QColor(window), QColor(window))
    made.setColor(QPalette.ColorRole.Base, QColor(base))
    made.setColor(QPalette.ColorRole.Accent, QColor(own_accent))
    return made


PALETTES = {
    "light": palette("#efefef", "#ffffff", "#308cc6"),
    "dark": palette("#2b2b2b", "#202020", "#1f4e79"),
    "high contrast": palette("#000000", "#000000", "#ffff00"),
    "pale accent": palette("#fafafa", "#ffffff", "#f5d76e"),
}


@pytest.mark.parametrize("name", PALETTES)
@pytest.mark.parametrize("tone", Tone)
def test_every_tone_reads_on_every_ground(name: str, tone: Tone, qapp: QApplication) -> None:
    desk = PALETTES[name]
    for ground in (desk.base().color(), desk.window().color()):
        assert contrast(tone_color(tone, desk), ground) >= 4.5


@pytest.mark.parametrize("name", PALETTES)
def test_accent_carries_text_and_controls_have_an_edge(name: str) -> None:
    desk = PALETTES[name]
    assert contrast(accent(desk), on_accent(desk)) >= 4.5
    assert contrast(edge_color(desk), desk.base().color()) >= 3.0
    tuned = harmonise(desk)
    assert contrast(tuned.highlight().color(), tuned.highlightedText().color()) >= 4.5


def test_contrast_is_that_of_wcag() -> None:
    assert contrast(QColor("black"), QColor("white")) == pytest.approx(21)
    assert contrast(QColor("#777777"), QColor("white")) == pytest.approx(4.48, abs=0.01)


@pytest.mark.parametrize("name", PALETTES)
def test_style_sheet_has_no_token_left(name: str) -> None:
    rules = re.sub(r"/\*.*?\*/", "", style_sheet(PALETTES[name]), flags=re.DOTALL)
    assert "@" not in rules and "#sideBar" in rules


@pytest.mark.parametrize("path", sorted(ICONS.glob("*.svg")), ids=lambda path: path.stem)
def test_icon_is_drawn_in_the_palettes_colour(path: Path, qapp: QApplication) -> None:
    drawn = icon(path.stem, PALETTES["dark"]).pixmap(32, 32).toImage()
    inked = [drawn.pixelColor(x, y) for x in range(drawn.width()) for y in range(drawn.height())]
    strong = [color for color in inked if color.alpha() > 250]
    assert strong, "nothing is drawn"
    assert all(color.lightness() > 200 for color in strong), "light ink on a dark desk"


def test_icons_that_are_named_exist() -> None:
    text = "".join(path.read_text(encoding="utf-8") for path in GUI.glob("*.py"))
    named = set(re.findall(r'(?:IconMark|show_mark|pixmap|Mark|icon)\("([a-z-]+)"', text))
    assert named and named <= {path.stem for path in ICONS.glob("*.svg")}


def test_no_widget_names_a_colour() -> None:
    for path in GUI.glob("*.py"):
        if path.name != "theme.py":
            assert not re.search(r'"#[0-9a-fA-F]{3,8}"|GlobalColor\.(?!transparent)', path.read_text("utf-8")), (
                path.name
            )


def test_open_window_follows_a_change_of_palette(window, qapp: QApplication) -> None:
    before = qapp.palette()
    try:
        qapp.setPalette(PALETTES["dark"])
        qapp.processEvents()
        assert accent(PALETTES["dark"]).name() in qapp.styleSheet()
        shot = window.registry.action("request.new").icon().pixmap(16, 16).toImage()
        inked = [shot.pixelColor(x, y) for x in range(shot.width()) for y in range(shot.height())]
        assert max(color.lightness() for color in inked if color.alpha() > 200) > 200
    finally:
        qapp.setPalette(before)
        qapp.processEvents()
