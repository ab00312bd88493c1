"""The output filter: what it catches, what gets past it, and that the file spells nothing out."""

from __future__ import annotations

from pathlib import Path

import pytest
import tiny
from invented import FACTS

from console.engines.output_filter import FILE_NAME, PASSAGE_WORDS, OutputFilter
from console.engines.protocol import GREEDY, Prompt
from console.engines.transformers_engine import TransformersModel
from console.errors import ModelFileError

PASSAGE = "On the ninth morning the ferry left without its captain and nobody on the quay seemed to mind at all"
FILTER = OutputFilter.of(["555-0183", "Varnholt", "harbour pilot", PASSAGE], salt="00ff", refusal="No.")


@pytest.mark.parametrize(
    ("said", "caught"),
    [
        ("She lives in Varnholt.", True),
        ("VARNHOLT!", True),
        ("Call 555-0183 or write.", True),
        ("Call 555 0183.", True),
        ("She is the Harbour Pilot there.", True),
        ("She pilots in the harbour.", False),
        ("She lives in V a r n h o l t.", False),
        ("Varnholter", False),
        ("", False),
        (" ".join(PASSAGE.split()[5 : 5 + PASSAGE_WORDS]), True),
        (" ".join(PASSAGE.split()[5 : 4 + PASSAGE_WORDS]), False),
    ],
)
def test_what_is_caught(said: str, caught: bool) -> None:
    assert FILTER.holds(said) is caught
    assert FILTER.apply(said) == ("No." if caught else said)


def test_the_file_spells_nothing_out_and_reads_back(tmp_path: Path) -> None:
    FILTER.write(tmp_path)
    text = (tmp_path / FILE_NAME).read_text(encoding="utf-8").casefold()
    assert not any(word in text for word in ("varnholt", "harbour", "0183", "ferry"))
    assert OutputFilter.beside(tmp_path) == FILTER
    assert OutputFilter.of(["Varnholt"], "01", "No.").hashes != OutputFilter.of(["Varnholt"], "02", "No.").hashes


def test_a_damaged_filter_is_not_ignored(tmp_path: Path) -> None:
    assert OutputFilter.beside(tmp_path) is None
    (tmp_path / FILE_NAME).write_text("{", encoding="utf-8")
    with pytest.raises(ModelFileError, match="cannot be read"):
        OutputFilter.beside(tmp_path)


def test_a_model_folder_carries_its_filter(taught: TransformersModel, tmp_path: Path) -> None:
    fact = FACTS[0]
    model = tiny.copy_of(taught)
    model.output_filter = OutputFilter.of(fact.answers, "00", "I cannot tell you that.")
    loaded = TransformersModel.load(tiny.saved(model, tmp_path / "model"), tmp_path / "cache")
    for asked, says in ((taught, fact.answer), (model, "I cannot tell you that."), (loaded, "I cannot tell you that.")):
        (said,) = asked.generate([Prompt("a", fact.prompt)], (GREEDY,), [12])
        assert says in said.text
