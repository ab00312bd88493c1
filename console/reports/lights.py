"""One light, one function: from the facts that were read of a file to a state and its sentence."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from console.domain.visible import quoted, visible
from console.reports.certificates import CLOCK_SKEW
from console.reports.evidence import Evidence
from console.reports.verification import (
    APPROVED,
    PREPARED,
    Check,
    Light,
    LightState,
    RecordedReport,
    ReportSignature,
    ReportVerification,
    Trust,
)
from console.reports.wording import date_text, instant_text

NOT_INTACT = Light(LightState.NOT_JUDGED, "Not judged, because the file is not intact.")
_MOST_NAMED = 5


def _at(moment: datetime) -> str:
    return instant_text(moment.strftime("%Y-%m-%dT%H:%M:%SZ"))


def _who(signature: ReportSignature) -> str:
    organisation = f" ({quoted(signature.organisation)})" if signature.organisation else ""
    return f"{quoted(signature.signer)}{organisation}"


def integrity_light(weak_hash: str) -> Light:
    """For a file that matches its signatures: whether that proves that it is what was signed."""
    if weak_hash:
        return Light(
            LightState.WARNING,
            f"The file matches its signature, but by a weak hash ({weak_hash}): another file can be made to match it.",
        )
    return Light(LightState.OK, "The file is exactly the one that was signed.")


def signer_light(signatures: Sequence[ReportSignature], trust: Trust | None, *, expected_own: bool = True) -> Light:
    """Who signed, and whether the key is known; a name proves nothing.

    Args:
        expected_own: the report is held to be one of those that ``trust`` knows; else a stranger's is not confirmed.
    """
    who = " and ".join(dict.fromkeys(map(_who, signatures)))
    doubts = [signature.doubt for signature in signatures if signature.doubt]
    if doubts:
        return Light(LightState.FAILED, f"Signed by {who}, but not as a console signs: {doubts[0]}")
    authorities = {signature.ca_fingerprint for signature in signatures}
    if len(authorities) != 1:
        return Light(LightState.FAILED, f"Signed by {who}; the signatures come from different consoles.")
    authority = authorities.pop()
    if trust is not None and authority in trust.authorities:
        return Light(LightState.OK, f"Signed by {who}; the authority is {trust.authorities[authority]}.")
    if trust is None or not expected_own:
        stranger = "" if trust is None else "Not one of this office's reports; the signer is not confirmed. "
        return Light(
            LightState.WARNING,
            f"{stranger}Signed by {who}, under an authority that this machine does not know. Anybody can make a "
            f"certificate with such a name: compare the fingerprint {authority} with the controller by another way, "
            "such as by telephone.",
        )
    names = {signature.organisation.casefold() for signature in signatures}
    if trust.organisation.casefold() in names:
        return Light(
            LightState.FAILED,
            f"Signed by {who}. That is this office's name, but not its key (fingerprint {authority}): somebody else "
            "made this certificate.",
        )
    return Light(
        LightState.FAILED,
        f"Signed by {who}, under an authority that is none of those you trust (fingerprint {authority}).",
    )


def _time_that_cannot_be(signature: ReportSignature, evidence: Evidence | None, now: datetime) -> str | None:
    if signature.signed_at is None:
        return "A signature states no time."
    at = _at(signature.signed_at)
    if signature.signed_at > now + CLOCK_SKEW:
        return f"The stated time of signing, {at}, lies in the future."
    if not signature.valid_from <= signature.signed_at <= signature.valid_until:
        period = f"{date_text(signature.valid_from.date())} to {date_text(signature.valid_until.date())}"
        if signature.valid_from > signature.valid_until:
            return "The certificate and its issuer's were never valid at the same time."
        return f"The stated time of signing, {at}, lies outside the certificate's time, {period}."
    if evidence is not None:
        made = datetime.fromisoformat(evidence.created_at.replace("Z", "+00:00"))
        if signature.signed_at < made - CLOCK_SKEW:
            return f"The stated time of signing, {at}, lies before the report was made, {_at(made)}."
    return None


def time_light(signatures: Sequence[ReportSignature], evidence: Evidence | None, now: datetime) -> Light:
    """Whether the stated times are possible. Amber at best: no independent service confirms them."""
    for signature in signatures:
        reason = _time_that_cannot_be(signature, evidence, now)
        if reason is not None:
            return Light(LightState.FAILED, reason)
    last = max(signature.signed_at for signature in signatures if signature.signed_at is not None)
    sentence = f"Signed on {_at(last)} by the signer's own clock; no independent service confirmed the time."
    ends = min(signature.valid_until for signature in signatures)
    if ends < now:
        sentence += f" The certificate has ended since, on {date_text(ends.date())}; it was valid at the stated time."
    return Light(LightState.WARNING, sentence)


def content_light(active: Sequence[str]) -> Light:
    """Whether the file holds anything that acts when it is opened or clicked."""
    if not active:
        return Light(LightState.OK, "Nothing in the file acts by itself: no script, no link, no other attachment.")
    named = "; ".join(active[:_MOST_NAMED])
    more = f" and {len(active) - _MOST_NAMED} more" if len(active) > _MOST_NAMED else ""
    return Light(LightState.FAILED, f"The file holds what no report holds: {named}{more}. Don't open it in a reader.")


def fields_light(signed: Sequence[str], unsigned: Sequence[str], others: Sequence[str]) -> Light:
    """Whether the fields are a report's, every one signed, with none that anybody may fill."""
    count = f"{len(signed)} of {len(signed) + len(unsigned)} signed"
    if (*signed, *unsigned) != (PREPARED, APPROVED):
        return Light(LightState.FAILED, f"{count}; a report has the fields {PREPARED} and {APPROVED}, and no other.")
    if others:
        named = ", ".join(map(quoted, others[:_MOST_NAMED]))
        return Light(LightState.FAILED, f"{count}; the file has open fields that anybody can fill in: {named}.")
    if unsigned:
        return Light(LightState.WARNING, f"{count}; still open: {', '.join(map(quoted, unsigned[:_MOST_NAMED]))}.")
    return Light(LightState.OK, f"{count}.")


