"""What may be run by name: the installed methods, the console's recipes, and an office's own recipe from a file."""

from __future__ import annotations

from importlib.metadata import entry_points
from pathlib import Path

from console.casework.text_files import read_text_file
from console.domain.advice import AUTO, chosen_method
from console.domain.json_values import plain, read_whole
from console.domain.recipes import Recipe, parse_recipe, require_known
from console.errors import InputError
from console.recipe_files import shipped_recipes

_LARGEST = 64 * 2**10  # bytes
_METHODS = "erasure_console.methods"


def single_methods() -> frozenset[str]:
    """Ids of every method of this installation that is no recipe, third parties' too."""
    return frozenset(entry.name for entry in entry_points(group=_METHODS))


def runnable_recipes() -> dict[str, Recipe]:
    """The recipes that come with the console, by id; a method of another package keeps its name."""
    return {id: recipe for id, recipe in shipped_recipes().items() if id not in single_methods()}


def read_recipe(path: Path) -> Recipe:
    """An office's own recipe, from a JSON file.

    Raises:
        InputError: the file cannot be read, is no recipe, has a stage that is not installed, or is called as a method
            or as a recipe of the console is.
    """
    recipe = parse_recipe(plain(read_whole(read_text_file(path, largest=_LARGEST))), path.name)
    require_known(recipe, single_methods(), frozenset(shipped_recipes()))
    return recipe


def method_and_recipe(
    method: str, recipe: Recipe | None, *, has_snapshot: bool, architecture: str
) -> tuple[str, Recipe | None]:
    """What runs on a model of this architecture, by its id, and the whole recipe where it is one.

    Raises:
        InputError: no such method, or a method beside a recipe.
    """
    if recipe is None:
        method = chosen_method(method, has_snapshot, architecture)
        check_method(method)
        return method, runnable_recipes().get(method)
    if method != AUTO:
        raise InputError("Name a method or a recipe, not both.")
    return recipe.id, recipe


def installed_methods() -> tuple[str, ...]:
    """Ids of every method and recipe of this installation, third parties' too."""
    return tuple(sorted(single_methods() | runnable_recipes().keys()))


def check_method(method: str) -> None:
    """Refuse before anything is written what no worker could run.

    Raises:
        InputError: no such method.
    """
    known = installed_methods()
    if method not in known:
        raise InputError(f"There is no method '{method}'; known are {', '.join(known)}.")
