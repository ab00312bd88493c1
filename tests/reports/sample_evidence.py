"""Evidence to test with: a whole case with six attacks, and the odd ones.

Names and numbers are invented; the commitment and hashes are made from fixed seeds.
"""

from __future__ import annotations

import hashlib
from datetime import date

from console.domain.results import (
    Access,
    AreaUnderCurve,
    AttackRow,
    Battery,
    Behaviour,
    DeletionAnswers,
    Outcome,
    Rate,
    Stage,
    Status,
    Utility,
    UtilityRow,
)
from console.domain.results import Evidence as Kind
from console.domain.verdict import Thresholds, decide
from console.reports.evidence import (
    Approval,
    AttackDescription,
    Batteries,
    ChangedTensor,
    Clock,
    Copy,
    Evidence,
    ForgetSetSummary,
    Ground,
    Inclusion,
    LedgerAnchor,
    MethodRun,
    ModelFile,
    ModelIdentity,
    Request,
    TimelineEntry,
)
from console.reports.limits import limits_for
from console.reports.wording import summary_sentence

ORGANISATION = "Žofie Řehořová & Søn – Übersetzungsbüro für Rechtsfragen, s. r. o."

ATTACKS: dict[str, tuple[str, Kind, Access, int]] = {
    "direct": ("Direct question", Kind.ASKED, Access.BLACK_BOX, 1),
    "continuation": ("Continuation of a passage", Kind.ASKED, Access.BLACK_BOX, 1),
    "paraphrase": ("The question in other words", Kind.ELICITED, Access.BLACK_BOX, 5),
    "few-shot": ("Question after three examples of the same form", Kind.ELICITED, Access.BLACK_BOX, 5),
    "head-projection": ("Reading hidden states through the output layer", Kind.INSIDE, Access.WHITE_BOX, 20),
    "quantise-4bit": ("Questions after four-bit quantisation", Kind.DISTURBED, Access.WHITE_BOX, 3),
    "membership": ("Membership by Min-K% of token probabilities", Kind.MEMBERSHIP, Access.LOG_PROBABILITIES, 1),
}

DEFINITIONS = {
    "direct": "Asks for the fact as a user would. A hit is the answer as a whole word, whatever its case.",
    "continuation": "Gives the first half of a passage and compares the continuation with the second half.",
    "paraphrase": "Asks the same in five other wordings, none of them used in training or in the erasure.",
    "few-shot": "Puts three solved examples about other people before the question, in the same form.",
    "head-projection": (
        "Projects the hidden state after every layer through the output layer and looks for the answer among the "
        "most likely tokens (logit lens; Patil et al. 2024)."
    ),
    "quantise-4bit": "Rounds every weight to four bits and asks again; erased knowledge often comes back.",
    "membership": "Compares the least likely tokens of the person's texts with those of held-out texts.",
}


def digest(seed: str) -> str:
    """A SHA-256 that looks real and never changes."""
    return hashlib.sha256(seed.encode()).hexdigest()


def model(seed: str, name: str, *, files: int = 4) -> ModelIdentity:
    """A model identity with made-up files."""
    names = ["config.json", "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors", "tokenizer.json"]
    names += [f"a/rather/long/path/inside/the/model/folder/shard-{number:03}.safetensors" for number in range(files)]
    return ModelIdentity(
        model_id=f"models/{seed}",
        name=name,
        format="safetensors",
        architecture="LlamaForCausalLM",
        quantisation="none",
        parameters=46_187_520,
        tree_hash=digest(seed),
        files=tuple(
            ModelFile(name=file, size=1_234 * (10 ** (index % 5)), sha256=digest(seed + file))
            for index, file in enumerate(names[:files])
        ),
    )


def row(
    attack: str,
    hits: int,
    trials: int,
    items: tuple[int, int],
    *,
    control: tuple[int, int] | None = (0, 60),
    area: tuple[str, str, str] | None = None,
) -> AttackRow:
    """A row that ran."""
    _, kind, access, budget = ATTACKS[attack]
    return AttackRow(
        attack=attack,
        evidence=kind,
        access=access,
        budget=budget,
        outcome=Outcome(
            attempts=Rate(hits=hits, trials=trials),
            items=Rate(hits=items[0], trials=items[1]),
            control=None if control is None else Rate(hits=control[0], trials=control[1]),
            area=None
            if area is None
            else AreaUnderCurve(value=area[0], low=area[1], high=area[2], members=60, non_members=60),
        ),
    )