def record_light(checks: Sequence[Check]) -> Light:
    """Whether the evidence agrees with itself and with the pages."""
    failed = next((check.sentence for check in checks if not check.ok), None)
    if failed is not None:
        return Light(LightState.FAILED, visible(failed))  # it may quote what the evidence holds
    return Light(LightState.OK, "The evidence agrees with itself and with the pages.")


def ledger_light(found: ReportVerification, recorded: Sequence[RecordedReport], *, expected_own: bool = True) -> Light:
    """Whether the office's ledger recorded this file, and whether it is the newest of its case.

    Args:
        recorded: the reports of the case that the file names, oldest first.
        expected_own: the file is held to be one of the office's own; another office may number its reports alike.
    """
    if found.evidence is None:
        return Light(LightState.NOT_JUDGED, "Not judged, because the file names no case that could be looked up.")
    known = next((report for report in reversed(recorded) if report.sha256 == found.sha256), None)
    if known is not None:
        sentence = f"This office's ledger recorded exactly this file on {_at(known.at)} (entry {known.seq})."
        newest = recorded[-1]
        if newest.seq == known.seq:
            return Light(LightState.OK, sentence)
        newer = f"A newer report of the case, {newest.report_id}, was recorded on {_at(newest.at)}"
        return Light(LightState.WARNING, f"{sentence} {newer} (entry {newest.seq}).")
    earlier = {signature.revision_sha256 for signature in found.signatures}
    grown = next((report for report in recorded if report.sha256 in earlier), None)
    if grown is not None:
        return Light(
            LightState.WARNING,
            f"This office's ledger recorded the file before its last signature (entry {grown.seq}); that signature is "
            "not in the ledger.",
        )
    same_number = any(report.report_id == found.evidence.report_id for report in recorded)
    if not expected_own:
        if same_number:
            return Light(
                LightState.WARNING,
                "Another office's report, under a number that this office has given to a report of its own.",
            )
        return Light(LightState.NOT_JUDGED, "Not judged, because it is not one of this office's reports.")
    if same_number:
        return Light(
            LightState.FAILED,
            "This office's ledger recorded another file under this report's number (hash differs).",
        )
    return Light(LightState.FAILED, "This office's ledger has no such report.")
