"""One office with two signers, and one small signed report that many tests read."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pytest
from sample_evidence import battery, row, sample

from console.domain.results import Stage
from console.domain.verdict import decide
from console.reports import certificates
from console.reports.archive import build_archive
from console.reports.certificates import SigningIdentity, ensure_identity
from console.reports.evidence import Batteries, Evidence
from console.reports.limits import limits_for
from console.reports.signing import countersign_report, sign_report
from console.reports.wording import summary_sentence

NOW = datetime(2026, 11, 25, 9, 20, 11, tzinfo=UTC)
PASSPHRASE = "correct horse 'battery' stäple"


@dataclass(frozen=True)
class Office:
    """A key folder, its preparer and its approver, and the certificate that recipients get."""

    folder: Path
    preparer: SigningIdentity
    approver: SigningIdentity
    ca: bytes


def make_office(folder: Path, organisation: str = "Žofie Řehořová & Søn") -> Office:
    """Two people with one authority."""
    preparer = ensure_identity(folder, PASSPHRASE, organisation, "Žofie Řehořová", NOW)
    approver = ensure_identity(folder, "another one", organisation, "Jürgen Ø.", NOW, ca_passphrase=PASSPHRASE)
    return Office(folder, preparer, approver, preparer.ca_cer_path.read_bytes())


@pytest.fixture(scope="session", autouse=True)
def quick_key_files() -> Iterator[int]:
    """Key files that open fast; gives the number of rounds that the product uses."""
    with pytest.MonkeyPatch.context() as patch:
        rounds = certificates.KEY_DERIVATION_ROUNDS
        patch.setattr(certificates, "KEY_DERIVATION_ROUNDS", 1000)
        yield rounds


@pytest.fixture(scope="session")
def office(tmp_path_factory: pytest.TempPathFactory) -> Office:
    return make_office(tmp_path_factory.mktemp("office"))


@pytest.fixture(scope="session")
def other_office(tmp_path_factory: pytest.TempPathFactory) -> Office:
    return make_office(tmp_path_factory.mktemp("other"))


@pytest.fixture(scope="session")
def small_evidence() -> Evidence:
    """One attack, few lists: the smallest honest report."""
    base = sample()
    batteries = Batteries(
        before=battery(Stage.BEFORE, "before", (row("direct", 231, 240, (20, 20)),)),
        after=battery(Stage.AFTER, "after", (row("direct", 12, 240, (2, 20)),)),
    )
    verdict = decide(batteries.before, batteries.after, None, None, base.thresholds)  # type: ignore[arg-type]
    return base.model_copy(
        update={
            "batteries": batteries,
            "model_reference": None,
            "utility": None,
            "behaviour_before": None,
            "behaviour_after": None,
            "verdict": verdict,
            "sentence": summary_sentence(verdict.word, batteries.before, batteries.after, None),
            "limits": limits_for(verdict.word, "weights"),
            "timeline": base.timeline[:2],
            "attacks": base.attacks[:1],
        }
    )


@pytest.fixture(scope="session")
def base_pdf(office: Office, small_evidence: Evidence) -> bytes:
    return build_archive(small_evidence, office.preparer.ca_fingerprint)


@pytest.fixture(scope="session")
def signed_pdf(office: Office, base_pdf: bytes) -> bytes:
    return sign_report(base_pdf, office.preparer, reason="I stand up for this report.", now=NOW)


@pytest.fixture(scope="session")
def countersigned_pdf(office: Office, signed_pdf: bytes) -> bytes:
    return countersign_report(signed_pdf, office.approver, reason="I approve this report.", now=NOW)
