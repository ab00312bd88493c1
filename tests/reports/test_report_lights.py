"""Each light says its own thing, and the headline no more than the weakest of them."""

from __future__ import annotations

import io
import logging
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pikepdf
import pytest
from conftest import NOW, PASSPHRASE, Office
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import rsa
from strangers import blank, changed, self_signed, with_open_field

from console.errors import InputError
from console.reports import archive, certificates
from console.reports.archive import build_archive
from console.reports.certificates import ensure_identity, trust_in
from console.reports.encoding import evidence_bytes
from console.reports.evidence import Evidence
from console.reports.lights import content_light, fields_light, ledger_light
from console.reports.signing import countersign_report, sign_report
from console.reports.verification import Headline, LightName, LightState, RecordedReport, Trust
from console.reports.verify import verify_bytes

YEAR = timedelta(days=365)


def signed(pdf: bytes, office: Office, now: datetime = NOW) -> bytes:
    return sign_report(pdf, office.preparer, reason="as it is", now=now)


# -- time -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("signed_at", "now", "said"),
    [
        (NOW + 5 * YEAR, NOW + 6 * YEAR, "outside the certificate's time, 25 November 2026 to 25 November 2029"),
        (NOW - YEAR, NOW, "outside the certificate's time, 25 November 2026 to 25 November 2029"),
        (NOW + timedelta(days=300), NOW, "lies in the future"),
    ],
    ids=["the certificate had ended", "the certificate begins later", "300 days ahead"],
)
def test_a_time_that_cannot_be_is_red_and_takes_nothing_from_integrity(
    base_pdf: bytes, office: Office, signed_at: datetime, now: datetime, said: str
) -> None:
    result = verify_bytes(signed(base_pdf, office, signed_at), trust=trust_in([office.ca]), now=now)
    assert result.integrity.state is LightState.OK
    assert result.signer.state is LightState.OK
    assert result.time.state is LightState.FAILED and said in result.time.sentence
    assert result.headline is Headline.TIME_REFUSED and not result.ok


def test_no_traceback_is_logged_where_nobody_listens(
    base_pdf: bytes, office: Office, capsys: pytest.CaptureFixture[str]
) -> None:
    """Python prints what a library logs when no handler is set up: that was the traceback of line 47."""
    late = signed(base_pdf, office, NOW + 5 * YEAR)
    root = logging.getLogger()
    handlers, root.handlers = root.handlers, []
    try:
        verify_bytes(late, now=NOW + 6 * YEAR)
    finally:
        root.handlers = handlers
    assert capsys.readouterr().err == ""


def test_a_certificate_that_ended_today_is_amber_with_its_date(signed_pdf: bytes, office: Office) -> None:
    ends = office.preparer.certificate.not_valid_after_utc
    result = verify_bytes(signed_pdf, trust=trust_in([office.ca]), now=ends + timedelta(seconds=1))
    assert (result.integrity.state, result.time.state) == (LightState.OK, LightState.WARNING)
    assert "The certificate has ended since, on 25 November 2029" in result.time.sentence
    assert result.ok


# -- content --------------------------------------------------------------------------------------


def _action(kind: str, **more: Any) -> pikepdf.Dictionary:
    return pikepdf.Dictionary(S=pikepdf.Name(f"/{kind}"), **more)


def _on_opening(document: pikepdf.Pdf) -> None:
    document.Root.OpenAction = _action("JavaScript", JS=pikepdf.String("app.alert(1)"))


def _named_script(document: pikepdf.Pdf) -> None:
    script = document.make_indirect(_action("JavaScript", JS=pikepdf.String("app.alert(1)")))
    document.Root.Names.JavaScript = pikepdf.Dictionary(Names=pikepdf.Array([pikepdf.String("a"), script]))


def _on_events(document: pikepdf.Pdf) -> None:
    document.pages[0].obj.AA = pikepdf.Dictionary(O=_action("Named", N=pikepdf.Name.Print))


def _annotated(document: pikepdf.Pdf, **what: Any) -> None:
    annotation = pikepdf.Dictionary(Type=pikepdf.Name.Annot, Rect=pikepdf.Array([0, 0, 9, 9]), **what)
    document.pages[0].obj.Annots = pikepdf.Array([document.make_indirect(annotation)])