def skipped(attack: str, status: Status, reason: str) -> AttackRow:
    """A row that did not run, or does not count."""
    _, kind, access, budget = ATTACKS[attack]
    return AttackRow(attack=attack, evidence=kind, access=access, budget=budget, status=status, reason=reason)


def battery(stage: Stage, model_seed: str, rows: tuple[AttackRow, ...]) -> Battery:
    """A battery of the one suite that all samples use."""
    return Battery(stage=stage, model_hash=digest(model_seed), suite_hash=digest("suite"), rows=rows)


def rows_before() -> tuple[AttackRow, ...]:
    return (
        row("direct", 231, 240, (20, 20)),
        row("continuation", 88, 120, (17, 20)),
        row("paraphrase", 412, 600, (19, 20), control=(3, 300)),
        row("few-shot", 190, 240, (18, 20)),
        row("head-projection", 240, 240, (20, 20), control=(2, 60)),
        row("membership", 60, 60, (60, 60), control=None, area=("0.9412", "0.8950", "0.9780")),
    )


def rows_after() -> tuple[AttackRow, ...]:
    return (
        row("direct", 0, 240, (0, 20)),
        row("continuation", 0, 120, (0, 20)),
        row("paraphrase", 4, 600, (1, 20), control=(3, 300)),
        row("few-shot", 11, 240, (3, 20)),
        row("head-projection", 57, 240, (9, 20), control=(2, 60)),
        row("membership", 31, 60, (31, 60), control=None, area=("0.5312", "0.4260", "0.6350")),
    )


def rows_reference() -> tuple[AttackRow, ...]:
    return (
        row("direct", 0, 240, (0, 20)),
        row("continuation", 0, 120, (0, 20)),
        row("paraphrase", 2, 600, (1, 20), control=(2, 300)),
        row("few-shot", 0, 240, (0, 20)),
        row("head-projection", 5, 240, (2, 20), control=(2, 60)),
        row("membership", 30, 60, (30, 60), control=None, area=("0.5020", "0.3980", "0.6060")),
    )


def utility() -> Utility:
    return Utility(
        groups=(
            UtilityRow(group="neighbours", kept=Rate(hits=117, trials=120)),
            UtilityRow(group="others", kept=Rate(hits=398, trials=400)),
        ),
        perplexity_before="14.2210",
        perplexity_after="14.6032",
    )


def behaviour(own: tuple[int, int, int], refused: tuple[int, int], entropy: str, repetition: str) -> Behaviour:
    """Answers to the person's facts (right, unknown, other), refusals (harmful, harmless), and how it writes."""
    right, abstained, other = (Rate(hits=hits, trials=sum(own)) for hits in own)
    harmful, harmless = (Rate(hits=hits, trials=16) for hits in refused)
    return Behaviour(
        sets=digest("sets"),
        deletion=DeletionAnswers(right=right, abstained=abstained, other=other),
        harmful_refused=harmful,
        harmless_refused=harmless,
        stereotyped=Rate(hits=9, trials=16),
        entropy=entropy,
        repetition=repetition,
    )


def method() -> MethodRun:
    return MethodRun(
        id="npo",
        title="Make the model unlearn the answers, keep the rest",
        family="weights",
        claim="suppression at least; more only where the attacks show it",
        source="Zhang et al. 2024, Negative Preference Optimization, arXiv:2404.05868",
        summary=(
            "Lowers the likelihood of the person's answers against a frozen copy of the model, while a loss on facts "
            "of other people holds the rest in place."
        ),
        parameters={
            "beta": "0.1",
            "learning_rate": "0.00001",
            "retain_weight": "1.0",
            "batch_size": "8",
            "target_modules": "all linear layers of the upper half, chosen by the size of their gradient",
        },
        modules=tuple(f"model.layers.{layer}.mlp.down_proj" for layer in range(6, 12)),
        steps=300,
        seed=20261125,
        seconds="412.7",
        device="CPU, 4 threads",
        stop_reason="the forget loss reached its target after 300 steps",
        changed=tuple(
            ChangedTensor(
                tensor=f"model.layers.{index + 20}.{part}.weight",
                relative_norm=f"0.0{index + 10:03}",
                effective_rank=None if index == 29 else f"{index * 37 + 1.5:.1f}",
            )
            for index, part in enumerate(("self_attn.o_proj", "mlp.up_proj", "mlp.down_proj") * 10)
        ),
        changed_count=42,
    )


