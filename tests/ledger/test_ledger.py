"""Recording: events, projections and sealed items that stand together, and reads that see one state."""

from __future__ import annotations

import hashlib
import threading
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest

from console.errors import InputError, LedgerDamagedError, NotPossibleError
from console.ledger import Event, Ledger
from console.ledger.chain import MAX_BODY_BYTES, Head, StoredEvent, event_hash, genesis_hash, instant_text
from console.ledger.checkpoint import verify_checkpoint
from console.ledger.verify import verify_chain


def note(ledger: Ledger, **options: Any) -> Event:
    arguments = {"kind": "noted", "body": {}, "actor": "dpo"} | options
    with ledger.transaction() as transaction:
        return transaction.append(arguments.pop("kind"), arguments.pop("body"), **arguments)


def test_the_hash_of_an_event_worked_by_hand() -> None:
    stored = StoredEvent(
        seq=1,
        event_id="e-1",
        at="2026-03-01T08:00:00.000000Z",
        kind="noted",
        request_id=None,
        actor='J"ö',
        body='{"a":[1,true],"b":"ü"}',
        prev_hash="00" * 32,
        hash="",
    )
    text = (
        '{"actor":"J\\"ö","at":"2026-03-01T08:00:00.000000Z","body":{"a":[1,true],"b":"ü"},"event_id":"e-1",'
        f'"kind":"noted","prev_hash":"{"00" * 32}","request_id":null,"seq":1}}'
    )
    assert event_hash(stored) == hashlib.sha256(b"erasure-console/ledger/event/v1\n" + text.encode()).hexdigest()


def test_instants_are_utc_with_six_digits() -> None:
    berlin = timezone(timedelta(hours=1))
    assert instant_text(datetime(2026, 3, 1, 9, 0, tzinfo=berlin)) == "2026-03-01T08:00:00.000000Z"
    with pytest.raises(ValueError, match="time zone"):
        instant_text(datetime(2026, 3, 1))


def test_events_are_chained_and_come_back_as_they_were(office) -> None:
    with office.create() as ledger:
        assert ledger.head() == Head(0, genesis_hash("office.example/erasure"))
        first = note(ledger, kind="registered", body={"law": "17(1)(b)", "count": 3}, request_id="ER-1")
        second = note(ledger, actor="operator")
        assert first.prev_hash == genesis_hash("office.example/erasure") and second.prev_hash == first.hash
        assert (first.seq, second.seq) == (1, 2) and ledger.head() == Head(2, second.hash)
        assert first.at == office.clock.now - timedelta(seconds=1) and first.at.tzinfo == UTC
    with office.open(read_only=True) as ledger:
        assert ledger.events() == [first, second]
        assert ledger.events("ER-1") == [first] and ledger.events(after_seq=1) == [second]
        assert ledger.events("ER-1", after_seq=1) == []


def test_several_events_of_one_transaction_follow_each_other(office) -> None:
    with office.create() as ledger:
        with ledger.transaction() as transaction:
            events = [transaction.append("noted", {"n": n}, actor="dpo") for n in range(3)]
        assert [event.seq for event in events] == [1, 2, 3]
        assert [event.prev_hash for event in events[1:]] == [event.hash for event in events[:-1]]
        assert verify_chain(ledger).ok


def test_an_exception_takes_everything_back(office) -> None:
    with office.create() as ledger:
        note(ledger)
        before = ledger.head(), ledger.projection("request"), office.mark.read_bytes()
        with pytest.raises(ZeroDivisionError), ledger.transaction() as transaction:
            transaction.append("noted", {}, request_id="ER-9", actor="dpo")
            item = transaction.seal("ER-9", "name", "Alice")
            assert transaction.projected("request", "ER-9")["count"] == 1
            assert len(ledger.sealed_items("ER-9")) == 1, "reads inside the block see what it wrote"
            raise ZeroDivisionError
        assert (ledger.head(), ledger.projection("request"), office.mark.read_bytes()) == before
        assert ledger.sealed_items("ER-9") == []
        with pytest.raises(InputError):
            ledger.unseal(item)
        assert note(ledger).seq == 2


def test_a_refused_event_in_the_middle_takes_the_others_back(office) -> None:
    with office.create() as ledger:
        with pytest.raises(InputError), ledger.transaction() as transaction:
            transaction.append("noted", {}, actor="dpo")
            transaction.append("noted", {"score": 0.5}, actor="dpo")
        assert ledger.head().size == 0