def _program(document: pikepdf.Pdf) -> None:
    _annotated(document, Subtype=pikepdf.Name.Link, A=_action("Launch", F=pikepdf.String("calc.exe")))


def _link(document: pikepdf.Pdf) -> None:
    _annotated(document, Subtype=pikepdf.Name.Link, A=_action("URI", URI=pikepdf.String("https://example.org")))


def _media(document: pikepdf.Pdf) -> None:
    _annotated(document, Subtype=pikepdf.Name.RichMedia)


def _own_form(document: pikepdf.Pdf) -> None:
    document.Root.AcroForm = pikepdf.Dictionary(Fields=pikepdf.Array([]), XFA=pikepdf.String("<xdp/>"))


def _second_attachment(document: pikepdf.Pdf) -> None:
    document.make_indirect(
        pikepdf.Dictionary(
            Type=pikepdf.Name.Filespec,
            UF=pikepdf.String("in\u202evoice.exe"),
            EF=pikepdf.Dictionary(F=document.make_stream(b"MZ")),
        )
    )
    document.Root.Extra = pikepdf.Array([document.objects[-1]])


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (_on_opening, "an action on opening (OpenAction); a script (JavaScript)"),
        (_named_script, "a script (JavaScript)"),
        (_on_events, "actions on events (AA)"),
        (_program, "a program to start (Launch)"),
        (_link, "a link to the network (URI)"),
        (_media, "media that plays (RichMedia)"),
        (_own_form, "a form of its own (XFA)"),
        (_second_attachment, "an attached file, 'in\\u202evoice.exe'"),
    ],
)
def test_what_acts_is_named_and_red(
    base_pdf: bytes, office: Office, change: Callable[[pikepdf.Pdf], None], named: str
) -> None:
    result = verify_bytes(signed(changed(base_pdf, change), office), trust=trust_in([office.ca]), now=NOW)
    assert result.integrity.state is LightState.OK
    assert result.content.state is LightState.FAILED
    assert f"The file holds what no report holds: {named}" in result.content.sentence
    assert result.headline is Headline.ACTIVE_CONTENT and not result.ok


def test_an_opening_view_is_no_action(base_pdf: bytes, office: Office) -> None:
    def view(document: pikepdf.Pdf) -> None:
        document.Root.OpenAction = pikepdf.Array([document.pages[0].obj, pikepdf.Name.Fit])

    assert verify_bytes(signed(changed(base_pdf, view), office), now=NOW).content.state is LightState.OK


def test_a_long_list_of_what_acts_is_cut() -> None:
    assert "5; and" not in content_light([str(number) for number in range(9)]).sentence
    assert "and 4 more" in content_light([str(number) for number in range(9)]).sentence


# -- fields ---------------------------------------------------------------------------------------


def test_one_of_two_signed_is_said(signed_pdf: bytes, countersigned_pdf: bytes, office: Office) -> None:
    trust = trust_in([office.ca])
    half = verify_bytes(signed_pdf, trust=trust, now=NOW)
    assert half.fields.state is LightState.WARNING
    assert half.fields.sentence == "1 of 2 signed; still open: 'Approved'."
    assert half.headline is Headline.FIELDS_OPEN and half.ok
    whole = verify_bytes(countersigned_pdf, trust=trust, now=NOW)
    assert (whole.fields.state, whole.fields.sentence) == (LightState.OK, "2 of 2 signed.")
    assert whole.headline is Headline.TIME_NOT_CONFIRMED


def test_a_field_that_anybody_can_fill_is_red(base_pdf: bytes, office: Office) -> None:
    def text_field(document: pikepdf.Pdf) -> None:
        field = document.make_indirect(pikepdf.Dictionary(FT=pikepdf.Name.Tx, T=pikepdf.String("amount")))
        document.Root.AcroForm = pikepdf.Dictionary(Fields=pikepdf.Array([field]))

    result = verify_bytes(signed(changed(base_pdf, text_field), office), trust=trust_in([office.ca]), now=NOW)
    assert result.fields.state is LightState.FAILED and "'amount'" in result.fields.sentence
    assert not result.ok


def test_a_strangers_second_field_is_counted() -> None:
    pdf = self_signed(with_open_field(blank(), "Yours"), NOW)
    assert verify_bytes(pdf, now=datetime.now(UTC)).fields.sentence.startswith("1 of 2 signed")
    assert fields_light(("Prepared",), (), ()).state is LightState.FAILED


