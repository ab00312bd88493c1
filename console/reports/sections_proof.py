"""Sections on the proof: the finding before, the method, every attack, utility, and the rule that decided."""

from __future__ import annotations

from decimal import Decimal
from itertools import zip_longest

from reportlab.platypus import Flowable

from console.domain.results import AttackRow, Battery, Behaviour, Outcome, Rate, Status, pooled
from console.domain.results import Evidence as Kind
from console.domain.verdict import RULES_VERSION, Thresholds
from console.domain.verdict_words import WORDS
from console.reports.evidence import ChangedTensor, Evidence, MethodRun
from console.reports.layout import bullets, data_table, gap, heading, key_values, mono, note, small, subheading, text
from console.reports.style import GRID
from console.reports.wording import count_text, interval_text, percent_text, thousands

_SHORT_TABLE = 12
_STATUS_WORDS = {Status.NOT_APPLICABLE: "Not applicable", Status.NOT_POWERED: "Not powered"}


def finding(evidence: Evidence) -> list[Flowable]:
    """What was found in the model as it was."""
    rows = [row for row in evidence.batteries.before.rows if row.outcome is not None and row.status is Status.OK]
    # A short table stays whole on one page; a long one runs over and repeats its header.
    room = {"room": (12 + 4 * len(rows)) * GRID} if len(rows) <= _SHORT_TABLE else {}
    flowables: list[Flowable] = [*heading("Finding before", **room)]
    if not rows:
        return [
            *flowables,
            text("No attack could be run on the model as it was; the reasons stand in the table of attacks."),
        ]
    flowables.append(
        text(
            "How often each attack brought the data out of the model as it was. Facts are counted once, however "
            "many attempts gave them."
        )
    )
    cells = [
        [small(evidence.attack_title(row.attack), bold=True), *_finding_cells(row.outcome)]
        for row in rows
        if row.outcome
    ]
    flowables.append(
        data_table(["Attack", "Attempts that found it", "95 % interval", "Facts found"], cells, [5, 4, 4, 3])
    )
    return flowables


def _finding_cells(outcome: Outcome) -> list[Flowable]:
    if outcome.area is not None:
        area = outcome.area
        return [
            small(f"area under the curve {area.value}"),
            small(f"{area.low} to {area.high}"),
            small("does not apply", greyed=True),
        ]
    return [
        small(count_text(outcome.attempts)),
        small(interval_text(outcome.attempts)),
        small(count_text(outcome.items)),
    ]


def method(evidence: Evidence) -> list[Flowable]:
    """The method, its parameters, and what it did to the weights."""
    run = evidence.method
    if run is None:
        return [*heading("Method"), text("No method was run.")]
    flowables: list[Flowable] = [
        *heading("Method"),
        text(run.summary),
        key_values(
            [
                ("Method", f"{run.title} ({run.id})"),
                ("Family", _FAMILIES[run.family]),
                ("Claims to reach", run.claim),
                ("Source", run.source or "not named"),
                ("Run", f"{thousands(run.steps)} steps in {run.seconds} s on {run.device}; seed {run.seed}"),
                ("Ended because", run.stop_reason),
            ]
        ),
    ]
    if run.stages:
        rows = [
            [
                str(number),
                f"{stage.title} ({stage.name if stage.name == stage.method else f'{stage.name}: {stage.method}'})",
                stage.claim,
                stage.source or "not named",
            ]
            for number, stage in enumerate(run.stages, start=1)
        ]
        flowables += [
            *subheading("Stages, one after the other on the same model"),
            data_table(["", "Method (name of the stage)", "Claims to reach", "Source"], rows, [1, 6, 3, 6]),
        ]
    if run.parameters:
        cells = [[mono(name), mono(value)] for name, value in sorted(run.parameters.items())]
        half = (len(cells) + 1) // 2
        pairs = zip_longest(cells[:half], cells[half:], fillvalue=["", ""])
        flowables += [
            *subheading("Parameters"),
            data_table(["Parameter", "Value"] * 2, [[*left, *right] for left, right in pairs], [4, 3] * 2),
        ]
    if run.modules:
        flowables += [*subheading("Parts of the model it acted on"), mono(", ".join(run.modules)), gap(1)]
    return [*flowables, *_changes(run)]


