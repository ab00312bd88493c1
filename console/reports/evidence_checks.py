"""Does the evidence agree with itself and with the pages? Asked before signing, and by whoever verifies."""

from __future__ import annotations

import hashlib
import io
import json
import re
from dataclasses import dataclass

import jsonschema
import pikepdf
import pypdfium2

from console.domain.results import Battery, Rate
from console.domain.verdict_words import WORDS
from console.errors import InputError
from console.paths import resource
from console.reports.encoding import EVIDENCE_NAME, parse_evidence
from console.reports.evidence import Evidence, counts, recomputed_verdict
from console.reports.pdf_limits import LARGEST_EVIDENCE, MIB, beyond
from console.reports.verification import Check
from console.reports.wording import count_text, counts_in


@dataclass(frozen=True)
class EvidenceFinding:
    """The attached record, where it could be read, and every check that was made on it."""

    checks: tuple[Check, ...]
    evidence: Evidence | None = None
    sha256: str = ""


def _verdict_check(evidence: Evidence) -> Check:
    name = "verdict"
    try:
        reached = recomputed_verdict(evidence)
    except ValueError as error:
        return Check(name, False, f"The verdict cannot be reached from the counts: {error}.")
    if reached != evidence.verdict:
        return Check(
            name,
            False,
            f"The counts give “{WORDS[reached.word].title}” by rule {reached.rule}; the report says "
            f"“{WORDS[evidence.verdict.word].title}” by rule {evidence.verdict.rule}.",
        )
    return Check(name, True, "The verdict follows from the counts and the thresholds.")


def _sentence_check(evidence: Evidence) -> Check:
    stray = counts_in(evidence.sentence) - counts(evidence)
    if stray:
        hits, trials = sorted(stray)[0]
        return Check("sentence", False, f"The summary speaks of {hits} of {trials}, which no attack counted.")
    return Check("sentence", True, "The summary's numbers are counts of the evidence.")


def consistency(evidence: Evidence) -> tuple[Check, ...]:
    """Whether the record agrees with itself."""
    return (_verdict_check(evidence), _sentence_check(evidence))


def attached_evidence(pdf: bytes) -> bytes:
    """The bytes of the one attached evidence file.

    Raises:
        InputError: there is none, more than one, or it is not declared as PDF/A-3 asks.
    """
    with pikepdf.open(io.BytesIO(pdf), inherit_page_attributes=False) as document:
        names = document.Root.Names.EmbeddedFiles.Names if "/Names" in document.Root else []
        files = document.Root.get("/AF", [])
        if len(names) != 2 or len(files) != 1 or str(names[0]) != EVIDENCE_NAME:
            raise InputError(f"The PDF must carry exactly one attachment, {EVIDENCE_NAME}; ask for the report again.")
        if files[0].objgen != names[1].objgen or files[0].get("/AFRelationship") != pikepdf.Name.Data:
            raise InputError("The PDF declares its attachment in another way than a report; ask for the report again.")
        return bytes(files[0].EF.F.read_bytes())


def _schema_check(data: bytes) -> Check:
    schema = json.loads(resource("report", "evidence.schema.json").read_text(encoding="utf-8"))
    try:
        jsonschema.Draft202012Validator(schema).validate(json.loads(data))
    except (jsonschema.ValidationError, ValueError) as error:
        reason = error.message if isinstance(error, jsonschema.ValidationError) else str(error)
        return Check("schema", False, f"The evidence does not follow its schema: {reason[:200]}")
    return Check("schema", True, "The evidence follows its schema.")


def page_text(pdf: bytes) -> str:
    """The text of all pages, white space reduced to single spaces."""
    document = pypdfium2.PdfDocument(pdf)
    try:
        pages = [page.get_textpage().get_text_range() for page in document]
    finally:
        document.close()
    return " ".join(" ".join(pages).split())


def _printed_counts(evidence: Evidence) -> list[tuple[str, Rate]]:
    """What must be seen on the pages: the attempts of every attack that ran, and the facts that were kept."""
    batteries = evidence.batteries
    found: list[tuple[str, Rate]] = []
    for battery in (batteries.before, batteries.after, batteries.reference):
        rows = battery.rows if isinstance(battery, Battery) else ()
        found += [(f"{row.attack}, {battery.stage}", row.outcome.attempts) for row in rows if battery and row.outcome]
    if evidence.utility is not None:
        found += [(f"facts of {group.group}", group.kept) for group in evidence.utility.groups]
    return found


def _pages_check(evidence: Evidence, text: str, evidence_digest: str, ca_fingerprint: str) -> Check:
    name = "pages"
    printed = counts_in(text)
    for what, rate in _printed_counts(evidence):
        if (rate.hits, rate.trials) not in printed:
            return Check(name, False, f"The pages do not show {count_text(rate)} ({what}), which the evidence counts.")
    squeezed = re.sub(r"\s", "", text)
    wanted = {
        "the report's number": evidence.report_id,
        "the verdict": WORDS[evidence.verdict.word].title.upper(),
        "the verdict's rule": evidence.verdict.rule,
        "the hash of the evidence": evidence_digest,
        "the fingerprint of the certificate that signed": ca_fingerprint,
    }
    for what, value in wanted.items():
        if re.sub(r"\s", "", value) not in squeezed:
            return Check(name, False, f"The pages do not show {what}, as the evidence has it.")
    return Check(name, True, "The pages show the counts, the verdict and the hash of the evidence.")


def check_evidence(pdf: bytes, ca_fingerprint: str) -> EvidenceFinding:
    """Read the attached record and check it against its schema, itself and the pages.

    Args:
        ca_fingerprint: SHA-256 of the certificate authority behind the signature; the pages must print it.

    Raises:
        InputError: more than a record can be.
    """
    try:
        data = attached_evidence(pdf)
    except (InputError, pikepdf.PdfError, AttributeError, KeyError, TypeError, ValueError) as error:
        reason = str(error) if isinstance(error, InputError) else "The attachment cannot be read."
        return EvidenceFinding((Check("attachment", False, reason),))
    if len(data) > LARGEST_EVIDENCE:
        raise beyond(f"holds evidence of more than {LARGEST_EVIDENCE // MIB} MB")
    attached = Check("attachment", True, f"{EVIDENCE_NAME} is attached.")
    digest = hashlib.sha256(data).hexdigest()
    schema = _schema_check(data)
    if not schema.ok:
        return EvidenceFinding((attached, schema), sha256=digest)
    try:
        evidence = parse_evidence(data)
    except InputError as error:
        return EvidenceFinding((attached, schema, Check("record", False, str(error))), sha256=digest)
    record = Check("record", True, "Every interval is the one of its counts, and the record is in its canonical form.")
    pages = _pages_check(evidence, page_text(pdf), digest, ca_fingerprint)
    return EvidenceFinding((attached, schema, record, *consistency(evidence), pages), evidence, digest)
