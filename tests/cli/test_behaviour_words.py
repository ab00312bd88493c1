"""Behaviour in the words and the JSON of ``attack`` and ``compare``."""

from __future__ import annotations

import json

import pytest

from console.cli.behaviour import behaviour_json, behaviour_words
from console.domain.results import Behaviour, DeletionAnswers, Rate


def measured(right: int, sets: str = "a") -> Behaviour:
    parts = [Rate(hits=hits, trials=4) for hits in (right, 0, 4 - right)]
    return Behaviour(
        sets=sets * 64,
        deletion=DeletionAnswers(right=parts[0], abstained=parts[1], other=parts[2]),
        harmful_refused=Rate(hits=3, trials=8),
        harmless_refused=Rate(hits=1, trials=8),
        stereotyped=Rate(hits=9, trials=18),
    )


def test_words_stand_side_by_side(capsys: pytest.CaptureFixture[str]) -> None:
    behaviour_words(measured(4), measured(0), ("before", "after"))
    lines = capsys.readouterr().out.splitlines()
    assert lines[1].split() == ["before", "after"]
    assert lines[2].split()[-6:] == ["4", "of", "4", "0", "of", "4"]
    assert not any("must not be compared" in line or "Variety" in line for line in lines)
    behaviour_words(measured(4), measured(0, "b"), ("one", "other"))
    assert "must not be compared" in capsys.readouterr().out
    behaviour_words(None, None, ("one", "other"))
    assert capsys.readouterr().out == ""


def test_json_holds_the_counts() -> None:
    value = json.loads(json.dumps(behaviour_json(measured(4), None, ("before", "after"))))
    assert value["before"]["deletion"]["right"]["hits"] == 4
    assert value["after"] is None and value["comparable"] is True