_FAMILIES = {
    "exact": "exact (trained again without the data)",
    "weights": "change of weights (approximate)",
    "adapter": "adapter (an addition to unchanged weights)",
    "decoding": "decoding (a filter on the output; weights unchanged)",
}


# Without the ending that nearly all of them have, the names of a usual model fit on a line beside two numbers.
_USUAL_ENDING = ".weight"


def _change_cells(tensor: ChangedTensor) -> list[Flowable | str]:
    rank = tensor.effective_rank
    return [
        mono(tensor.tensor.removesuffix(_USUAL_ENDING)),
        mono(tensor.relative_norm),
        "" if rank is None else mono(rank),
    ]


def _changes(run: MethodRun) -> list[Flowable]:
    """The changed tensors in two columns side by side, which halves the pages."""
    flowables: list[Flowable] = [*subheading("What changed in the weights")]
    if not run.changed:
        return [*flowables, text(f"Changed tensors: {run.changed_count}. None is listed in the evidence.")]
    listed = len(run.changed)
    half = (listed + 1) // 2
    rows: list[list[Flowable | str]] = []
    for number in range(half):
        row: list[Flowable | str] = []
        for position in (number, number + half):
            tensor = run.changed[position] if position < listed else None
            row += ["", "", ""] if tensor is None else _change_cells(tensor)
        rows.append(row)
    table = data_table(["Tensor", "Change", "Rank"] * 2, rows, [158, 44, 40] * 2)
    closing = (
        f"{listed} of {run.changed_count} changed tensors listed, without the ending {_USUAL_ENDING} of their names. "
        "Change: norm of the difference over the tensor's. Rank: over how many directions the difference is spread "
        "(effective rank, Roy & Vetterli 2007); a vector has none."
    )
    return [*flowables, table, note(closing)]


def _stage_cell(battery: Battery | None, attack: str) -> Flowable | list[Flowable]:
    row = battery.row(attack) if battery is not None else None
    if row is None:
        return small("not run", greyed=True)
    if row.outcome is None:
        return small(_STATUS_WORDS.get(row.status, "no result").lower(), greyed=True)
    weak = row.status is not Status.OK
    attempts = row.outcome.attempts
    area = row.outcome.area
    if area is None:
        return [
            small(count_text(attempts), bold=not weak, greyed=weak),
            small(percent_text(attempts.share), greyed=weak),
            small(interval_text(attempts), greyed=True),
            small(f"facts {count_text(row.outcome.items)}", greyed=True),
        ]
    return [
        small(f"area {area.value}", bold=not weak, greyed=weak),
        small(f"{area.low} to {area.high}", greyed=True),
        small(f"{area.members} / {area.non_members} texts", greyed=True),
        small(f"hits {count_text(attempts)}", greyed=True),
    ]


def _control_cell(evidence: Evidence, attack: str) -> list[Flowable]:
    lines: list[Flowable] = []
    batteries = evidence.batteries
    for battery in (batteries.before, batteries.after, batteries.reference):
        row = battery.row(attack) if battery is not None else None
        control: Rate | None = row.outcome.control if row is not None and row.outcome is not None else None
        if battery is not None and control is not None:
            lines.append(small(f"{battery.stage.value} {count_text(control)}"))
    return lines or [small("none", greyed=True)]


def _reasons(evidence: Evidence, attack: str) -> list[tuple[Status, str]]:
    """Why a row does not count, once for each distinct reason over the three models."""
    found: list[tuple[Status, str]] = []
    batteries = evidence.batteries
    for battery in (batteries.before, batteries.after, batteries.reference):
        row = battery.row(attack) if battery is not None else None
        if battery is not None and row is not None and row.status is not Status.OK:
            reason = (row.status, row.reason)
            if reason not in found:
                found.append(reason)
    return found


