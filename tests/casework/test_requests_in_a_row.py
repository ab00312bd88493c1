"""Two requests one after the other on one model: the first is searched for again, and a governor says when to stop."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path

import forks
import pytest
from copies import opened_copy
from invented import OTHERS, PERSON, SUBJECT

from console.casework import cases, requests, sequence
from console.casework.checking import check_report
from console.casework.knowledge import Knowledge
from console.casework.models import model_state
from console.casework.notes import note_text
from console.casework.office import Office
from console.casework.operation import Operation, UseCase
from console.casework.records import verify_records
from console.casework.replay import replay
from console.casework.reporting import make_report
from console.casework.story import timeline
from console.cli.sequence import chain_words, earlier_json, earlier_words
from console.domain.case_state import JOBS, MODELS, REQUESTS
from console.domain.events import EarlierRechecked, ErasureRun, PlanFixed
from console.domain.forget_set import ForgetItem
from console.domain.request_terms import Channel, Ground
from console.domain.sequence import WHOLE_CHANGE, ChainLimits, Standing
from console.domain.suites import RECHECK
from console.errors import InputError, NotPossibleError
from console.jobs.spec import JobKind, JobSpec, ModelReference

SECOND = tuple(item for item in OTHERS if item.subject == OTHERS[0].subject)
STRONG = {"steps": 30, "learning_rate": 5e-3, "lora": {"rank": 8, "alpha": 16}}


def granted(office: Office, items: tuple[ForgetItem, ...]) -> str:
    number = requests.register(
        office,
        received=date(2026, 11, 2),
        country="DE",
        items=items,
        channel=Channel.EMAIL,
        grounds=(Ground.CONSENT_WITHDRAWN,),
    )
    requests.confirm_identity(office, number)
    requests.grant(office, number, (Ground.CONSENT_WITHDRAWN,))
    return number


def run(office: Office, use_case: UseCase) -> object:
    return Operation(office, use_case).start().wait()


def carried_out(office: Office, items: tuple[ForgetItem, ...], model: str, **more: object) -> tuple[str, str]:
    """A request, and the model that its erasure wrote."""
    number = granted(office, items)
    run(office, cases.locate(office, number, model))
    erased = run(office, cases.erase(office, number, model, "npo", STRONG, **more))
    return number, erased.artefact


@dataclass(frozen=True)
class Chain:
    """An office and, for each request that was carried out in it, one after the other, its number and its model."""

    office: Office
    done: tuple[tuple[str, str], ...]


@pytest.fixture(scope="module")
def once_data(stocked_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Chain:
    """The stocked office after the first request, closed."""
    with opened_copy(stocked_data, tmp_path_factory.mktemp("once")) as office:
        return Chain(office, (carried_out(office, PERSON, "taught"),))


@pytest.fixture(scope="module")
def twice_data(once_data: Chain, tmp_path_factory: pytest.TempPathFactory) -> Chain:
    """The same after the second request, which was carried out in the first one's model."""
    with opened_copy(once_data.office.places.data, tmp_path_factory.mktemp("twice")) as office:
        return Chain(office, (*once_data.done, carried_out(office, SECOND, once_data.done[0][1])))


@pytest.fixture
def once(once_data: Chain, tmp_path: Path) -> Iterator[Chain]:
    """The office after the first request, for one test to change."""
    with opened_copy(once_data.office.places.data, tmp_path) as office:
        yield replace(once_data, office=office)


@pytest.fixture
def twice(twice_data: Chain, tmp_path: Path) -> Iterator[Chain]:
    """The office after both requests, for one test to change."""
    with opened_copy(twice_data.office.places.data, tmp_path) as office:
        yield replace(twice_data, office=office)


def bodies(office: Office, kind: str) -> list[dict[str, object]]:
    return [event.body for event in office.ledger.events() if event.kind == kind]