def test_a_transaction_ends_with_its_block_and_does_not_nest(office) -> None:
    with office.create() as ledger:
        with (
            ledger.transaction() as transaction,
            pytest.raises(RuntimeError, match="already open"),
            ledger.transaction(),
        ):
            raise AssertionError("a second transaction was opened inside the first")
        with pytest.raises(RuntimeError, match="has ended"):
            transaction.append("noted", {}, actor="dpo")
        assert note(ledger).seq == 1


@pytest.mark.parametrize(
    "change",
    [
        {"kind": ""},
        {"kind": "x" * 201},
        {"actor": "two\nlines"},
        {"actor": ""},
        {"request_id": ""},
        {"request_id": "\x00"},
        {"body": []},
        {"body": {"text": "x" * MAX_BODY_BYTES}},
        {"body": {"when": datetime(2026, 3, 1, tzinfo=UTC)}},
    ],
)
def test_what_cannot_be_an_event_is_refused(office, change: dict[str, Any]) -> None:
    with office.create() as ledger:
        with pytest.raises(InputError):
            note(ledger, **change)
        assert ledger.head().size == 0


def test_the_largest_body_is_recorded(office) -> None:
    with office.create() as ledger:
        body = {"t": "ü" * ((MAX_BODY_BYTES - len('{"t":""}')) // 2)}
        assert note(ledger, body=body).body == body
        assert verify_chain(ledger).ok


def test_nfd_input_is_recorded_as_nfc(office) -> None:
    with office.create() as ledger:
        event = note(ledger, body={"cafe\u0301": "e\u0301"}, actor="Ame\u0301lie", request_id="E\u0301-1")
        assert (event.body, event.actor, event.request_id) == ({"caf\u00e9": "\u00e9"}, "Am\u00e9lie", "\u00c9-1")
        assert ledger.events() == [event] and verify_chain(ledger).ok


def test_a_search_text_is_never_sql(office) -> None:
    with office.create() as ledger:
        note(ledger, request_id="ER-1")
        hostile = "' OR 1=1; DROP TABLE events; --"
        assert ledger.events(hostile) == [] and ledger.projected("request", hostile) is None
        assert ledger.sealed_items(hostile, hostile) == [] and ledger.setting(hostile) is None
        event = note(ledger, request_id=hostile, kind=hostile, actor=hostile, body={hostile: hostile})
        assert ledger.events(hostile) == [event] and verify_chain(ledger).checked == 2


def test_projections_can_be_dropped_and_folded_again(office) -> None:
    with office.create() as ledger:
        office.append(ledger, 5)
        note(ledger, request_id="ER-2")
        note(ledger, kind="closed", request_id="ER-2")
        before = {table: ledger.projection(table) for table in ("request", "kind")}
        assert before["request"].keys() == {"ER-1"} and before["request"]["ER-1"]["count"] == 5
        assert ledger.projected("request", "ER-2") is None and ledger.projected("kind", "closed")["count"] == 1
        ledger.rebuild_projections()
        assert {table: ledger.projection(table) for table in ("request", "kind")} == before
        assert ledger.differing_projections() == []


def test_a_projection_that_somebody_edited_is_noticed_and_repaired(office) -> None:
    office.filled(3)
    with office.raw() as connection:
        connection.execute("""UPDATE projection SET state_json = '{"count":99}' WHERE key = 'ER-1'""")
        connection.execute("INSERT INTO projection VALUES ('request', 'ER-7', '{}', 1)")
    with office.open() as ledger:
        assert ledger.differing_projections() == [("request", "ER-1"), ("request", "ER-7")]
        ledger.rebuild_projections()
        assert ledger.differing_projections() == [] and ledger.projected("request", "ER-1")["count"] == 3


def test_a_new_projector_folds_again_when_the_ledger_is_opened(office) -> None:
    office.filled(3)
    newer = type(office.projector)(version=2)
    with office.open(projector=newer, read_only=True) as ledger:
        assert ledger.projected("request", "ER-1")["count"] == 6, "a reader folds in memory"
        assert ledger.projection("request").keys() == {"ER-1"}
    with office.open(read_only=True) as ledger:
        assert ledger.projected("request", "ER-1")["count"] == 3, "and changes nothing"
    with office.open(projector=newer) as ledger:
        assert ledger.projected("request", "ER-1")["count"] == 6
        assert ledger.projection("request") == {"ER-1": ledger.projected("request", "ER-1")}
        assert ledger.differing_projections() == []


def test_settings_are_kept_beside_the_record(office) -> None:
    with office.create() as ledger:
        assert ledger.setting("model folder") is None
        ledger.set_setting("model folder", "/first")
        ledger.set_setting("model folder", "D:\\Modelle ü")
        assert ledger.head().size == 0
    with office.open(read_only=True) as ledger:
        assert ledger.setting("model folder") == "D:\\Modelle ü"
        with pytest.raises(NotPossibleError):
            ledger.set_setting("model folder", "x")


def test_a_checkpoint_signs_the_head_once(office) -> None:
    with office.create() as ledger:
        assert ledger.latest_checkpoint() is None
        office.append(ledger, 5)
        text = ledger.checkpoint()
        statement = verify_checkpoint(text, ledger.verifier_key)
        assert (statement.origin, statement.size, statement.head) == (ledger.origin, 5, ledger.head().hash)
        assert ledger.checkpoint() == text == ledger.latest_checkpoint(), "nothing new, nothing to sign"
        note(ledger)
        assert verify_checkpoint(ledger.checkpoint(), ledger.verifier_key).size == 6
        assert verify_chain(ledger, witnesses=[text]).ok
        assert verify_chain(ledger, verifier_key=ledger.verifier_key).ok


def test_an_inclusion_proof_leads_to_the_root_of_the_checkpoint(office) -> None:
    with office.create() as ledger:
        office.append(ledger, 7)
        root = verify_checkpoint(ledger.checkpoint(), ledger.verifier_key).root
        office.append(ledger, 4)
        for event in ledger.events()[:7]:
            proof = ledger.inclusion_proof(event.seq, size=7)
            assert proof.holds() and (proof.root, proof.event_hash) == (root, event.hash)
        assert ledger.inclusion_proof(11).size == 11
        for seq, size in ((0, None), (12, None), (5, 4), (1, 12)):
            with pytest.raises(InputError):
                ledger.inclusion_proof(seq, size)


def test_reading_only_records_nothing(office) -> None:
    office.filled(2)
    before = office.path.read_bytes(), office.mark.read_bytes()
    with office.open(read_only=True) as ledger:
        assert ledger.read_only and len(ledger.events()) == 2
        for step in (lambda: note(ledger), ledger.checkpoint, ledger.rebuild_projections):
            with pytest.raises(NotPossibleError):
                step()
    assert (office.path.read_bytes(), office.mark.read_bytes()) == before


def test_threads_of_one_console_take_turns(office) -> None:
    with office.create() as ledger:

        def record() -> None:
            for _ in range(8):
                office.append(ledger, 1)

        threads = [threading.Thread(target=record) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert ledger.head().size == 32 and verify_chain(ledger).ok
        assert ledger.projected("request", "ER-1")["count"] == 32
    with office.open() as ledger:
        assert ledger.continuity is None


def test_the_connection_itself_refuses_to_touch_events(office) -> None:
    office.filled(3)
    with office.open() as ledger:
        ledger.checkpoint()
        forbidden = [
            "UPDATE events SET actor = 'x'",
            "DELETE FROM events",
            "DELETE FROM checkpoints",
            "UPDATE checkpoints SET note = 'x'",
            "DROP TABLE events",
            "DROP TRIGGER events_no_update",
            "ALTER TABLE events RENAME TO old",
            "CREATE TRIGGER quiet BEFORE UPDATE ON events BEGIN SELECT RAISE(IGNORE); END",
            "ATTACH DATABASE ':memory:' AS copy",
            "PRAGMA recursive_triggers = OFF",
            "PRAGMA writable_schema = ON",
            "PRAGMA secure_delete = OFF",
        ]
        for statement in forbidden:
            with pytest.raises(LedgerDamagedError, match="not authorized"), ledger.reading() as session:
                session.connection().exec_driver_sql(statement)
        assert verify_chain(ledger).ok and ledger.head().size == 3


@pytest.mark.parametrize("seq", ["3", "4", "2"])
def test_rows_go_in_at_the_tail_only(office, seq: str) -> None:
    """REPLACE deletes the row it collides with without asking the DELETE trigger of a careless connection."""
    office.filled(3)
    with office.raw() as connection:
        connection.execute("PRAGMA recursive_triggers = OFF")
        event_id = connection.execute("SELECT event_id FROM events WHERE seq = 3").fetchone()[0]
        prev = connection.execute("SELECT hash FROM events WHERE seq = 3").fetchone()[0]
        with pytest.raises(Exception, match="can only follow the last one"):
            connection.execute(
                "INSERT OR REPLACE INTO events VALUES (?, ?, 'at', 'kind', NULL, 'actor', '{}', ?, ?)",
                (seq, event_id, prev, "00" * 32),
            )
        assert connection.execute("SELECT count(*) FROM events").fetchone()[0] == 3
