"""The recipes that come with the console, for the desk and for the worker alike."""

from __future__ import annotations

import json
from functools import cache

from console.domain.recipes import Recipe, parse_recipe
from console.paths import resource


@cache
def shipped_recipes() -> dict[str, Recipe]:
    """By id, in the order of the ids."""
    files = sorted(resource("recipes").iterdir(), key=lambda file: file.name)
    read = [parse_recipe(json.loads(file.read_text(encoding="utf-8")), file.name) for file in files]
    return {recipe.id: recipe for recipe in read}
