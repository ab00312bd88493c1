"""The benchmarks on tiny models: identities first, then what a model that knows and one that does not look like."""

from __future__ import annotations

import io
import math
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import tiny
import torch
from invented import FACTS, OTHERS, OUTSIDERS, SUBJECT

from console.casework.text_files import read_text_file
from console.domain.benchmark_files import (
    AttackProbe,
    Benchmark,
    ChoiceQuestion,
    ConceptVector,
    ContextFact,
    EarlierResult,
    EvokeFiles,
    MuseFiles,
    NamedFile,
    OverfitPrompt,
    Passage,
    PlainText,
    PrimingFiles,
    PrimingKeyword,
    Probe,
    QuestionAnswer,
    RestorFact,
    RestorFiles,
    RwkuFiles,
    TofuFiles,
    TofuQuestion,
    TracesFiles,
    WmdpFiles,
    read_files,
)
from console.domain.benchmark_results import BenchmarkResult, Figure
from console.domain.forget_set import ForgetItem, ItemKind
from console.domain.intervals import clopper_pearson
from console.engines.prompts import answer_sequence
from console.engines.protocol import Prompt, ScoreRequest
from console.engines.transformers_engine import TransformersModel
from console.jobs import worker
from console.jobs.events import CancelledEvent, Done, Failed, Progress, decode
from console.jobs.spec import JobKind, JobPayload, JobSpec, ModelReference
from console.jobs.worker import EventWriter

TOFU_FOLDER = os.environ.get("ERASURE_CONSOLE_TOFU", str(Path(__file__).parents[3] / "shared" / "data" / "tofu"))
FAST: dict[str, Any] = {"answer_tokens": 16, "resamples": 100}
KNOWN = tuple(item for item in OTHERS if item.kind is not ItemKind.VERBATIM)


@pytest.fixture(autouse=True)
def one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    """A job takes every core of its process; here that process is the tests'."""
    monkeypatch.setattr("console.engines.devices.os.cpu_count", lambda: 1)


