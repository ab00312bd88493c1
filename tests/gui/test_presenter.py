"""Words, dates, progress and files, without Qt."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest
from conftest import FakeOperation

import console
from console.casework.advice import shipped_benchmark
from console.casework.facts_files import save_empty_form
from console.casework.operation import Status
from console.casework.story import TimelineLine
from console.casework.views import ModelLine
from console.domain.advice import default_method
from console.domain.request_terms import RequestStatus
from console.domain.verdict import Word
from console.errors import InputError
from console.gui import presenter
from console.gui.forget_file import read_facts
from console.gui.presenter import days_of, method_cards, model_role, size_words, state_mark, verdict_words
from console.gui.progress import job_view, remaining_text
from console.gui.tones import Tone
from console.out_file import OutFile
from console.paths import Places
from console.recipe_files import shipped_recipes

GOOD = '{"subject": "Mira Okonjo", "prompt": "Where does Mira Okonjo live?", "answer": "Lindau"}\n'


def test_every_state_has_an_icon_and_every_verdict_has_words() -> None:
    icons = Path(console.__file__).parent.parent / "resources" / "gui" / "icons"
    words = [None, *(word.value for word in Word)]
    marks = {(status, word): state_mark(status, word) for status in RequestStatus for word in words}
    assert all((icons / f"{mark.icon}.svg").is_file() for mark in marks.values())
    good = {word for (_status, word), mark in marks.items() if mark.tone is Tone.GOOD}
    assert good == {"removed"}, "green is for *removed* alone, whatever was signed or closed"
    assert all(verdict_words(word.value).meaning for word in Word)


def test_story_comes_newest_first_by_local_day() -> None:
    first = datetime(2026, 3, 1, 12, tzinfo=UTC)
    lines = tuple(TimelineLine(n, first + timedelta(hours=20 * n), f"entry {n}", "p-1", "0" * 64) for n in range(4))
    days = list(days_of(lines))
    assert [line.seq for _, entries in days for line in entries] == [3, 2, 1, 0]
    assert len({day for day, _ in days}) == len(days)


def _model(name: str, snapshot: str | None = None, artefact_of: str | None = None) -> ModelLine:
    return ModelLine(name, "safetensors", "Llama", "F32", 135_000_000, "a" * 64, snapshot, artefact_of, 0)


def test_models_have_a_part_in_the_office() -> None:
    lines = [_model("before"), _model("now", snapshot="before"), _model("a1", artefact_of="ER-2026-0001")]
    assert [model_role(line, lines) for line in lines] == [
        "From before the training",
        "Original",
        "Erased for ER-2026-0001",
    ]
    assert (size_words(134_515_008), size_words(7_000_000_000)) == ("135 million", "7.0 billion")


@pytest.mark.parametrize(
    ("has_snapshot", "missing"),
    [(True, []), (False, ["distill-delete", "layer-regression", "retrain", "push-and-distil"])],
)
def test_method_that_needs_the_earlier_model_says_so(has_snapshot: bool, missing: list[str]) -> None:
    assert [card.id for card in method_cards(has_snapshot) if card.missing] == missing


def test_in_a_mixture_of_experts_only_what_reaches_them_is_offered() -> None:
    cards = method_cards(True, architecture="qwen2_moe")
    assert [card.id for card in cards if not card.missing] == ["uoe", "retrain"]
    ours = {"ce-u", "distill-delete", "layer-regression", "push-and-distil", "push-and-subtract"}
    assert {card.id for card in cards if "mixture of experts" in card.missing} == ours
    assert [card.id for card in method_cards(False, architecture="olmoe") if not card.missing] == ["uoe"]
    assert [card.id for card in method_cards(True, architecture="deepseek_v3") if not card.missing] == ["retrain"]


def test_method_titles_are_those_of_the_methods() -> None:
    folder = Path(console.__file__).parent / "methods"
    cards = (*method_cards(True), *method_cards(True, architecture="olmoe"))
    for card in (card for card in cards if not card.stages):
        source = (folder / f"{card.id.replace('-', '_')}.py").read_text(encoding="utf-8")
        assert f'title="{card.title}"' in source


def test_erasers_for_comparison_are_not_offered() -> None:
    ours = {"distill-delete", "layer-regression", "ce-u", "retrain"}
    assert {card.id for card in method_cards(True) if not card.stages} == ours
    for has_snapshot in (True, False):
        assert method_cards(has_snapshot)[0].id == default_method(has_snapshot)


def test_a_method_says_what_the_benchmark_found_and_how_the_model_was_taught() -> None:
    said = {card.id: card.technical.splitlines()[1] for card in method_cards(True) if not card.stages}
    assert said["retrain"].startswith("On the benchmark (SmolLM2-135M-Instruct, taught the sample office, suite")
    measured = shipped_benchmark().methods
    assert {name for name, sentence in said.items() if "where taught by" in sentence} == said.keys() & measured.keys()


def test_a_method_of_another_package_is_offered(monkeypatch: pytest.MonkeyPatch) -> None:
    theirs = EntryPoint("theirs", "somebody.else:Method", "erasure_console.methods")
    monkeypatch.setattr(presenter, "entry_points", lambda group: (theirs,))
    assert [card.id for card in method_cards(True) if not card.stages] == ["theirs"]


def test_a_recipe_is_a_card_with_its_stages_in_words() -> None:
    cards = {card.id: card for card in method_cards(True) if card.stages}
    assert set(cards) == set(shipped_recipes())
    for card in cards.values():
        assert not any("-" in stage and " " not in stage for stage in card.stages), "a stage has an officer's title"


def test_remaining_time_is_not_guessed_too_early() -> None:
    assert remaining_text(0.01, 100) == ""
    assert remaining_text(0.5, 1) == ""
    assert remaining_text(0.25, 60) == "3:00 left"
    assert remaining_text(0.01 + 0.04, 3600) == "19:00:00 left"


def test_job_in_one_line_ends_with_the_case() -> None:
    operation = FakeOperation(None, None, Status(title="Erasing", started_at=100.0))
    operation.progress(5, 10, "Unlearning")
    operation.measure(still_known=4.0)
    operation.measure(still_known=2.0)
    view = job_view(operation, "ER-2026-0001", 160.0, stopping=False)
    assert view.words == "Erasing · 50 % · 1:00 left · ER-2026-0001"
    assert view.curves == {"still_known": (4.0, 2.0)}
    assert job_view(operation, "ER-2026-0001", 160.0, stopping=True).words.split(" · ")[2] == "stopping"


def test_job_of_one_step_has_no_percentage() -> None:
    operation = FakeOperation(None, None, Status(title="Reading the model's files", started_at=0.0))
    operation.progress(0, 1)
    assert job_view(operation, "", 10.0, stopping=False).percent is None


def test_file_of_facts_reports_bad_rows(tmp_path: Path) -> None:
    path = tmp_path / "facts.jsonl"
    path.write_text(GOOD + '{"subject": "Mira Okonjo", "prompt": "Who?", "answer": ""}\nnot json\n', encoding="utf-8")
    preview = read_facts(path)
    assert preview.sentence == "1 of 3 rows can be used."
    assert {error.line for error in preview.errors} == {2, 3}


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        ("facts.docx", b"x", "neither CSV nor JSON lines"),
        ("facts.csv", b"", "is empty"),
        ("facts.csv", b"\xff\xfe\xfa\x00\x00", "ends in the middle of a character"),
        ("facts.csv", b"PNG\x00\x01\x02", "not text"),
        ("facts.csv", b"a,b\n1,2\n", "facts.csv"),
    ],
)
def test_file_that_cannot_be_used_is_refused_in_a_sentence(
    tmp_path: Path, name: str, content: bytes, sentence: str
) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=sentence):
        read_facts(tmp_path / name)


def test_missing_and_enormous_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot be read"):
        read_facts(tmp_path / "none.csv")
    with pytest.raises(InputError, match="is a folder; name a file in it"):
        read_facts(tmp_path)
    large = tmp_path / "large.csv"
    with large.open("wb") as stream:
        stream.truncate(9 * 2**20)
    with pytest.raises(InputError, match="larger than 8 MB"):
        read_facts(large)


def test_empty_form_has_the_columns_and_no_row(tmp_path: Path) -> None:
    places = Places(tmp_path / "office", tmp_path / "cache")
    save_empty_form(OutFile.named(tmp_path / "form.csv", places))
    with pytest.raises(InputError, match="no rows"):
        read_facts(tmp_path / "form.csv")
    with pytest.raises(InputError, match="does not exist"):
        save_empty_form(OutFile.named(tmp_path / "none" / "form.csv", places))
