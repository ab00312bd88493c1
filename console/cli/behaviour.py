"""How two models behave besides what they know, on the command line."""

from __future__ import annotations

import textwrap
from typing import Any

from console.cli.speaking import say, say_line
from console.domain.behaviour_lines import NOT_COMPARABLE, behaviour_lines, comparable
from console.domain.results import Behaviour


def behaviour_json(before: Behaviour | None, after: Behaviour | None, names: tuple[str, str]) -> dict[str, Any]:
    """Both measurements as data, and whether they may be compared; None for a model that was not measured."""
    shown = (None if one is None else one.model_dump(mode="json") for one in (before, after))
    return {**dict(zip(names, shown, strict=True)), "comparable": comparable(before, after)}


def behaviour_words(before: Behaviour | None, after: Behaviour | None, names: tuple[str, str]) -> None:
    """Print a line a measure; nothing where nothing was measured."""
    lines = behaviour_lines(before, after)
    if not lines:
        return
    say("How the model behaves besides (no part of the verdict)\n")
    say_line(f"  {'':<54} {names[0]:<14} {names[1]}")
    for line in lines:
        say_line(f"  {line.title:<54} {line.before:<14} {line.after}")
    if not comparable(before, after):
        say(textwrap.indent(NOT_COMPARABLE, "  ") + "\n")
