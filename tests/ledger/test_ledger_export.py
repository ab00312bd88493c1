"""The export: a text file that can be verified alone, and that says no when it was changed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from console.errors import DiskFullError, InputError
from console.ledger import headmark
from console.ledger.canonical import canonical_text, parse_canonical
from console.ledger.checkpoint import verifier_key, verify_checkpoint
from console.ledger.export import export_events, verify_export
from console.out_file import OutFile
from console.paths import Places


def at(path: Path) -> OutFile:
    """The place for an export; one that is there may be replaced."""
    return OutFile.named(path, Places(path.parent / "no office", path.parent / "no cache"), replace=True)


@pytest.fixture
def exported(office, tmp_path: Path) -> Path:
    path = tmp_path / "Prüfung.jsonl"
    with office.create() as ledger:
        office.append(ledger, 5)
        with ledger.transaction() as transaction:
            transaction.seal("ER-1", "subject", "Zoë")
            transaction.append("noted", {"text": "größer <&> \u2028 \U0001f600"}, request_id="ER-1", actor="Amélie")
        assert export_events(ledger, at(path)) == 6
    return path


def test_an_export_verifies_alone(exported: Path) -> None:
    result = verify_export(exported)
    assert result.ok and result.checked == 6
    text = exported.read_text(encoding="utf-8")
    lines = text.split("\n")
    assert len(lines) == 9 and lines[-1] == "" and "Zoë" not in text
    assert all(canonical_text(parse_canonical(line)) == line for line in lines[:-1])
    trailer = json.loads(lines[-2])
    statement = verify_checkpoint(trailer["checkpoint"], trailer["verifier_key"])
    assert (statement.size, statement.head) == (6, trailer["head"]["hash"])


def test_an_export_from_a_reader_carries_the_latest_checkpoint(office, tmp_path: Path) -> None:
    with office.create() as ledger:
        office.append(ledger, 3)
        ledger.checkpoint()
        office.append(ledger, 2)
    with office.open(read_only=True) as ledger:
        assert export_events(ledger, at(tmp_path / "a.jsonl")) == 5
    assert verify_export(tmp_path / "a.jsonl").ok
    empty = type(office)(tmp_path / "ledger.db")
    empty.create().close()
    with empty.open(read_only=True) as ledger:
        export_events(ledger, at(tmp_path / "b.jsonl"))
    assert verify_export(tmp_path / "b.jsonl").checked == 0


def rewrite(path: Path, change: Any) -> None:
    lines = path.read_text(encoding="utf-8").split("\n")
    change(lines)
    path.write_text("\n".join(lines), encoding="utf-8", newline="\n")


def edit(line: int, **fields: Any) -> Any:
    def change(lines: list[str]) -> None:
        value = json.loads(lines[line])
        value["event"] |= fields
        lines[line] = canonical_text(value)

    return change


def respell(old: str, new: str) -> Any:
    def change(lines: list[str]) -> None:
        assert old in lines[3]
        lines[3] = lines[3].replace(old, new)

    return change


def trailer(**fields: Any) -> Any:
    def change(lines: list[str]) -> None:
        lines[-2] = canonical_text(json.loads(lines[-2]) | fields)

    return change


@pytest.mark.parametrize(
    ("change", "code"),
    [
        (edit(3, body={"number": 9}), "CONTENT"),
        (edit(3, actor="x"), "CONTENT"),
        (edit(3, body="text"), "SCHEMA"),
        (edit(3, kind={"a": 1}), "SCHEMA"),
        (edit(3, seq=True), "SCHEMA"),
        (edit(3, extra=1), "SCHEMA"),
        (respell('"number":2', '"number":2.0'), "SCHEMA"),
        (respell('"number":2', '"number":2,"number":2'), "SCHEMA"),
        (respell('"number":2', '"number": 2'), "SCHEMA"),
        (respell('"hash"', '"hush"'), "SCHEMA"),
        (lambda lines: lines.__setitem__(3, "[]"), "SCHEMA"),
        (lambda lines: lines.pop(3), "GAP"),
        (lambda lines: lines.pop(6), "TRUNCATED"),
        (lambda lines: lines.insert(3, lines.pop(4)), "GAP"),
        (lambda lines: lines.insert(4, lines[3]), "GAP"),
        (trailer(checkpoint=None, head={"hash": "ab" * 32, "size": 6}), "FORK"),
        (trailer(checkpoint=None, head={"hash": "ab" * 32, "size": 5}), "FORK"),
        (trailer(checkpoint="no note"), "SIGNATURE"),
        (
            trailer(verifier_key=verifier_key("office.example/erasure", Ed25519PrivateKey.generate().public_key())),
            "SIGNATURE",
        ),
        (lambda lines: lines.__setitem__(0, lines[0].replace("office.", "other.")), "LINK"),
    ],
)
def test_a_changed_export_says_no(exported: Path, codes, change: Any, code: str) -> None:
    rewrite(exported, change)
    result = verify_export(exported)
    assert code in {found for found, _ in codes(result)} and not result.ok


@pytest.mark.parametrize(
    "change",
    [
        lambda lines: lines.clear(),
        lambda lines: lines.__setitem__(slice(2, None), []),
        lambda lines: lines.__setitem__(0, "{}"),
        lambda lines: lines.__setitem__(0, "[]"),
        lambda lines: lines.__setitem__(0, "text"),
        lambda lines: lines.pop(-2),
        lambda lines: lines.pop(-1),
        trailer(head=None),
        trailer(head={"hash": "ab", "size": "6"}),
        trailer(verifier_key=None),
    ],
)
def test_what_is_no_complete_export_is_refused(exported: Path, change: Any) -> None:
    rewrite(exported, change)
    with pytest.raises(InputError):
        verify_export(exported)


def test_other_files_are_refused(tmp_path: Path) -> None:
    (tmp_path / "binary").write_bytes(b"\xff\xfe\x00")
    for name in ("binary", "missing", "."):
        with pytest.raises(InputError):
            verify_export(tmp_path / name)


def test_a_known_key_and_an_old_report_bind_the_export(office, exported: Path, codes) -> None:
    stranger = verifier_key(office.origin, Ed25519PrivateKey.generate().public_key())
    with office.open() as ledger:
        assert verify_export(exported, verifier_key=ledger.verifier_key).ok
        office.append(ledger, 1)
        newer = ledger.checkpoint()
    assert ("SIGNATURE", None) in codes(verify_export(exported, verifier_key=stranger))
    assert codes(verify_export(exported, witnesses=[newer])) == {("TRUNCATED", 6)}


def test_a_full_disk_keeps_the_older_export(office, exported: Path, monkeypatch) -> None:
    before = exported.read_bytes()

    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    with office.open(read_only=True) as ledger:
        monkeypatch.setattr(headmark.os, "fsync", full)
        with pytest.raises(DiskFullError):
            export_events(ledger, at(exported))
    assert exported.read_bytes() == before and [path.name for path in exported.parent.glob(".writing*")] == []
