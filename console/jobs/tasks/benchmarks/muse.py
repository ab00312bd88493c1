"""MUSE (Shi et al. 2024): six criteria, C1 to C6, on the user's own texts and questions.

Plain prompts without a chat template, as in the paper, whose models are base models. The prompt ends at "Answer:" and
not in a blank, because many tokenizers give a last blank a token of its own that no training text has there.
"""

from __future__ import annotations

from collections.abc import Sequence

from console.domain.benchmark_files import EarlierResult, MuseFiles, Passage, PlainText, QuestionAnswer
from console.domain.benchmark_results import Figure, Wanted
from console.domain.results import AreaUnderCurve
from console.engines.protocol import Prompt
from console.evaluation.measured import Measured, not_measured
from console.evaluation.membership import measured_area, min_k_score
from console.evaluation.muse import (
    KNOWLEDGE_TOKENS,
    PRIVACY_SHARE,
    VERBATIM_TOKENS,
    CurvePoint,
    SixWay,
    UtilityCurve,
    answer_part,
    knowledge_memorisation,
    privacy_leakage,
    verbatim_memorisation,
)
from console.evaluation.overlap import rouge_l
from console.jobs.tasks.benchmarks import measuring
from console.jobs.tasks.benchmarks.measuring import BenchmarkSettings, Examinee, Findings, Models

FEW_TEXTS = 50  # below it, on either side, the interval of an area is too wide to say much

IDS = ("verbatim", "forget-knowledge", "privacy-leakage", "retain-knowledge", "scalability", "sustainability")


def _f1(pairs: Sequence[tuple[str, str]]) -> list[float]:
    return [100 * rouge_l(text, reference).f1 for text, reference in pairs]


def _passages(files: MuseFiles) -> tuple[tuple[Passage, ...], bool]:
    """The passages to continue, and whether they were made from the forget texts."""
    if files.verbmem:
        return files.verbmem, False
    halves = []
    for text in files.forget_text:
        words = text.text.split()
        middle = len(words) // 2
        if middle:
            halves.append(Passage(prompt=" ".join(words[:middle]), continuation=" ".join(words[middle:])))
    return tuple(halves), True


def _cut(examinee: Examinee, text: str) -> str:
    """The first tokens of a true continuation, as many as the model may write."""
    tokenizer = examinee.model.tokenizer
    return str(tokenizer.decode(tokenizer(text, add_special_tokens=False)["input_ids"][:VERBATIM_TOKENS]))


def _verbatim(examinee: Examinee, files: MuseFiles, found: Findings) -> tuple[Measured[float], list[float]]:
    passages, made = _passages(files)
    if not passages:
        return not_measured("no file for verbmem, and no forget_text to make one of"), []
    prompts = [Prompt(f"muse/verbatim/{number}", passage.prompt, chat=False) for number, passage in enumerate(passages)]
    said = examinee.answers(prompts, VERBATIM_TOKENS, "verbatim")
    pairs = [(text, _cut(examinee, passage.continuation)) for text, passage in zip(said, passages, strict=True)]
    values = _f1(pairs)
    found.rows["verbatim"] = [
        {"prompt": passage.prompt, "true": true, "answer": text, "f1": value}
        for passage, (text, true), value in zip(passages, pairs, values, strict=True)
    ]
    note = "each forget text was cut in the middle of its words" if made else ""
    return Measured(verbatim_memorisation(pairs), note=note), values


def _knowledge(
    examinee: Examinee,
    name: str,
    questions: Sequence[QuestionAnswer],
    shots: Sequence[QuestionAnswer],
    found: Findings,
) -> tuple[Measured[float], list[float]]:
    if not questions:
        return not_measured(f"no file for {name}"), []
    solved = "".join(f"Question: {shot.question}\nAnswer: {shot.answer}\n\n" for shot in shots)
    prompts = [
        Prompt(f"muse/{name}/{number}", f"{solved}Question: {question.question}\nAnswer:", chat=False)
        for number, question in enumerate(questions)
    ]
    said = examinee.answers(prompts, KNOWLEDGE_TOKENS, name)
    pairs = [(text, question.answer) for text, question in zip(said, questions, strict=True)]
    values = _f1([(answer_part(text), answer) for text, answer in pairs])
    found.rows[name] = [
        {"question": question.question, "true": question.answer, "answer": text, "f1": value}
        for question, text, value in zip(questions, said, values, strict=True)
    ]
    note = f"{len(shots)} solved questions before each"
    return Measured(knowledge_memorisation(pairs), note=note), values


def _familiar(examinee: Examinee, name: str, texts: Sequence[PlainText], found: Findings) -> list[float]:
    """Min-40 % log-probability of every text."""
    scored = examinee.texts([text.text for text in texts], name)
    values = [min_k_score(score.log_probs, PRIVACY_SHARE) for score in scored]
    label = name if examinee.part == "model" else f"{name} of the {examinee.part}"
    found.rows[label] = [{"text": text.text, "min_k": value} for text, value in zip(texts, values, strict=True)]
    return values


def _areas(examinee: Examinee, files: MuseFiles, found: Findings) -> dict[str, AreaUnderCurve]:
    """Forget, and where there are any retain texts, against held-out ones and each other."""
    groups = {
        name: _familiar(examinee, name, texts, found)
        for name, texts in (
            ("forget_text", files.forget_text),
            ("retain_text", files.retain_text),
            ("holdout_text", files.holdout_text),
        )
        if texts
    }
    pairs = (("forget_text", "holdout_text"), ("retain_text", "holdout_text"), ("forget_text", "retain_text"))
    return {
        f"{left} against {right}": measured_area(groups[left], groups[right])
        for left, right in pairs
        if left in groups and right in groups
    }


