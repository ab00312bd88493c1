"""Check a report that somebody hands in: by itself, and against the office's ledger where one is open."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

from console.casework.office import Office, system_clock
from console.domain.events import ReportSigned
from console.domain.verdict_words import WORDS
from console.domain.visible import quoted
from console.errors import InputError
from console.ledger import Event
from console.reports.certificates import trust_in
from console.reports.evidence import Evidence
from console.reports.lights import ledger_light, signer_light
from console.reports.verification import Light, LightState, RecordedReport, ReportSignature, ReportVerification, Trust
from console.reports.watched_check import WatchedCheck
from console.reports.wording import instant_text


def start_check(path: Path, now: datetime) -> WatchedCheck:
    """Begin to verify a file, in a process of its own; what it finds goes to :func:`judge`.

    Raises:
        InputError: there is no such file.
    """
    return WatchedCheck(path, now=now)


def check_report(path: Path, office: Office | None = None, authorities: Iterable[Path] = ()) -> ReportVerification:
    """Verify a report; with its own office at hand also against the ledger.

    Args:
        authorities: files with certificates of authorities that the person trusts.

    Raises:
        InputError: the file cannot be judged, or a certificate file is none.
    """
    trust = named_trust(authorities)
    now = system_clock() if office is None else office.clock()
    return judge(start_check(path, now).wait(), office, trust)


def judge(
    found: ReportVerification, office: Office | None, trust: Trust | None = None, *, expected_own: bool = True
) -> ReportVerification:
    """The same verification with the lights that depend on who asks: whose key is known, what the ledger holds.

    Args:
        expected_own: the file is said to be one of the office's own reports, so that a stranger's is refused. Where it
            is not, a stranger's is only not confirmed, unless it bears the office's name.
    """
    if office is not None:
        of_case = _signed(office, found.evidence.request.number) if found.evidence else []
        trust = _office_trust(office, found.signatures, of_case, trust)
        recorded = [
            RecordedReport(event.body["report_id"], event.body["sha256"], event.seq, event.at) for event in of_case
        ]
        expected_own = expected_own or _claims_to_be_own(found.signatures, trust)
        found = replace(found, ledger=ledger_light(found, recorded, expected_own=expected_own))
    if not found.signatures:
        return found
    if trust is not None and not trust.authorities and expected_own:
        return replace(found, signer=_stranger_to_a_new_office(found.signer))
    return replace(found, signer=signer_light(found.signatures, trust, expected_own=expected_own))


def _claims_to_be_own(signatures: Iterable[ReportSignature], trust: Trust) -> bool:
    """Whether a file bears the office's name, or a key that it knows."""
    own = trust.organisation.casefold()
    return any(one.organisation.casefold() == own or one.ca_fingerprint in trust.authorities for one in signatures)


def _stranger_to_a_new_office(light: Light) -> Light:
    return Light(
        LightState.FAILED, f"{light.sentence} This office has signed no report yet, so this is none of its own."
    )


def named_trust(authorities: Iterable[Path]) -> Trust | None:
    """Trust in the authorities whose certificates lie in these files; None where none is named.

    Raises:
        InputError: a file that cannot be read, or holds no certificate.
    """
    paths = tuple(authorities)
    if not paths:
        return None
    known: dict[str, str] = {}
    for path in paths:
        try:
            known |= trust_in([path.read_bytes()], f"the one in {quoted(path.name)}, which you trust").authorities
        except InputError as error:
            raise InputError(f"{quoted(path.name)} holds no certificate; give the authority's .cer file.") from error
        except OSError as error:
            reason = error.strerror or type(error).__name__
            raise InputError(
                f"The certificate {quoted(str(path))} cannot be read ({reason}); check the path."
            ) from error
    return Trust(known)


def _signed(office: Office, number: str | None = None) -> list[Event]:
    """The events of signed reports, of one case or of all."""
    return [event for event in office.ledger.events(number) if event.kind == ReportSigned.kind]


def _office_trust(
    office: Office, signatures: Iterable[ReportSignature], of_case: list[Event], named: Trust | None
) -> Trust:
    """The office's own authorities, as its ledger recorded them, and those that were named.

    The certificate file beside the ledger is not asked: whoever can write there could put another in its place.
    """
    own = {event.body["authority"] for event in of_case}
    if not {signature.ca_fingerprint for signature in signatures} <= own:
        own = {event.body["authority"] for event in _signed(office)}  # every event is read: seconds in a large office
    known = dict.fromkeys(own, "this office's own, as its ledger recorded it")
    return Trust({**(named.authorities if named else {}), **known}, office.organisation)


def verification_json(result: ReportVerification) -> dict[str, Any]:
    """A verification as plain data; names in it are as the file has them."""
    evidence = result.evidence
    return {
        "ok": result.ok,
        "headline": result.headline.value,
        "sentence": result.headline.sentence,
        **{
            name.value: {"state": light.state.value, "sentence": light.sentence}
            for name, light in result.lights.items()
        },
        "checks": [{"ok": check.ok, "sentence": check.sentence} for check in result.checks],
        "signatures": [
            {
                "field": signature.field,
                "signer": signature.signer,
                "organisation": signature.organisation,
                "signed_at": signature.signed_at.isoformat() if signature.signed_at else None,
                "valid_from": signature.valid_from.isoformat(),
                "valid_until": signature.valid_until.isoformat(),
                "fingerprint": signature.fingerprint,
                "authority": signature.ca_fingerprint,
            }
            for signature in result.signatures
        ],
        "sha256": result.sha256,
        "report_id": evidence.report_id if evidence else None,
        "request": evidence.request.number if evidence else None,
        "verdict": evidence.verdict.word.value if evidence else None,
    }


def subject_words(evidence: Evidence) -> str:
    """The case, the report and the verdict that a file states."""
    title = WORDS[evidence.verdict.word].title
    made = instant_text(evidence.created_at)
    return f"Case {evidence.request.number}, report {evidence.report_id} of {made}. Verdict: {title}."