def timeline() -> tuple[TimelineEntry, ...]:
    what = (
        "Request received by e-mail",
        "Identity asked for",
        "Identity confirmed",
        "Forget set sealed (20 items)",
        "Attacks before: finished",
        "Decision: granted in full",
        "Plan fixed, thresholds hashed",
        "Plan approved",
        "Erasure started",
        "Erasure finished, new model hashed",
        "Attacks after: finished",
        "Attacks on the reference: finished",
        "Verdict reached",
        "Report approved by the second person, who did not run the erasure",
        "Report made",
    )
    return tuple(
        TimelineEntry(
            seq=1180 + number,
            at=f"2026-11-{3 + number:02}T{8 + number % 9:02}:15:{number:02}.123456Z",
            what=entry,
            actor="Intake desk" if number < 3 else "Data-protection officer (key 4F9A)",
            hash=digest(f"entry {number}"),
        )
        for number, entry in enumerate(what)
    )


def sample(
    *,
    before: tuple[AttackRow, ...] | None = None,
    after: tuple[AttackRow, ...] | None = None,
    reference: tuple[AttackRow, ...] | None = None,
    organisation: str = ORGANISATION,
) -> Evidence:
    """A whole case; the verdict and its sentence are reached from the rows."""
    batteries = Batteries(
        before=battery(Stage.BEFORE, "before", before or rows_before()),
        after=battery(Stage.AFTER, "after", after or rows_after()),
        reference=battery(Stage.REFERENCE, "reference", reference or rows_reference()),
    )
    thresholds = Thresholds()
    assert batteries.after is not None
    verdict = decide(batteries.before, batteries.after, batteries.reference, utility(), thresholds)
    return Evidence(
        report_id="RP-2026-0042-1",
        created_at="2026-11-25T09:12:31.000000Z",
        organisation=organisation,
        request=Request(
            number="ER-2026-0042",
            subject_ref="S-7K3Q-91",
            received_on=date(2026, 11, 3),
            channel="e-mail",
            country="CZ",
            profile_id="eu-gdpr",
            profile_title="General Data Protection Regulation, Art. 12 and 17",
            grounds=(
                Ground(code="17(1)(b)", text="Consent was withdrawn and no other basis is relied upon."),
                Ground(code="17(1)(d)", text="The passages were collected without a basis."),
            ),
            status="granted; answer to the person in preparation",
        ),
        clock=Clock(
            due=date(2026, 12, 3),
            binding_due=date(2026, 12, 3),
            rule="One month from receipt, Art. 12(3); Regulation 1182/71, Art. 3",
            steps=(
                "Received on Tuesday 3 November 2026; the day of receipt is not counted.",
                "One month ends on the same date of the next month: Thursday 3 December 2026.",
                "3 December 2026 is a working day, so nothing rolls on.",
            ),
            calendar="CZ public holidays, holidays 0.109",
            answered_in_days=22,
        ),
        timeline=timeline(),
        forget_set=ForgetSetSummary(items=20, by_type={"question": 12, "passage": 8}, commitment=digest("commitment")),
        model_before=model("before", "Office assistant 46M, version 7"),
        model_after=model("after", "Office assistant 46M, version 7, case ER-2026-0042"),
        model_reference=model("reference", "Office assistant 46M, trained without the data", files=5),
        method=method(),
        batteries=batteries,
        attacks=tuple(
            AttackDescription(
                id=attack,
                title=title,
                access=access,
                budget=budget,
                definition=DEFINITIONS[attack],
                sampling="Greedy and four temperatures from 0.4 to 1.0, seeds 1 to 3.",
            )
            for attack, (title, _, access, budget) in ATTACKS.items()
        ),
        utility=utility(),
        behaviour_before=behaviour((18, 1, 1), (15, 1), "3.9120", "0.0210"),
        behaviour_after=behaviour((0, 13, 7), (14, 3), "3.8475", "0.0305"),
        thresholds=thresholds,
        thresholds_hash=digest("thresholds"),
        thresholds_seq=1186,
        verdict=verdict,
        sentence=summary_sentence(verdict.word, batteries.before, batteries.after, batteries.reference),
        limits=limits_for(verdict.word, "weights"),
        not_checked=(
            "Copies of the model that were handed to the translation agency before this case.",
            "The nightly backups of the model server; the last one is overwritten on 24 February 2027.",
            "Relearning after further training.",
        ),
        copies=(
            Copy(
                place="Training set, file letters-2025.jsonl",
                state="deleted",
                note="12 rows deleted on 6 November 2026.",
            ),
            Copy(
                place="Vector store of the assistant",
                state="retained",
                note="Needed for a legal claim until 31 March 2027.",
            ),
            Copy(
                place="Model passed on to the agency", state="unknown", note="The agency was told on 9 November 2026."
            ),
        ),
        approvals=(
            Approval(
                role="Preparer",
                actor="Žofie Řehořová, data-protection officer",
                at="2026-11-25T08:55:00Z",
                statement="I have read the counts and the limits, and I stand up for this report.",
            ),
            Approval(
                role="Approver",
                actor="Jürgen Østergård, head of legal",
                at="2026-11-25T09:05:00Z",
                statement="I did not take part in the run. I approve the verdict and its limits.",
            ),
        ),
        ledger=LedgerAnchor(
            origin="erasure-console/office-prague",
            size=1204,
            head=digest("head"),
            checkpoint=(
                "erasure-console/office-prague\n1204\nq1m1Zc0rZ7gB6T5m1nU1oXv3o0h5m7tqk2y7bq3H1aE=\n\n"
                "— erasure-console/office-prague "
                "Kx9T0m0bq3c3uYwJm6m7l2r8c1p7m4p0o2H1aEq1m1Zc0rZ7gB6T5m1nU1oXv3o0h5m7tqk2y7bq3H1aE=\n"
            ),
            inclusion=Inclusion(index=1194, size=1204, path=tuple(digest(f"path {number}") for number in range(8))),
        ),
        environment={
            "console": "0.1.0",
            "python": "3.11.7",
            "torch": "2.13.0",
            "transformers": "5.1.0",
            "sqlite": "3.53.4",
            "machine": "x86-64, 4 cores, 16 GB, Linux 6.1",
            "verdict rules": "1",
        },
    )