def _privacy(areas: dict[str, AreaUnderCurve], retrained: dict[str, AreaUnderCurve]) -> tuple[Measured[float], Figure]:
    """PrivLeak and its figure; the interval is that of the model's own area, the reference held as it is."""
    key = "forget_text against holdout_text"
    id, title = "privacy-leakage", "C3 no privacy leakage (PrivLeak, %)"
    if key not in areas:
        missing: Measured[float] = not_measured("needs files for forget_text and holdout_text")
        return missing, measuring.missing(id, title, missing.reason, "zero")
    own = areas[key]
    reference = float(retrained[key].value) if key in retrained else None
    leak = privacy_leakage(float(own.value), reference)
    if leak.value is None:
        return leak, measuring.missing(id, title, leak.reason, "zero")
    ends = [privacy_leakage(float(area), reference).value for area in (own.high, own.low)]
    few = min(own.members, own.non_members) < FEW_TEXTS
    notes = [leak.note, f"fewer than {FEW_TEXTS} texts on a side: read the interval, not the number" if few else ""]
    note = "; ".join(part for part in notes if part)
    interval = (ends[0], ends[1]) if ends[0] is not None and ends[1] is not None else None
    return leak, measuring.figure(id, title, own.members + own.non_members, leak.value, interval, "zero", note)


def _curve(points: list[CurvePoint], what: str) -> Measured[UtilityCurve]:
    if len(points) < 2:
        return not_measured(f"needs the results of at least two runs; give earlier ones as {what}=FILE")
    try:
        return Measured(UtilityCurve(tuple(points)))
    except ValueError:
        return not_measured("two of the runs have forget sets of one size; a curve needs different ones")


def _point(at: int, result: EarlierResult) -> CurvePoint:
    return CurvePoint(at, result.utility, result.forgotten)


def _curves(files: MuseFiles, this: EarlierResult | None) -> tuple[Measured[UtilityCurve], Measured[UtilityCurve]]:
    """Scalability by the size of the forget set, sustainability in the order of the files; this run comes last."""
    own = () if this is None else (this,)
    by_size = sorted((*files.scalability, *own), key=lambda result: result.forget_size) if files.scalability else []
    in_order = (*files.sustainability, *own) if files.sustainability else ()
    return (
        _curve([_point(result.forget_size, result) for result in by_size], "scalability"),
        _curve([_point(number, result) for number, result in enumerate(in_order, start=1)], "sustainability"),
    )


def _curve_figure(id: str, title: str, found: Measured[UtilityCurve], wanted: Wanted) -> Figure:
    """The utility that the curve loses; its points are in the note."""
    if found.value is None:
        return measuring.missing(id, title, found.reason, wanted)
    curve = found.value
    points = ", ".join(f"{point.utility:.1f} at {point.at}" for point in curve.points)
    note = f"points of utility lost from first to last; {points}; lowest {curve.lowest:.1f}, slope {curve.slope:.3g}"
    return measuring.figure(id, f"{title} (loss)", len(curve.points), curve.loss, None, wanted, note)


def _figures(six: SixWay, values: dict[str, list[float]], privacy: Figure, settings: BenchmarkSettings) -> list[Figure]:
    figures = []
    for id, (title, wanted, found) in zip(IDS, six.rows(), strict=True):
        if id == "privacy-leakage":
            figures.append(privacy)
        elif id in ("scalability", "sustainability"):
            figures.append(_curve_figure(id, title, found, wanted.value))
        elif found.value is None:
            figures.append(measuring.missing(id, title, found.reason, wanted.value))
        else:
            figures.append(measuring.mean(id, title, values[id], settings, wanted.value, found.note))
    return figures


def muse(files: MuseFiles, models: Models, settings: BenchmarkSettings) -> Findings:
    """All six criteria; each that lacks its files says so."""
    passages, _ = _passages(files)
    size = len(files.forget_text) or len(passages) or len(files.forget_qa)
    found = Findings(forget_size=size or None)
    examinee = models.model()
    verbatim, verbatim_values = _verbatim(examinee, files, found)
    forget, forget_values = _knowledge(examinee, "forget_qa", files.forget_qa, files.forget_qa_icl, found)
    retain, retain_values = _knowledge(examinee, "retain_qa", files.retain_qa, files.retain_qa_icl, found)
    areas = _areas(examinee, files, found)
    del examinee
    reference = models.reference() if files.forget_text and files.holdout_text else None
    retrained = {} if reference is None else _areas(reference, files, found)
    leak, privacy = _privacy(areas, retrained)
    this = None
    if size and retain.value is not None:
        this = EarlierResult(forget_size=size, utility=retain.value, forgotten=forget.value)
    scalability, sustainability = _curves(files, this)
    six = SixWay(verbatim, forget, leak, retain, scalability, sustainability)
    values = {"verbatim": verbatim_values, "forget-knowledge": forget_values, "retain-knowledge": retain_values}
    found.figures += _figures(six, values, privacy, settings)
    for part, those in (("model", areas), ("reference", retrained)):
        found.figures += [
            measuring.area(f"{part}-area/{name}", f"Area of the {part}: {name.replace('_', ' ')}", area)
            for name, area in those.items()
        ]
    return found
