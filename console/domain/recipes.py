"""A recipe: methods that run one after the other on one model, with one plan, one governor and one entry in the report.

A recipe is data. The console ships some; an office may write its own as a JSON file of the same form:

    {"id": "our-way", "title": "…", "summary": "….",
     "stages": [{"method": "graddiff-kl", "settings": {"steps": 8}}, {"method": "task-vector"}]}

A stage is called by its ``name``, which is its method's id where none is given. The plan and the run's record hold a
recipe whole, so that what was done can be told from the record alone, whatever a later version ships.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from console.domain.visible import quoted, visible
from console.errors import InputError

MOST_STAGES = 8
RESERVED = frozenset({"governor", "seed"})  # settings of the whole recipe, beside those of its stages
_NAME = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


def _plain_name(value: str) -> str:
    if len(value) > 40 or not _NAME.fullmatch(value):
        raise ValueError("must be small letters and digits, with single hyphens between them, at most 40")
    return value


class RecipeStage(_Frozen):
    """One method with the settings that it gets here.

    Attributes:
        name: how the stage is called in settings and in the report.
        title: what it does, in an officer's words; may be left out.
        settings: only those that differ from the method's own.
    """

    method: str
    name: str = ""
    title: str = Field(default="", max_length=120)
    settings: dict[str, Any] = {}

    @model_validator(mode="before")
    @classmethod
    def _named(cls, value: Any) -> Any:
        if isinstance(value, Mapping) and not value.get("name"):
            return {**value, "name": value.get("method", "")}
        return value

    @field_validator("name", "method")
    @classmethod
    def _plain(cls, value: str) -> str:
        return _plain_name(value)


class Recipe(_Frozen):
    """Stages in their order.

    Attributes:
        id: how it is called where a method is named.
        title, summary: in an officer's words.
    """

    id: str
    title: str = Field(min_length=1, max_length=70)
    summary: str = Field(min_length=1, max_length=320)
    stages: tuple[RecipeStage, ...] = Field(min_length=1, max_length=MOST_STAGES)

    @field_validator("id")
    @classmethod
    def _plain(cls, value: str) -> str:
        return _plain_name(value)

    @field_validator("stages")
    @classmethod
    def _apart(cls, stages: tuple[RecipeStage, ...]) -> tuple[RecipeStage, ...]:
        names = [stage.name for stage in stages]
        taken = [name for name in names if name in RESERVED]
        twice = [name for name, times in Counter(names).items() if times > 1]
        if taken:
            raise ValueError(f"no stage can be called '{taken[0]}'; give it another name")
        if twice:
            raise ValueError(f"two stages are called '{twice[0]}'; give each a name of its own")
        return stages

    @property
    def texts(self) -> tuple[str, ...]:
        """Everything that somebody wrote into it."""
        stages = [
            text
            for stage in self.stages
            for text in (stage.name, stage.title, json.dumps(stage.settings, ensure_ascii=False))
        ]
        return (self.id, self.title, self.summary, *stages)

    @property
    def body(self) -> dict[str, Any]:
        """The whole recipe as data."""
        return self.model_dump(mode="json")


def parse_recipe(value: Any, source: str) -> Recipe:
    """A recipe from the value of a JSON file.

    Args:
        source: the file's name, for the sentence.

    Raises:
        InputError: it is no recipe; the sentence says what is wrong where.
    """
    if not isinstance(value, Mapping):
        raise InputError(f"{visible(source)} is no recipe: it must be one JSON object with id, title, summary, stages.")
    try:
        return Recipe.model_validate(value)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"]) or "the file"
        reason = str(first["msg"]).removeprefix("Value error, ")
        raise InputError(f"{visible(source)} is no recipe: {quoted(place)}: {visible(reason)}.") from error


def require_known(recipe: Recipe, methods: frozenset[str], shipped: frozenset[str]) -> None:
    """Refuse an office's recipe with a stage that this installation cannot run, or with a name that means another.

    Args:
        shipped: ids of the console's own recipes.

    Raises:
        InputError: the sentence names the method or the id.
    """
    if recipe.id in methods | shipped:
        kind = "a method" if recipe.id in methods else "a recipe of the console"
        raise InputError(f"The recipe is called '{recipe.id}', as {kind} is; give it an id of its own.")
    unknown = [stage.method for stage in recipe.stages if stage.method not in methods]
    if unknown:
        raise InputError(
            f"The recipe '{recipe.id}' has a stage of the method '{unknown[0]}', which is not installed; known are "
            f"{', '.join(sorted(methods))}."
        )