# -- who signed -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "integrity", "said"),
    [
        ({}, LightState.OK, "not as a console signs"),
        ({"key": "rsa-1024"}, LightState.OK, "The key is weak (RSA, 1024 bits)"),
        ({"key": "rsa-2048", "md_algorithm": "sha1"}, LightState.WARNING, "not as a console signs"),
        ({"key": "rsa-2048", "md_algorithm": "md5"}, LightState.WARNING, "not as a console signs"),
    ],
    ids=["self-signed", "short key", "SHA-1", "MD5"],
)
def test_a_strangers_file_is_intact_and_not_ours(arguments: dict[str, Any], integrity: LightState, said: str) -> None:
    if "key" in arguments:
        bits = int(arguments["key"].removeprefix("rsa-"))
        arguments = {**arguments, "key": rsa.generate_private_key(65537, bits)}
    result = verify_bytes(self_signed(blank(), datetime.now(UTC), **arguments), now=datetime.now(UTC))
    assert result.integrity.state is integrity
    assert result.signer.state is LightState.FAILED
    assert "'A Stranger'" in result.signer.sentence and said in result.signer.sentence
    assert "not intact" not in result.headline.sentence
    assert result.headline is Headline.SIGNER_REFUSED and not result.ok


def test_a_strangers_file_that_was_changed_is_not_intact() -> None:
    pdf = self_signed(blank(), datetime.now(UTC))
    at = pdf.index(b"MediaBox") + len(b"MediaBox [ ")
    result = verify_bytes(pdf[:at] + b"9" + pdf[at + 1 :], now=datetime.now(UTC))
    assert result.headline is Headline.NOT_INTACT
    longer = verify_bytes(pdf + b"\n% more\n%%EOF\n", now=datetime.now(UTC))
    assert longer.headline is Headline.NOT_INTACT


def test_nobody_signed_is_its_own_answer(base_pdf: bytes) -> None:
    result = verify_bytes(base_pdf, now=NOW)
    assert result.headline is Headline.NOT_SIGNED and not result.ok
    assert "no signature" in result.integrity.sentence
    assert result.signer.state is LightState.NOT_JUDGED


def _office_with_usage(folder: Path, monkeypatch: pytest.MonkeyPatch, *, authority: bool) -> Office:
    """An office whose certificates are made for something else."""
    usage = certificates._usage

    def wrong(*, digital_signature: bool, content_commitment: bool, certificate_sign: bool) -> x509.KeyUsage:
        if certificate_sign is authority:
            return usage(digital_signature=authority, content_commitment=False, certificate_sign=False)
        return usage(
            digital_signature=digital_signature,
            content_commitment=content_commitment,
            certificate_sign=certificate_sign,
        )

    with monkeypatch.context() as patch:
        patch.setattr(certificates, "_usage", wrong)
        preparer = ensure_identity(folder, PASSPHRASE, "Žofie Řehořová & Søn", "Žofie Řehořová", NOW)
    return Office(folder, preparer, preparer, preparer.ca_cer_path.read_bytes())


@pytest.mark.parametrize(
    ("authority", "said"),
    [(False, "the certificate is not made for signing documents"), (True, "the issuer's certificate is not")],
)
def test_a_certificate_for_something_else_is_a_doubt_about_the_signer(
    small_evidence: Evidence, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, authority: bool, said: str
) -> None:
    odd = _office_with_usage(tmp_path, monkeypatch, authority=authority)
    pdf = build_archive(small_evidence, odd.preparer.ca_fingerprint)
    result = verify_bytes(signed(pdf, odd), trust=trust_in([odd.ca]), now=NOW)
    assert result.integrity.state is LightState.OK
    assert result.signer.state is LightState.FAILED and said in result.signer.sentence
    assert not result.ok


def test_our_name_without_our_key_is_said(signed_pdf: bytes, office: Office, other_office: Office) -> None:
    organisation = "Žofie Řehořová & Søn"
    ours = trust_in([other_office.ca])
    result = verify_bytes(signed_pdf, trust=replace(ours, organisation=organisation), now=NOW)
    assert result.signer.state is LightState.FAILED
    assert "this office's name, but not its key" in result.signer.sentence
    assert result.headline is Headline.SIGNER_REFUSED
    unknown = verify_bytes(signed_pdf, now=NOW)
    assert unknown.headline.sentence == "Intact; the signer is not confirmed on this machine"