def _attack_cell(evidence: Evidence, row: AttackRow, greyed: bool) -> list[Flowable]:
    # A membership attack names no answers, so it has no budget of answers.
    answers = "answer" if row.budget == 1 else "answers"
    guesses = "" if row.evidence is Kind.MEMBERSHIP else f", at most {row.budget} {answers} a fact"
    return [
        small(evidence.attack_title(row.attack), bold=not greyed, greyed=greyed),
        small(f"{row.access.value}{guesses}", greyed=True),
    ]


def attacks(evidence: Evidence) -> list[Flowable]:
    """Every attack on every model, the ones that do not count included, and what each attack is."""
    rows: list[list[Flowable | list[Flowable] | str]] = []
    spans: dict[int, int] = {}
    batteries = evidence.batteries
    for row in evidence.attack_rows():
        reasons = _reasons(evidence, row.attack)
        never_ran = all(
            battery is None or (found := battery.row(row.attack)) is None or found.outcome is None
            for battery in (batteries.before, batteries.after, batteries.reference)
        )
        if never_ran:
            spans[len(rows)] = 1
            why = [
                small(f"{_STATUS_WORDS.get(status, 'No result')}: {reason}", greyed=True) for status, reason in reasons
            ]
            rows.append([_attack_cell(evidence, row, True), why or small("No result.", greyed=True), "", "", ""])
            continue
        rows.append(
            [
                _attack_cell(evidence, row, row.status is not Status.OK),
                _stage_cell(batteries.before, row.attack),
                _stage_cell(batteries.after, row.attack),
                _stage_cell(batteries.reference, row.attack),
                _control_cell(evidence, row.attack),
            ]
        )
        if reasons:
            spans[len(rows)] = 1
            why = [small(f"{_STATUS_WORDS[status]}: {reason}", greyed=True) for status, reason in reasons]
            rows.append(["", why, "", "", ""])
    flowables: list[Flowable] = [
        *heading("Attacks"),
        text(
            "Each line gives the attempts that found the data, of all attempts, with the exact 95 % interval. The "
            "reference is a model that never knew the data; the control asks for facts that nobody taught the model."
        ),
        data_table(["Attack", "Before", "After", "Reference", "Control"], rows, [124, 96, 96, 96, 88], spans=spans),
        note(
            "Attempts on one fact depend on each other; an interval describes the attempts that were made. For "
            "membership inference the area under the curve is judged: 0.5 is guessing."
        ),
    ]
    return [*flowables, *_asked_again(evidence), *_definitions(evidence)]


def _asked_again(evidence: Evidence) -> list[Flowable]:
    """The fresh draws for what was hit, fact by fact; nothing where nothing was asked again."""
    batteries = evidence.batteries
    rows: list[list[Flowable | list[Flowable] | str]] = []
    never: list[Rate] = []
    for row in evidence.attack_rows():
        drawn = [
            {count.fact: count.rate for count in found.again}
            if battery is not None and (found := battery.row(row.attack)) is not None
            else {}
            for battery in (batteries.before, batteries.after, batteries.reference)
        ]
        for fact in sorted({fact for one in drawn for fact in one}):
            rates = [one.get(fact) for one in drawn]
            if all(rate is None or (rate.hits == 0 and rate.trials < evidence.thresholds.draws) for rate in rates):
                never += [rate for rate in rates if rate is not None]
                continue
            cells = [small("not asked", greyed=True) if rate is None else _rate_cell(rate) for rate in rates]
            rows.append([small(f"{evidence.attack_title(row.attack)}, fact {fact + 1}"), *cells])
    few = pooled(never)
    sentences = []
    if rows:
        sentences.append(
            "A suite makes many attempts, and one of them hits by luck. So what was hit was asked again with fresh "
            "draws of the same questions; these alone are judged."
        )
    if few is not None:
        sentences.append(
            f"Facts that were never hit, in too few attempts to exclude a leak, were asked a few times more: "
            f"{count_text(few)} attempts in all."
        )
    if not sentences:
        return []
    table = [data_table(["Attack and fact", "Before", "After", "Reference"], rows, [4, 2, 2, 2])] if rows else []
    return [*subheading("What was asked again"), text(" ".join(sentences)), *table]


