"""The methods that this installation knows: other packages add theirs as entry points, and recipes are made of them."""

from __future__ import annotations

from importlib.metadata import entry_points

from console.domain.recipes import Recipe
from console.errors import InputError
from console.methods.protocol import Method
from console.methods.recipe import RecipeMethod
from console.recipe_files import shipped_recipes

GROUP = "erasure_console.methods"


def single_methods() -> dict[str, Method]:
    """All methods by id that are no recipes, in the order of their entry points' names."""
    return {entry.name: entry.load()() for entry in sorted(entry_points(group=GROUP), key=lambda entry: entry.name)}


def available() -> dict[str, Method]:
    """All methods by id, the recipes that come with the console last."""
    single = single_methods()
    return {**single, **{id: RecipeMethod(recipe, single) for id, recipe in shipped_recipes().items()}}


def recipe_method(recipe: Recipe) -> Method:
    """An office's own recipe as a method.

    Raises:
        InputError: a method that is not known, that can be no stage, or settings that it does not take.
    """
    return RecipeMethod(recipe, single_methods())


def method_named(method_id: str) -> Method:
    """One method.

    Raises:
        InputError: an unknown id.
    """
    known = available()
    if method_id not in known:
        raise InputError(f"There is no method '{method_id}'; known are {', '.join(known)}.")
    return known[method_id]