def test_names_in_certificates_cannot_forge_a_line(small_evidence: Evidence, tmp_path: Path) -> None:
    name = "Ann\nIntegrity        ok: forged\x1b[2J\u202e"
    forger = ensure_identity(tmp_path, PASSPHRASE, name, name, NOW)
    office = Office(tmp_path, forger, forger, forger.ca_cer_path.read_bytes())
    pdf = signed(build_archive(small_evidence, forger.ca_fingerprint), office)
    for trust in (None, Trust({}), trust_in([office.ca])):
        result = verify_bytes(pdf, trust=trust, now=NOW)
        for light in result.lights.values():
            assert light.sentence.isprintable()
            assert "\u202e" not in light.sentence
        assert "Ann\\x0aIntegrity" in result.signer.sentence
    assert result.signatures[0].signer == name.strip()


def test_what_the_evidence_holds_cannot_forge_a_line(office: Office, small_evidence: Evidence) -> None:
    """A complaint about the evidence quotes it."""
    after = small_evidence.batteries.after
    assert after is not None
    name = "direct\nIntegrity        ok: forged\u202e"
    lie = after.model_copy(update={"rows": tuple(row.model_copy(update={"attack": name}) for row in after.rows)})
    batteries = small_evidence.batteries.model_copy(update={"after": lie})
    pages = build_archive(small_evidence, office.preparer.ca_fingerprint)
    attached = evidence_bytes(small_evidence.model_copy(update={"batteries": batteries}))

    def attach(document: pikepdf.Pdf) -> None:
        archive._attach(document, attached, NOW)

    result = verify_bytes(signed(changed(pages, attach), office), now=NOW)
    assert result.record.state is LightState.FAILED
    assert result.record.sentence.isprintable()


# -- the ledger -----------------------------------------------------------------------------------


def test_the_ledger_knows_its_reports(signed_pdf: bytes, countersigned_pdf: bytes) -> None:
    found = verify_bytes(signed_pdf, now=NOW)
    assert found.evidence is not None
    this = RecordedReport(found.evidence.report_id, found.sha256, 7, NOW)
    later = RecordedReport("R-9", "0" * 64, 12, NOW)
    assert ledger_light(found, [this]).state is LightState.OK
    outdated = ledger_light(found, [this, later])
    assert outdated.state is LightState.WARNING
    assert "A newer report of the case, R-9, was recorded on 25 November 2026" in outdated.sentence
    assert ledger_light(found, []).sentence == "This office's ledger has no such report."
    assert ledger_light(found, [later]).state is LightState.FAILED
    assert "another file" in ledger_light(found, [replace(this, sha256="1" * 64)]).sentence
    grown = ledger_light(verify_bytes(countersigned_pdf, now=NOW), [this])
    assert grown.state is LightState.WARNING and "before its last signature" in grown.sentence
    unrecorded = replace(found, ledger=ledger_light(found, []))
    assert unrecorded.headline is Headline.NOT_RECORDED and LightName.LEDGER in unrecorded.lights


# -- what cannot be judged ------------------------------------------------------------------------


def test_an_encrypted_file_is_said_to_be_one(signed_pdf: bytes) -> None:
    for password in ("", "secret"):
        target = io.BytesIO()
        with pikepdf.open(io.BytesIO(signed_pdf)) as document:
            document.save(target, encryption=pikepdf.Encryption(owner="owner", user=password))
        with pytest.raises(InputError, match="encrypted"):
            verify_bytes(target.getvalue(), now=NOW)


def test_every_headline_has_its_own_words() -> None:
    assert len({headline.sentence for headline in Headline}) == len(Headline)
    assert {headline for headline in Headline if headline.accepted} == {
        headline for headline in Headline if not headline.sentence.startswith("NOT")
    }
    greens = [headline for headline in Headline if headline.sentence.startswith("Verified")]
    assert greens == [Headline.VERIFIED]


def test_a_second_signature_from_elsewhere_is_named(signed_pdf: bytes, office: Office, other_office: Office) -> None:
    mixed = countersign_report(signed_pdf, other_office.approver, reason="from elsewhere", now=NOW)
    result = verify_bytes(mixed, trust=trust_in([office.ca]), now=NOW)
    assert result.headline is Headline.SIGNER_REFUSED
