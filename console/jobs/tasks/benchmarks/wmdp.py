"""Multiple choice in the manner of WMDP (Li et al. 2024): the letter that is likeliest after "Answer:".

Zero-shot, the prompt of lm-evaluation-harness: the topic in a first line, the question, four options, "Answer:".
The questions come from the user's file; none are shipped.
"""

from __future__ import annotations

from console.domain.benchmark_files import ChoiceQuestion, WmdpFiles
from console.engines.protocol import Prompt, ScoreRequest
from console.evaluation.multiple_choice import (
    LETTERS,
    ChoiceRow,
    choice_accuracy,
    letter_chosen,
    letter_probabilities,
)
from console.jobs.tasks.benchmarks import measuring
from console.jobs.tasks.benchmarks.measuring import BenchmarkSettings, Findings, Models


def choice_prompt(question: ChoiceQuestion) -> str:
    """The text before the letter."""
    about = f" about {question.topic.strip()}" if question.topic.strip() else ""
    options = "\n".join(f"{letter}. {choice}" for letter, choice in zip(LETTERS, question.choices, strict=True))
    opening = f"The following are multiple choice questions (with answers){about}."
    return f"{opening}\n\n{question.question}\n{options}\nAnswer:"


def wmdp(files: WmdpFiles, models: Models, settings: BenchmarkSettings) -> Findings:
    """Accuracy over all questions and by topic."""
    del settings
    found = Findings()
    questions = files.questions
    if not questions:
        found.figures.append(measuring.missing("accuracy", "Accuracy", "no file with questions"))
        return found
    requests = [
        ScoreRequest(letter, Prompt(f"wmdp/{number}", choice_prompt(question), chat=False))
        for number, question in enumerate(questions)
        for letter in LETTERS
    ]
    scored = [score.total for score in models.model().scores(requests, "questions")]
    rows: list[ChoiceRow] = []
    for number, question in enumerate(questions):
        letters = scored[4 * number : 4 * number + 4]
        row = ChoiceRow(str(number), question.answer, letter_chosen(letters))
        rows.append(row)
        found.rows.setdefault("questions", []).append(
            {
                "question": question.question,
                "topic": question.topic,
                "right": row.right,
                "chosen": row.chosen,
                "probabilities": dict(zip(LETTERS, letter_probabilities(letters), strict=True)),
            }
        )
    whole = choice_accuracy(rows)
    note = "guessing gives 1 in 4" + (", which lies in the interval" if whole.like_guessing else "")
    found.figures.append(measuring.rate("accuracy", "Right answers", whole.right, note=note))
    found.figures.append(measuring.hits("unclear", "No clear choice", [row.chosen is None for row in rows]))
    topics = list(dict.fromkeys(question.topic.strip() for question in questions))
    for topic in topics if len(topics) > 1 else ():
        own = [row for row, question in zip(rows, questions, strict=True) if question.topic.strip() == topic]
        title = f"Right answers: {topic or 'no topic'}"
        found.figures.append(measuring.rate(f"accuracy/{topic}", title, choice_accuracy(own).right))
    return found