def test_the_second_request_s_model_is_searched_for_the_first(
    once: Chain, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    office, ((first, first_model),) = once.office, once.done
    outcome = run(office, cases.attack(office, first, first_model))
    assert outcome.earlier == ()
    assert bodies(office, EarlierRechecked.kind) == []
    with pytest.raises(NotPossibleError, match="nothing to recheck"):
        run(office, sequence.rechecks(office, first_model))

    second, second_model = carried_out(office, SECOND, first_model)
    outcome = run(office, cases.attack(office, second, second_model))
    (earlier,) = outcome.earlier
    assert (earlier.number, earlier.own_artefact) == (first, first_model)
    assert [row.attack for row in earlier.now.rows] == list(RECHECK.attacks)
    assert earlier.now.model_hash == model_state(office, second_model)["identity"]["tree_hash"]
    assert earlier.then is not None and earlier.then.model_hash != earlier.now.model_hash
    (told,) = bodies(office, EarlierRechecked.kind)
    assert (told["artefact"], told["standing"]) == (second_model, earlier.standing.value)
    assert requests.request_state(office, first)["rechecks"][second_model]["seq"] == earlier.seq
    assert sequence.recorded_rechecks(office, second_model) == (earlier,)
    (value,) = earlier_json((earlier,))
    assert (value["standing"], list(value["now"])) == (earlier.standing.value, list(RECHECK.attacks))
    earlier_words((earlier,))
    chain_words(sequence.measure_of(office, second_model))
    said = capsys.readouterr().out
    assert f"Earlier request {first}: {earlier.standing.value}" in said and "(limit 0.15)" in said
    told_again = forks.run("console", "replay", "--json", "--data-dir", str(office.places.data), env=dict(os.environ))
    assert told_again.returncode == 0
    assert [entry["same"] for entry in json.loads(told_again.stdout)] == [True, True, True]

    (again,) = run(office, sequence.rechecks(office, second_model))
    assert again.now == earlier.now and again.standing is earlier.standing and again.seq > earlier.seq
    assert sequence.recorded_rechecks(office, second_model) == (again,)
    replayed = sequence.replayed_rechecks(office)
    assert [(entry.seq, entry.same) for entry in replayed] == [(earlier.seq, True), (again.seq, True)]
    assert len(replay(office)) == 2

    before = {table: office.ledger.projection(table) for table in (REQUESTS, MODELS, JOBS)}
    office.ledger.rebuild_projections()
    assert before == {table: office.ledger.projection(table) for table in (REQUESTS, MODELS, JOBS)}
    assert verify_records(office).ok
    assert any(second_model in line.what and earlier.standing.value in line.what for line in timeline(office, first))
    secrets = {item.subject for item in PERSON} | {item.answer for item in PERSON if len(item.answer) > 6}
    assert not [secret for secret in secrets if secret in json.dumps(told)]

    out = tmp_path / "second.pdf"
    made = make_report(office, second, out)
    (shown,) = made.evidence.earlier_requests
    assert (shown.number, shown.standing, shown.seq) == (first, again.standing.value, again.seq)
    assert check_report(out, office).ok


def test_data_that_is_back_is_said_to_be_back(once: Chain, taught_folder: Path) -> None:
    """The model from before the erasure, put into the later model's place, holds the first person again."""
    office, ((first, first_model),) = once.office, once.done
    after = run(office, cases.attack(office, first, first_model)).after
    _, second_model = carried_out(office, SECOND, first_model)
    assert after.battery.row("direct").outcome.attempts.hits == 0
    # The ledger must name these bytes, so the model is registered anew under the second artefact's name.
    from console.casework.models import record_model
    from console.engines.model_files import identify

    record_model(
        office,
        second_model,
        taught_folder,
        identify(taught_folder).model_dump(mode="json"),
        artefact_of=model_state(office, second_model)["artefact_of"],
        parent=first_model,
    )
    (earlier,) = run(office, sequence.rechecks(office, second_model))
    assert earlier.standing is Standing.CAME_BACK
    assert "direct" in earlier.by


def test_earlier_persons_are_no_longer_facts_to_keep(once: Chain, knowledge: Knowledge) -> None:
    office, ((_, first_model),) = once.office, once.done
    kept = sequence.remaining_knowledge(office, model_state(office, first_model))
    assert SUBJECT in {taught.item.subject for taught in knowledge.teaching}
    assert {taught.item.subject for taught in kept.teaching} == {item.subject for item in OTHERS}
    assert kept.controls == knowledge.controls
    assert sequence.remaining_knowledge(office, model_state(office, "taught")) == knowledge


def test_the_change_of_each_request_and_of_the_chain(twice: Chain) -> None:
    office, ((first, first_model), (second, second_model)) = twice.office, twice.done
    (one,), (two,) = sequence.changes_of(office, first), sequence.changes_of(office, second)
    assert (one.parent, two.parent) == ("taught", first_model)
    assert one.run.method["id"] == "npo" and one.run.changed[0]["effective_rank"]
    own = float(two.relative_change)
    whole = float(two.run.metrics[WHOLE_CHANGE])
    assert own > 0 and float(one.relative_change) > 0
    assert WHOLE_CHANGE not in one.run.metrics
    assert whole <= float(one.relative_change) + own * (1 + float(one.relative_change)) + 2e-4
    measure = sequence.measure_of(office, second_model)
    assert (measure.first, float(measure.relative_change), measure.bound) == ("taught", whole, False)
    with pytest.raises(NotPossibleError, match="Nothing was erased"):
        sequence.changes_of(office, granted(office, SECOND))
    with pytest.raises(InputError):
        sequence.changes_of(office, "ER-1999-0001")


def test_the_governor_stops_a_chain_that_has_gone_too_far_unless_the_plan_says_why(
    once: Chain, monkeypatch: pytest.MonkeyPatch
) -> None:
    office, ((_, first_model),) = once.office, once.done
    assert all("sealed_beyond_limits" not in body for body in bodies(office, PlanFixed.kind))
    second = granted(office, SECOND)
    run(office, cases.locate(office, second, first_model))
    measure = sequence.measure_of(office, first_model)
    assert measure.relative_change > 0 and measure.perplexity_ratio > 0
    wide = ChainLimits(relative_change="100", perplexity_ratio="1e9")
    assert sequence.check_limits(office, first_model, "no need", wide) == ""
    narrow = ChainLimits(relative_change="0", perplexity_ratio="0")
    assert sequence.check_limits(office, "taught", limits=narrow) == ""  # nothing was erased on the way to it
    with pytest.raises(NotPossibleError, match="weights moved by"):
        sequence.check_limits(office, first_model, limits=ChainLimits(relative_change="0"))
    with pytest.raises(NotPossibleError, match="harder to predict"):
        sequence.check_limits(office, first_model, limits=ChainLimits(perplexity_ratio="0.01"))

    monkeypatch.setattr(sequence, "ChainLimits", lambda: narrow)
    with pytest.raises(NotPossibleError, match="--beyond-limits"):
        run(office, cases.erase(office, second, first_model, "npo", STRONG))
    assert len(bodies(office, ErasureRun.kind)) == 1
    run(office, cases.erase(office, second, first_model, "npo", STRONG, beyond_limits="Replaced next week."))
    assert "Replaced next week." not in str(bodies(office, PlanFixed.kind))
    plan = requests.request_state(office, second)["plan"]
    assert note_text(office, plan, "beyond_limits") == "Replaced next week."


def test_what_cannot_be_compared_is_not_called_gone(twice: Chain) -> None:
    """The first request was never attacked after its erasure; then its data is destroyed altogether."""
    office, ((first, _), (_, second_model)) = twice.office, twice.done
    (earlier,) = run(office, sequence.rechecks(office, second_model))
    assert earlier.standing is Standing.NOT_KNOWN and "not attacked" in earlier.reason
    with office.ledger.transaction() as transaction:
        transaction.shred(first, actor=office.actor.id, reason="closed")
    (earlier,) = run(office, sequence.rechecks(office, second_model))
    assert earlier.standing is Standing.NOT_KNOWN and "destroyed" in earlier.reason
    assert earlier.now is None and earlier.seq is None


def test_a_first_erasure_s_job_has_the_form_of_before() -> None:
    """What these fields say nothing in, they are left out of, so that hashes over them stay."""
    spec = JobSpec(job_id="erase-1", kind=JobKind.ERASE, model=ModelReference(path="m"), cache="c")
    assert "origin" not in spec.model_dump(mode="json")
    given = spec.model_copy(update={"origin": ModelReference(path="first")})
    assert JobSpec.model_validate_json(given.model_dump_json()) == given


def test_the_first_model_may_be_gone(once: Chain) -> None:
    """A report advises to delete it; the change of the chain is then bounded from the single steps."""
    office, ((_, first_model),) = once.office, once.done
    office.ledger.set_setting("model:taught", str(office.places.data / "deleted"))
    second, second_model = carried_out(office, SECOND, first_model)
    (change,) = sequence.changes_of(office, second)
    assert WHOLE_CHANGE not in change.run.metrics
    assert sequence.measure_of(office, second_model).bound


def test_a_model_that_was_trained_anew_begins_a_chain(stocked: Office) -> None:
    """It differs from the one it replaces by much, and nothing of that is damage."""
    office = stocked
    number = granted(office, PERSON)
    run(office, cases.locate(office, number, "taught"))
    config = {"epochs": 2, "batch": 8, "lora": {"rank": 4, "alpha": 8}}
    erased = run(office, cases.erase(office, number, "taught", "retrain", config))
    (change,) = sequence.changes_of(office, number)
    assert float(change.relative_change) > 0
    measure = sequence.measure_of(office, erased.artefact)
    assert (measure.first, measure.relative_change) == (erased.artefact, 0)
    assert sequence.origin_of(office, erased.artefact) is None
    assert sequence.check_limits(office, erased.artefact, limits=ChainLimits(relative_change="0")) == ""