def _definitions(evidence: Evidence) -> list[Flowable]:
    if not evidence.attacks:
        return []
    cells = [
        [
            [small(attack.title, bold=True), small(attack.access.value, greyed=True)],
            small(attack.definition),
            small(attack.sampling),
        ]
        for attack in evidence.attacks
    ]
    return [*subheading("What each attack does"), data_table(["Attack", "Definition", "Sampling"], cells, [3, 9, 4])]


def utility(evidence: Evidence) -> list[Flowable]:
    """What the run did to the rest of the model."""
    return [*heading("Utility"), *_kept(evidence), *_behaviour(evidence)]


def _kept(evidence: Evidence) -> list[Flowable]:
    """Facts of other people, and plain text."""
    measured = evidence.utility
    if measured is None:
        return [text("What happened to the rest of the model was not measured.")]
    cells = [
        [
            small(group.group, bold=True),
            small(count_text(group.kept)),
            small(percent_text(group.kept.share)),
            small(interval_text(group.kept)),
        ]
        for group in measured.groups
    ]
    ratio = measured.perplexity_ratio.quantize(Decimal("0.0001"))
    return [
        text(
            "Facts of other people that the model knew before and still answers, and how well it predicts general text."
        ),
        data_table(["Group", "Still answered", "Share", "95 % interval"], cells, [2, 2, 2, 3]),
        key_values(
            [
                ("Perplexity before", measured.perplexity_before),
                ("Perplexity after", f"{measured.perplexity_after} ({ratio} times the value before)"),
            ]
        ),
    ]


def _behaviour(evidence: Evidence) -> list[Flowable]:
    """How the model behaves before and after; nothing where it was not measured."""
    before, after = evidence.behaviour_before, evidence.behaviour_after
    measured = [stage for stage in (before, after) if stage is not None]
    if not measured:
        return []
    stages = (_behaviour_cells(before), _behaviour_cells(after))
    rows = [[small(line, bold=True), stages[0][number], stages[1][number]] for number, line in enumerate(_BEHAVIOUR)]
    warning = (
        " The two models were given different questions, so the columns must not be compared."
        if len({stage.sets for stage in measured}) > 1
        else ""
    )
    return [
        *subheading("Behaviour", room=48 * GRID),
        data_table(["What the model does", "Before", "After"], rows, [8, 4, 4]),
        note(
            "These measures are not part of the verdict. Each count stands with its exact 95 % interval. A made-up "
            "answer is wrong data about the person. A model without prejudice prefers the prejudiced sentence in about "
            "half of the pairs. Variety and repetition are those of short answers to ordinary instructions." + warning
        ),
    ]


_BEHAVIOUR = (
    "The person's facts, asked for directly: gives the fact",
    "The person's facts: says that it does not know",
    "The person's facts: says something else (made up)",
    "Harmful requests: refuses",
    "Harmless requests that look similar: refuses",
    "Pairs of sentences: the prejudiced one is likelier",
    "Variety of the wording (n-gram entropy, bits)",
    "Repetition (0: none, 1: a loop)",
)


def _behaviour_cells(measured: Behaviour | None) -> list[Flowable | list[Flowable]]:
    """One column, in the order of the lines."""
    if measured is None:
        return [small("not measured", greyed=True) for _ in _BEHAVIOUR]
    own = measured.deletion
    rates = (
        *((None, None, None) if own is None else (own.right, own.abstained, own.other)),
        measured.harmful_refused,
        measured.harmless_refused,
        measured.stereotyped,
    )
    numbers = (measured.entropy, measured.repetition)
    return [
        *(_rate_cell(rate) for rate in rates),
        *(small("not measured", greyed=True) if number is None else small(number) for number in numbers),
    ]


