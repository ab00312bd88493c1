"""A recipe of the office's own through a case: recorded whole in the plan, told by stages, beside another run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from test_walk import granted, run
from typer.testing import CliRunner

from console.casework import cases
from console.casework.case_evidence import build_evidence
from console.casework.comparing import compare_runs, runs_json
from console.casework.office import Office
from console.casework.recipes import installed_methods, read_recipe, runnable_recipes
from console.casework.scanning import scan_erased
from console.cli import app
from console.domain.case_state import REQUESTS
from console.domain.events import PlanFixed
from console.domain.recipes import Recipe
from console.errors import InputError, NotPossibleError
from console.paths import Places

LORA = {"rank": 8, "alpha": 16}
OWN: dict[str, Any] = {
    "id": "our-way",
    "title": "Our way",
    "summary": "Pushes, then shakes a little.",
    "stages": [
        {"method": "npo", "settings": {"steps": 6, "learning_rate": 5e-3, "lora": LORA}},
        {"method": "weight-noise", "name": "shake", "settings": {"scale": 0.01}},
    ],
}


def written(folder: Path, value: Any) -> Path:
    path = folder / "ours.json"
    path.write_text(json.dumps(value), encoding="utf-8")
    return path


def test_an_own_recipe_is_recorded_whole_compared_and_looked_through(stocked: Office, tmp_path: Path) -> None:
    number = granted(stocked)
    with pytest.raises(NotPossibleError, match="Nothing was erased"):
        compare_runs(stocked, number)
    run(stocked, cases.locate(stocked, number, "taught"))
    recipe = read_recipe(written(tmp_path, OWN))
    with pytest.raises(InputError, match="not both"):
        run(stocked, cases.erase(stocked, number, "taught", "npo", recipe=recipe))
    made: Any = run(stocked, cases.erase(stocked, number, "taught", "auto", {"shake": {"scale": 0.001}}, recipe=recipe))
    plan = next(event for event in reversed(stocked.ledger.events(number)) if event.kind == PlanFixed.kind)
    assert Recipe.model_validate(plan.body["recipe"]).stages[1].name == "shake"
    assert plan.body["method"] == "our-way" and plan.body["config"] == {"shake": {"scale": "0.001"}}
    assert made.method == "our-way" and made.stop_reason.startswith("stage 1 (npo): ")
    run(stocked, cases.attack(stocked, number, made.artefact))

    method = build_evidence(stocked, number).method
    assert method is not None and [stage.name for stage in method.stages] == ["npo", "shake"]
    assert method.parameters["shake.scale"] == "0.001" and method.parameters["npo.steps"] == "6"

    state = stocked.ledger.projection(REQUESTS)[number]
    found = compare_runs(stocked, number)
    assert [one.artefact for one in found.runs] == [made.artefact] and found.runs[0].stages
    assert found.runs[0].word is not None and found.runs[0].word.value == state["verdict"]["word"]
    assert found.runs[0].kept is not None and found.runs[0].parent == "taught"
    scanned: Any = run(stocked, scan_erased(stocked, made.artefact))
    assert scanned.before == "taught" and scanned.value["changed"] and scanned.value["backdoor"] is not None
    with pytest.raises(NotPossibleError, match="No erasure made the model 'base'"):
        run(stocked, scan_erased(stocked, "base"))
    assert json.loads(json.dumps(runs_json(found)))["runs"][0]["verdict"] == state["verdict"]["word"]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"id": "npo"}, "as a method is"),
        ({"id": "push-and-distil"}, "as a recipe of the console is"),
        ({"stages": [{"method": "sorcery"}]}, "'sorcery', which is not installed"),
        ({"stages": []}, "'stages'"),
        ({"speed": 9}, "'speed'"),
    ],
)
def test_a_file_that_is_no_recipe_is_refused_in_a_sentence(tmp_path: Path, change: dict[str, Any], words: str) -> None:
    with pytest.raises(InputError, match=words):
        read_recipe(written(tmp_path, {**OWN, **change}))
    with pytest.raises(InputError, match="is no recipe"):
        read_recipe(written(tmp_path, [1]))


def test_the_commands_say_the_runs_and_refuse_a_bad_recipe_before_anything(tmp_path: Path) -> None:
    folder = tmp_path / "office"
    with Office.create(Places(data=folder, cache=tmp_path / "cache"), env={}) as office:
        number = granted(office)
        entries = office.ledger.head().size
    bad = written(tmp_path, {**OWN, "stages": []})
    erased = CliRunner().invoke(app, ["erase", number, "--model", "m", "--recipe", str(bad), "--data-dir", str(folder)])
    assert isinstance(erased.exception, InputError) and "'stages'" in str(erased.exception)
    compared = CliRunner().invoke(app, ["compare", number, "--data-dir", str(folder)])
    assert isinstance(compared.exception, NotPossibleError)
    with Office.open(Places(data=folder, cache=tmp_path / "cache"), env={}, read_only=True) as office:
        assert office.ledger.head().size == entries


def test_the_shipped_recipes_can_be_chosen() -> None:
    assert set(runnable_recipes()) <= set(installed_methods())