@pytest.fixture(autouse=True)
def logged(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the worker hands to ``sys.excepthook`` is the engineer's log in a process of its own."""
    monkeypatch.setattr(sys, "excepthook", lambda *_: None)


Evaluate = Callable[..., BenchmarkResult]


def run(spec: JobSpec, payload: JobPayload, *, stop: bool = False) -> Any:
    stream = io.StringIO()
    writer = EventWriter(stream)
    if stop:
        writer.request_stop()
    worker.run(spec, payload, writer)
    events = [decode(line) for line in stream.getvalue().splitlines()]
    assert all(event.step <= event.steps for event in events if isinstance(event, Progress))
    return events[-1]


def spec_for(folder: Path, cache: Path, reference: Path | None, settings: dict[str, Any]) -> JobSpec:
    return JobSpec(
        job_id="evaluate-1",
        kind=JobKind.EVALUATE,
        model=ModelReference(path=str(folder)),
        reference=None if reference is None else ModelReference(path=str(reference)),
        cache=str(cache),
        device="cpu",
        settings=settings,
    )


@pytest.fixture
def evaluate(taught_folder: Path, tmp_path: Path) -> Evaluate:
    """Run a benchmark on the taught model, or on another."""

    def make(
        files: Any,
        model: Path = taught_folder,
        *,
        reference: Path | None = None,
        before: Path | None = None,
        **settings: Any,
    ) -> BenchmarkResult:
        given = FAST | settings
        if before is not None:
            given["before"] = {"path": str(before)}
        final = run(spec_for(model, tmp_path / "cache", reference, given), JobPayload(benchmark=files))
        assert isinstance(final, Done), final
        result = BenchmarkResult.model_validate(final.result)
        for figure in result.figures:
            check(figure)
        assert len({figure.id for figure in result.figures}) == len(result.figures)
        return result

    return make


def check(figure: Figure) -> None:
    """What every figure owes its reader."""
    if figure.value is None:
        assert figure.reason and figure.n == 0
        return
    assert figure.n >= 1 and math.isfinite(figure.value)
    if figure.hits is not None:
        assert (figure.low, figure.high) == clopper_pearson(figure.hits, figure.n)
    if figure.low is not None and figure.high is not None and "lies beside it" not in figure.note:
        assert figure.low <= figure.value + 1e-9 and figure.value <= figure.high + 1e-9, figure


def named(result: BenchmarkResult, id: str) -> Figure:
    return next(figure for figure in result.figures if figure.id == id)


def value(result: BenchmarkResult, id: str) -> float:
    found = named(result, id).value
    assert found is not None, named(result, id).reason
    return found


def questions(items: tuple[ForgetItem, ...]) -> tuple[TofuQuestion, ...]:
    """TOFU rows of facts; the wrong answers are those of other people."""
    wrong = {
        item.fact_type: [other.answer for other in OUTSIDERS if other.fact_type == item.fact_type] for item in items
    }
    return tuple(
        TofuQuestion(
            question=item.prompt,
            answer=item.answer,
            paraphrased_answer=item.answer,
            perturbed_answer=tuple(wrong[item.fact_type]),
        )
        for item in items
    )


FORGET, KEPT = questions(FACTS), questions(KNOWN)
TOFU = TofuFiles(forget=FORGET, retain=KEPT, real_authors=KEPT, world_facts=KEPT)


class TestTofu:
    def test_the_same_model_as_reference_has_forget_quality_one(self, evaluate: Evaluate, taught_folder: Path) -> None:
        result = evaluate(TofuFiles(forget=FORGET), reference=taught_folder)
        assert value(result, "forget-quality") == 1.0
        assert "KS statistic 0.0000" in named(result, "forget-quality").note
        assert value(result, "reference-truth-ratio") == value(result, "forget-truth-ratio")
        assert result.models["model"] == result.models["reference"]
        assert result.rows["forget"][0]["truth_ratio"] == result.rows["forget of the reference"][0]["truth_ratio"]

    def test_a_model_that_knows(self, evaluate: Evaluate) -> None:
        result = evaluate(TOFU)
        assert value(result, "forget-rouge") == 1.0 and value(result, "forget-probability") > 0.9
        assert value(result, "forget-exact-memorisation") == value(result, "forget-extraction-strength") == 1.0
        assert value(result, "model-utility") > 0.9 and named(result, "model-utility").n == 3 * len(KEPT)
        assert named(result, "forget-abstained").hits == 0
        assert named(result, "abstention-precision").reason == "the model never abstained"
        assert "retrained" in named(result, "forget-quality").reason
        assert result.forget_size == len(FORGET)

    def test_a_model_that_knows_nobody(self, evaluate: Evaluate, untaught_folder: Path, taught_folder: Path) -> None:
        result = evaluate(TOFU, untaught_folder, reference=taught_folder)
        assert value(result, "forget-probability") < 0.1 and value(result, "model-utility") < 0.1
        assert value(result, "forget-extraction-strength") < 0.5
        assert value(result, "forget-quality") < 1.0

    def test_the_figures_are_those_of_the_rows(
        self, evaluate: Evaluate, untaught_folder: Path, untaught: TransformersModel
    ) -> None:
        """Each set in its own variant, against a computation of the test's own."""
        result = evaluate(TofuFiles(retain=KEPT, world_facts=KEPT), untaught_folder)
        plain, shares, ratios = [], [], []
        for row in KEPT:
            prompt = Prompt("", row.question)
            true, *wrong = (
                math.exp(scored.mean)
                for scored in untaught.score(
                    [ScoreRequest(text, prompt) for text in (row.answer, *row.perturbed_answer)]
                )
            )
            plain.append(true)
            shares.append(true / (true + sum(wrong)))
            ratios.append(max(0.0, 1 - sum(wrong) / len(wrong) / true))
        assert value(result, "retain-probability") == pytest.approx(sum(plain) / len(plain), rel=1e-4)
        assert value(result, "world-facts-probability") == pytest.approx(sum(shares) / len(shares), rel=1e-4)
        assert value(result, "retain-truth-ratio") == pytest.approx(sum(ratios) / len(ratios), rel=1e-3, abs=1e-6)

    def test_utility_lacks_a_set_and_says_which(self, evaluate: Evaluate) -> None:
        result = evaluate(TofuFiles(retain=KEPT[:2]))
        assert named(result, "model-utility").reason == "no file for real-authors, world-facts"
        assert named(result, "forget-quality").reason == "no file for forget"
        assert not [figure for figure in result.figures if figure.id.startswith("forget-") and figure.value is not None]

    def test_a_single_row_has_no_interval(self, evaluate: Evaluate) -> None:
        found = named(evaluate(TofuFiles(retain=KEPT[:1])), "retain-probability")
        assert found.n == 1 and found.low is None and found.high is None

    def test_the_two_means_of_wrong_answers_differ(self, evaluate: Evaluate, untaught_folder: Path) -> None:
        one, other = (
            value(evaluate(TofuFiles(forget=FORGET), untaught_folder, wrong_answer_mean=mean), "forget-truth-ratio")
            for mean in ("arithmetic", "geometric")
        )
        assert one != other

    def test_answers_that_do_not_fit_are_cut_and_counted(self, evaluate: Evaluate) -> None:
        result = evaluate(TofuFiles(forget=FORGET), answer_tokens=1000)
        assert any("Room for answers" in note and f"{len(FORGET)} times" in note for note in result.notes)

    @pytest.mark.skipif(not Path(TOFU_FOLDER).is_dir(), reason="the public TOFU files are not here")
    def test_the_public_files(self, evaluate: Evaluate, untaught_folder: Path) -> None:
        """All four are read whole; the first rows of each are run."""
        names = ("forget01_perturbed", "retain_perturbed", "real_authors_perturbed", "world_facts_perturbed")
        given = [
            NamedFile(role, read_text_file(Path(TOFU_FOLDER) / f"{name}.jsonl"))
            for role, name in zip(("forget", "retain", "real_authors", "world_facts"), names, strict=True)
        ]
        whole = read_files(Benchmark.TOFU, given)
        assert isinstance(whole, TofuFiles)
        assert [len(whole.forget), len(whole.real_authors), len(whole.world_facts)] == [40, 100, 117]
        few = TofuFiles(
            forget=whole.forget[:2],
            retain=whole.retain[:2],
            real_authors=whole.real_authors[:2],
            world_facts=whole.world_facts[:2],
        )
        result = evaluate(few, untaught_folder, reference=untaught_folder)
        assert value(result, "forget-quality") == 1.0
        assert 0 <= value(result, "model-utility") < 0.5


def pairs(items: tuple[ForgetItem, ...]) -> tuple[QuestionAnswer, ...]:
    return tuple(QuestionAnswer(question=item.prompt, answer=item.answer) for item in items)


def texts(items: tuple[ForgetItem, ...]) -> tuple[PlainText, ...]:
    return tuple(PlainText(text=f"{item.statement} {item.answer}.") for item in items)


MUSE = MuseFiles(
    forget_qa=pairs(FACTS),
    retain_qa=pairs(KNOWN),
    forget_text=texts(FACTS),
    holdout_text=texts(tuple(item for item in OUTSIDERS if item.kind is not ItemKind.VERBATIM)),
)


class TestMuse:
    def test_the_same_model_as_reference_leaks_nothing(self, evaluate: Evaluate, untaught_folder: Path) -> None:
        result = evaluate(MUSE, untaught_folder, reference=untaught_folder)
        assert value(result, "privacy-leakage") == 0.0
        assert "assumed" not in named(result, "privacy-leakage").note

    def test_a_model_that_knows(self, evaluate: Evaluate) -> None:
        result = evaluate(MUSE)
        assert value(result, "forget-knowledge") > 70 and value(result, "retain-knowledge") > 70
        assert value(result, "privacy-leakage") < -20  # forget texts look like training data: under-unlearned
        assert value(result, "model-area/forget_text against holdout_text") > 0.6
        assert (
            "assumed" in named(result, "privacy-leakage").note
            and "fewer than 50" in named(result, "privacy-leakage").note
        )
        assert "cut in the middle" in named(result, "verbatim").note and named(result, "verbatim").n == len(FACTS)
        assert "at least two runs" in named(result, "scalability").reason

    def test_a_model_that_knows_nobody(self, evaluate: Evaluate, untaught_folder: Path) -> None:
        result = evaluate(MUSE, untaught_folder)
        assert value(result, "forget-knowledge") < 30 and value(result, "verbatim") < 30

    def test_passages_that_were_learned_and_passages_that_were_not(
        self, evaluate: Evaluate, untaught_folder: Path
    ) -> None:
        known = MuseFiles(verbmem=tuple(Passage(prompt=item.statement, continuation=item.answer) for item in FACTS))
        assert value(evaluate(known), "verbatim") > 60 and not named(evaluate(known), "verbatim").note
        assert value(evaluate(known, untaught_folder), "verbatim") < 20

    def test_curves_take_earlier_runs_and_this_one_as_the_last(self, evaluate: Evaluate) -> None:
        earlier = (
            EarlierResult(forget_size=9, utility=80.0, forgotten=1.0),
            EarlierResult(forget_size=1, utility=100.0),
        )
        files = MUSE.model_copy(update={"scalability": earlier, "sustainability": earlier})
        result = evaluate(files)
        utility = value(result, "retain-knowledge")
        assert value(result, "scalability") == 20.0  # ordered by size: 1, 3 (this run), 9
        assert f"100.0 at 1, {utility:.1f} at {len(FACTS)}, 80.0 at 9" in named(result, "scalability").note
        assert value(result, "sustainability") == pytest.approx(80.0 - utility)
        twice = MUSE.model_copy(update={"scalability": (earlier[1], earlier[1])})
        assert "of one size" in named(evaluate(twice), "scalability").reason

    def test_without_files_everything_says_what_it_lacks(self, evaluate: Evaluate) -> None:
        result = evaluate(MuseFiles(forget_qa=pairs(FACTS)))
        lacking = {figure.id for figure in result.figures if figure.value is None}
        assert lacking == {"verbatim", "privacy-leakage", "retain-knowledge", "scalability", "sustainability"}

    def test_a_text_of_one_token(self, taught_folder: Path, tmp_path: Path) -> None:
        files = MuseFiles(forget_text=(PlainText(text="a"),), holdout_text=texts(FACTS))
        final = run(spec_for(taught_folder, tmp_path, None, FAST), JobPayload(benchmark=files))
        assert isinstance(final, Failed) and final.kind == "InputError" and "single token" in final.reason


def probes(items: tuple[ForgetItem, ...]) -> tuple[Probe, ...]:
    return tuple(Probe(target=item.subject, query=item.prompt, answer=item.answer) for item in items)


class TestRwku:
    FILES = RwkuFiles(
        forget_level2=probes(FACTS),
        forget_level3=tuple(
            AttackProbe(target=SUBJECT, query=item.prompt, answer=item.answer, type=kind)
            for item, kind in zip(FACTS, ("role-playing", "reverse-query", "role-playing"), strict=True)
        ),
        neighbour_level2=probes(KNOWN),
        mia_forget=texts(FACTS),
        mia_retain=texts(FACTS),
    )

    def test_equal_texts_have_areas_of_a_half(self, evaluate: Evaluate) -> None:
        result = evaluate(self.FILES)
        for signal in ("loss", "zlib", "min-k", "min-k-plus"):
            assert value(result, f"mia-{signal}") == 0.5
            assert value(result, f"mia_forget-{signal}") == value(result, f"mia_retain-{signal}")

    def test_levels_kinds_and_neighbours(self, evaluate: Evaluate) -> None:
        result = evaluate(self.FILES)
        assert named(result, "forget-level1").reason and named(result, "forget-levels").reason
        assert value(result, "forget-level3") == 100.0  # these probes are the taught questions as they are
        assert (named(result, "forget-level3-answered").hits, named(result, "forget-level3-answered").n) == (3, 3)
        assert named(result, "forget-role-playing").n == 2 and named(result, "forget-reverse-query").n == 1
        assert named(result, "forget-all").n == 6
        assert named(result, "neighbour-level2").n == len(KNOWN)
        assert not [figure for figure in result.figures if figure.id == "neighbour-level3"]

    def test_membership_tells_a_taught_text_from_another(self, evaluate: Evaluate) -> None:
        other = tuple(item for item in OUTSIDERS if item.kind is not ItemKind.VERBATIM)
        result = evaluate(RwkuFiles(mia_forget=texts(FACTS), mia_retain=texts(other)))
        assert value(result, "mia-loss") > 0.9 and value(result, "mia-min-k") > 0.5
        assert len(result.rows["mia_retain"]) == len(other)


FALSE = {item.fact_type: item.answer for item in OUTSIDERS}


class TestRestor:
    FILES = RestorFiles(
        facts=tuple(
            RestorFact(
                subject=item.subject,
                relation=item.fact_type,
                question=item.prompt,
                answers=item.answers,
                false_answers=(FALSE[item.fact_type],),
            )
            for item in FACTS
        )
    )

    def test_the_clean_model_as_unlearned_one_recovers_everything(
        self, evaluate: Evaluate, taught_folder: Path, untaught_folder: Path
    ) -> None:
        result = evaluate(self.FILES, reference=taught_folder, before=untaught_folder)
        assert value(result, "recovery") == value(result, "recovery-unclipped") == 1.0
        assert "no false answer" in named(result, "forgetting").reason
        assert named(result, "model-right").hits == len(FACTS) and named(result, "before-right").hits == 0
        assert set(result.models) == {"model", "before", "reference"}

    def test_the_corrupted_model_as_unlearned_one_recovers_nothing(
        self, evaluate: Evaluate, taught_folder: Path, untaught_folder: Path
    ) -> None:
        result = evaluate(self.FILES, untaught_folder, reference=taught_folder, before=untaught_folder)
        assert value(result, "recovery") == 0.0

    def test_false_answers_that_stay_are_not_forgotten(self, evaluate: Evaluate, taught_folder: Path) -> None:
        """The taught model's answers are called the false ones."""
        facts = tuple(
            fact.model_copy(update={"answers": fact.false_answers, "false_answers": fact.answers})
            for fact in self.FILES.facts
        )
        result = evaluate(RestorFiles(facts=facts), reference=taught_folder, before=taught_folder)
        assert value(result, "forgetting") == 0.0
        assert "nothing to recover" in named(result, "recovery").reason

    def test_a_missing_model_is_named(self, evaluate: Evaluate, untaught_folder: Path) -> None:
        result = evaluate(self.FILES, before=untaught_folder)
        assert named(result, "recovery").reason == "needs the clean model (--reference)"

    def test_the_subject_s_own_facts_are_no_example(self, evaluate: Evaluate) -> None:
        from console.jobs.tasks.benchmarks.restor import _prompts

        context = tuple(
            ContextFact(subject=item.subject, relation=item.fact_type, question=item.prompt, answer=item.answer)
            for item in (*FACTS, *KNOWN)
        )
        shown = [prompt.text for prompt in _prompts(self.FILES.model_copy(update={"context": context}))]
        assert all(item.answer not in text for item, text in zip(FACTS, shown, strict=True))
        assert all(text.count("Question:") > 1 for text in shown)


class TestEvoke:
    FILES = EvokeFiles(
        prompts=tuple(
            OverfitPrompt(
                task="relation-specificity",
                prompt=item.statement,
                correct=item.answer,
                target=FALSE[item.fact_type],
                original=FALSE[item.fact_type],
            )
            for item in KNOWN
        )
    )

    def test_the_same_model_before_has_index_zero(self, evaluate: Evaluate, taught_folder: Path) -> None:
        result = evaluate(self.FILES, before=taught_folder)
        assert value(result, "overfit-index") == 0.0
        assert "no alarm" in named(result, "overfit-index").note

    def test_a_model_without_overfit_and_one_with(self, evaluate: Evaluate, untaught_folder: Path) -> None:
        result = evaluate(self.FILES)
        task = "relation-specificity"
        assert named(result, f"{task}-eos").hits == named(result, f"{task}-ams").hits == len(KNOWN)
        assert value(result, f"{task}-cap") > 0.9 > 0.1 > value(result, f"{task}-dp")
        assert "--before" in named(result, "overfit-index").reason
        swapped = EvokeFiles(
            prompts=tuple(
                row.model_copy(update={"correct": row.target, "target": row.correct, "original": None})
                for row in self.FILES.prompts
            )
        )
        other = evaluate(swapped, before=untaught_folder)
        assert named(other, f"{task}-eos").hits == 0 and "alarm: at least" in named(other, "overfit-index").note
        assert named(other, f"{task}-oap").reason and named(other, f"{task}-ams").reason


class TestPriming:
    FILES = PrimingFiles(
        keywords=(
            PrimingKeyword(
                keyword=FACTS[0].answer,
                context=FACTS[0].statement,
                prefixes=tuple(item.statement for item in OUTSIDERS if item.kind is not ItemKind.VERBATIM),
            ),
        )
    )

    def test_the_same_model_primes_nothing(self, evaluate: Evaluate, taught_folder: Path) -> None:
        result = evaluate(self.FILES, before=taught_folder)
        assert value(result, "priming") == 1.0
        assert value(result, "priming-log10") == value(result, "priming-absolute") == 0.0
        assert value(result, "memorisation") == 0.0

    def test_a_taught_word(self, evaluate: Evaluate, untaught_folder: Path) -> None:
        result = evaluate(self.FILES, before=untaught_folder)
        assert value(result, "memorisation") > 1
        assert named(result, "priming-risk").hits == 1
        (row,) = result.rows["keywords"]
        assert row["context_after"] > 0.9 and len(row["prefixes"]) == named(result, "priming").n

    def test_without_the_model_before(self, evaluate: Evaluate) -> None:
        assert "--before" in named(evaluate(self.FILES), "priming").reason


class TestWmdp:
    QUESTIONS = tuple(
        ChoiceQuestion(question=f"Which letter is {letter}?", choices=("w", "x", "y", "z"), answer=letter, topic=topic)
        for letter, topic in (("A", "letters"), ("B", "letters"), ("C", ""))
    )

    def test_the_letter_is_the_likeliest(
        self, evaluate: Evaluate, untaught_folder: Path, untaught: TransformersModel
    ) -> None:
        result = evaluate(WmdpFiles(questions=self.QUESTIONS), untaught_folder)
        for row, question in zip(result.rows["questions"], self.QUESTIONS, strict=True):
            about = f" about {question.topic}" if question.topic else ""
            text = (
                f"The following are multiple choice questions (with answers){about}.\n\n{question.question}\n"
                "A. w\nB. x\nC. y\nD. z\nAnswer:"
            )
            scored = untaught.score([ScoreRequest(letter, Prompt("", text, chat=False)) for letter in "ABCD"])
            assert row["chosen"] == max(zip("ABCD", scored, strict=True), key=lambda pair: pair[1].total)[0]
            assert sum(row["probabilities"].values()) == pytest.approx(1)
        right = sum(row["chosen"] == row["right"] for row in result.rows["questions"])
        assert (named(result, "accuracy").hits, named(result, "accuracy").n) == (right, 3)
        assert named(result, "accuracy/letters").n == 2

    def test_a_model_that_was_taught_the_letters(self, evaluate: Evaluate, tmp_path: Path) -> None:
        from console.jobs.tasks.benchmarks.wmdp import choice_prompt

        model = tiny.model()
        rows = [
            answer_sequence(model.tokenizer, Prompt("", choice_prompt(question), chat=False), question.answer)
            for question in self.QUESTIONS
        ]
        optimizer = torch.optim.AdamW(model.network.parameters(), lr=3e-3)
        loss = 0.0
        for _ in range(60):
            optimizer.zero_grad()
            loss = 0.0
            for row in rows:
                logits = model.network(torch.tensor([row.ids])).logits[0, row.answer_start - 1 : -1]
                part = torch.nn.functional.cross_entropy(logits, torch.tensor(row.answer_ids))
                part.backward()
                loss += float(part.detach())
            optimizer.step()
        assert loss < 0.1, "the tiny model did not learn its letters, so this test shows nothing"
        result = evaluate(WmdpFiles(questions=self.QUESTIONS), tiny.saved(model, tmp_path / "letters"))
        assert named(result, "accuracy").hits == 3 and named(result, "unclear").hits == 0


class TestTraces:
    def test_the_same_model_has_not_moved(self, evaluate: Evaluate, taught_folder: Path) -> None:
        result = evaluate(TracesFiles(), before=taught_folder)
        assert value(result, "jaccard") == 1.0 and value(result, "distance") == 0.0
        assert value(result, "cosine") == pytest.approx(1.0)
        assert named(result, "jaccard").n == 2 * 128 and named(result, "jaccard").low is None

    def test_only_a_named_vector_that_moved(
        self, evaluate: Evaluate, taught: TransformersModel, tmp_path: Path
    ) -> None:
        changed = tiny.copy_of(taught)
        with torch.no_grad():
            changed.network.model.layers[1].mlp.down_proj.weight[:, 5] *= -1
        after, before = tiny.saved(changed, tmp_path / "after"), tiny.saved(taught, tmp_path / "before")
        moved = evaluate(TracesFiles(concepts=(ConceptVector(layer=1, dim=5),)), after, before=before)
        assert value(moved, "cosine") == pytest.approx(-1.0)
        still = evaluate(
            TracesFiles(concepts=(ConceptVector(layer=0, dim=5), ConceptVector(layer=1, dim=4))), after, before=before
        )
        assert value(still, "jaccard") == 1.0 and named(still, "jaccard").n == 2
        everything = evaluate(TracesFiles(), after, before=before)
        assert everything.rows["layers"][1]["most_changed"][0]["dim"] == 5

    def test_gpt2_keeps_its_matrices_the_other_way_round(self, evaluate: Evaluate, tmp_path: Path) -> None:
        model = tiny.model("gpt2")
        changed = tiny.copy_of(model)
        with torch.no_grad():
            changed.network.transformer.h[0].mlp.c_proj.weight[7] *= -1
        after, before = tiny.saved(changed, tmp_path / "after"), tiny.saved(model, tmp_path / "before")
        result = evaluate(TracesFiles(concepts=(ConceptVector(layer=0, dim=7),)), after, before=before)
        assert value(result, "cosine") == pytest.approx(-1.0)

    def test_a_vector_that_is_not_there(self, taught_folder: Path, tmp_path: Path) -> None:
        settings = FAST | {"before": {"path": str(taught_folder)}}
        files = TracesFiles(concepts=(ConceptVector(layer=2, dim=0),))
        final = run(spec_for(taught_folder, tmp_path, None, settings), JobPayload(benchmark=files))
        assert isinstance(final, Failed) and "vector 0 of layer 2" in final.reason

    def test_without_the_model_before(self, evaluate: Evaluate) -> None:
        assert "--before" in named(evaluate(TracesFiles()), "jaccard").reason


class TestJob:
    @pytest.mark.parametrize(
        ("files", "settings", "says"),
        [
            (None, {}, "nothing to evaluate"),
            (TofuFiles(forget=FORGET), {"speed": 3}, "'speed' cannot be used"),
            (TofuFiles(forget=FORGET), {"wrong_answer_mean": "median"}, "'wrong_answer_mean' cannot be used"),
            (
                TofuFiles(forget=(FORGET[0].model_copy(update={"question": "long " * 300}),)),
                {},
                "fills the whole context",
            ),
        ],
    )
    def test_what_the_person_can_correct(
        self, taught_folder: Path, tmp_path: Path, files: Any, settings: dict[str, Any], says: str
    ) -> None:
        final = run(spec_for(taught_folder, tmp_path, None, settings), JobPayload(benchmark=files))
        assert isinstance(final, Failed) and final.kind == "InputError" and says in final.reason

    def test_weights_that_are_no_numbers(self, taught: TransformersModel, tmp_path: Path) -> None:
        broken = tiny.copy_of(taught)
        with torch.no_grad():
            broken.network.lm_head.weight.fill_(float("nan"))
        folder = tiny.saved(broken, tmp_path / "broken")
        final = run(
            spec_for(folder, tmp_path, None, FAST), JobPayload(benchmark=WmdpFiles(questions=TestWmdp.QUESTIONS))
        )
        assert isinstance(final, Failed) and "no numbers" in final.reason

    def test_a_request_to_stop_is_obeyed(self, taught_folder: Path, tmp_path: Path) -> None:
        final = run(spec_for(taught_folder, tmp_path, None, FAST), JobPayload(benchmark=TOFU), stop=True)
        assert isinstance(final, CancelledEvent)

    def test_a_gguf_file_is_a_model_too(self, evaluate: Evaluate, taught: TransformersModel, tmp_path: Path) -> None:
        path = tiny.write_gguf(taught, tmp_path / "tiny.gguf")
        assert value(evaluate(TofuFiles(forget=FORGET), path), "forget-rouge") == 1.0

    def test_the_same_spec_gives_the_same_result(self, evaluate: Evaluate) -> None:
        assert evaluate(MUSE) == evaluate(MUSE)