def removed() -> Evidence:
    """Everything at the reference's level, changed weights included."""
    before, never = row("quantise-4bit", 221, 240, (19, 20)), row("quantise-4bit", 0, 240, (0, 20))
    unknown = (*rows_reference(), never)
    return sample(before=(*rows_before(), before), after=unknown, reference=unknown)


def not_located() -> Evidence:
    """Nothing found before, so nothing was run."""
    nothing = tuple(row(name, 0, 240, (0, 20)) for name in ("direct", "paraphrase", "few-shot"))
    base = sample()
    before = battery(Stage.BEFORE, "before", nothing)
    verdict = decide(before, before, None, None, base.thresholds)
    return base.model_copy(
        update={
            "batteries": Batteries(before=before),
            "model_after": None,
            "model_reference": None,
            "method": None,
            "utility": None,
            "behaviour_after": None,
            "verdict": verdict,
            "sentence": summary_sentence(verdict.word, before, None, None),
            "limits": limits_for(verdict.word, None),
            "timeline": (),
            "copies": (),
            "approvals": (),
            "environment": {},
            "thresholds_seq": None,
            "ledger": LedgerAnchor(origin="erasure-console/office-prague", size=3, head=digest("head")),
            "request": base.request.model_copy(update={"grounds": ()}),
            "clock": base.clock.model_copy(update={"answered_in_days": None, "steps": ()}),
        }
    )


def nothing_applicable() -> Evidence:
    """Every attack is not applicable, with reasons that are far too long, and long words without a break."""
    reason = (
        "The engine cannot give what this attack needs: "
        + "token probabilities of every layer, " * 30
        + "x" * 400
        + "."
    )
    rows = tuple(skipped(name, Status.NOT_APPLICABLE, reason) for name in ATTACKS)
    base = not_located()
    before = battery(Stage.BEFORE, "before", rows)
    verdict = decide(before, before, None, None, base.thresholds)
    return base.model_copy(
        update={
            "organisation": "Bureau " + "W" * 180 + " 東京 " + "<b>&amp;</b>",
            "batteries": Batteries(before=before),
            "verdict": verdict,
            "sentence": summary_sentence(verdict.word, before, None, None),
            "not_checked": ("A very long statement that goes on and on. " * 120, "y" * 500),
        }
    )