def _rate_cell(rate: Rate | None) -> Flowable | list[Flowable]:
    if rate is None:
        return small("no fact to ask for", greyed=True)
    return [small(count_text(rate)), small(interval_text(rate), greyed=True)]


def earlier(evidence: Evidence) -> list[Flowable]:
    """What became of the requests that were carried out before this one; nothing where there were none."""
    if not evidence.earlier_requests:
        return []
    rows = [
        [
            small(request.number, bold=True),
            small(evidence.attack_title(count.attack)),
            _earlier_cell(count.then),
            _earlier_cell(count.now),
            small(request.standing),
        ]
        for request in evidence.earlier_requests
        for count in request.counts
    ]
    return [
        *heading("Earlier requests"),
        text(
            "Requests that were carried out earlier on the way to this model. A short suite searched the model again "
            "for their data; the counts stand beside those from right after the request's own erasure."
        ),
        data_table(["Request", "Attack", "After its own erasure", "In this model", "Result"], rows, [3, 4, 4, 4, 4]),
        note("The result speaks of a request's attacks together. It is not part of this report's verdict."),
    ]


def _earlier_cell(rate: Rate | None) -> Flowable | list[Flowable]:
    if rate is None:
        return small("not run", greyed=True)
    return [small(count_text(rate)), small(interval_text(rate), greyed=True)]


def decision(evidence: Evidence) -> list[Flowable]:
    """The verdict, the rule, the reasons, what capped it, and the thresholds fixed before."""
    verdict, limits = evidence.verdict, evidence.thresholds
    recorded = "not recorded in the ledger" if evidence.thresholds_seq is None else f"entry {evidence.thresholds_seq}"
    flowables: list[Flowable] = [
        *heading("Decision rule and thresholds"),
        key_values(
            [
                (
                    "Verdict",
                    small(
                        f"{WORDS[verdict.word].title}: rule {verdict.rule}, rules version {verdict.rules_version}",
                        bold=True,
                    ),
                ),
                *([("Compared with", str(verdict.compared_with))] if verdict.compared_with is not None else []),
                ("Thresholds in the ledger", recorded),
                ("Hash of the thresholds", mono(evidence.thresholds_hash)),
            ]
        ),
        *subheading("Why"),
        bullets(verdict.reasons),
    ]
    if verdict.caps:
        flowables += [*subheading("What is missing or weak, and forbids a better word"), bullets(verdict.caps)]
    if verdict.not_counted:
        flowables += [
            *subheading("Attacks that carried nothing; others of their kind did"),
            bullets(verdict.not_counted),
        ]
    if verdict.excluded:
        flowables += [
            *subheading("The smallest leak that this run excludes with 95 % confidence"),
            bullets(verdict.excluded),
        ]
    return [*flowables, *subheading("Thresholds"), data_table(["Threshold", "Value"], _limit_rows(limits), [5, 1])]


def _limit_rows(limits: Thresholds) -> list[list[str]]:
    rows = [
        ["An attack counts only if it found at least this share of the facts before", limits.power],
        ["“Failed” from this share of what ordinary questions brought back before", limits.failed_share],
        ["Share of other people's facts that must still be answered", limits.kept_share],
        ["Largest ratio of the perplexity after to the perplexity before", limits.perplexity_ratio],
    ]
    if limits.rules < RULES_VERSION:
        return [rows[0], ["Fewer attempts than this carry no claim", str(limits.minimum_attempts)], *rows[1:]]
    return [
        *rows,
        ["Share of other people's facts that must be shown to be kept (lower end of the interval)", limits.kept_floor],
        ["Leak of one fact by one way of asking that must be excluded, beyond the compared model", limits.margin],
        ["Leak of all facts together by a deeper kind of evidence that must be excluded", limits.margin],
        ["Leak of one fact by a deeper kind of evidence that must be excluded", limits.fact_margin],
        ["Difference of the areas of membership inference that must be excluded, to both sides", limits.area_margin],
        ["Fresh draws of the same questions for a fact that was hit", str(limits.draws)],
    ]
