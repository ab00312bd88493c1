"""The model's own words: what it says itself, as texts to forget or to keep.

An office's model answers in sentences, with a preamble, in the words of the letters that it has read. Whoever changes
it at bare answers changes it where nobody asks, and holds what it never said. So the model is asked, and what comes
back, whether it gives the fact or not, is the text.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

from console.domain.forget_set import ForgetItem, ItemKind
from console.domain.matching import find_answer
from console.engines.packing import TokenSequence
from console.engines.prompts import answer_sequence, encoded, with_answer
from console.engines.protocol import GREEDY, Attempt, Continuation, Prompt
from console.engines.transformers_engine import TransformersModel
from console.paths import resource

_PLAIN = "Question: {question}\nAnswer:"
_TEMPERATURE = 1.0


@dataclass(frozen=True)
class OwnAnswer:
    """One answer of the model.

    Attributes:
        sequence: the question and the model's words.
        secret: the same tokens, the answer beginning where the fact does; None where the answer does not give it.
    """

    sequence: TokenSequence
    secret: TokenSequence | None


def own_answers(
    model: TransformersModel, items: Sequence[ForgetItem], most_tokens: int, *, until_fact: bool
) -> list[OwnAnswer]:
    """What the model says to each fact's question, in a chat turn and as plain text; passages are not asked for.

    Args:
        most_tokens: of an answer; what is longer is cut there.
        until_fact: cut an answer behind its fact, for what follows may be about anything.
    """
    facts = [item for item in items if item.kind is not ItemKind.VERBATIM]
    asked = [(item, Prompt(f"{item.id}/own-chat", item.prompt)) for item in facts]
    asked += [(item, Prompt(f"{item.id}/own-plain", _PLAIN.format(question=item.prompt), chat=False)) for item in facts]
    heard = model.generate([prompt for _, prompt in asked], [GREEDY], [most_tokens] * len(asked))
    said = {one.prompt_id: one.text.strip() for one in heard}
    found = [
        _answer(model, item, prompt, said[prompt.id], most_tokens, until_fact=until_fact)
        for item, prompt in asked
        if said[prompt.id]
    ]
    return [one for one in found if len(one.sequence.ids) <= model.context_length]


def _answer(
    model: TransformersModel, item: ForgetItem, prompt: Prompt, text: str, most_tokens: int, *, until_fact: bool
) -> OwnAnswer:
    place = find_answer(text, item.answers)
    cut = place is not None and until_fact
    if place is not None and until_fact:
        text = text[: place[1]]
    # An answer that had room left has come to its end.
    ended = prompt.chat and not cut and model.token_count(text) < most_tokens - 1
    sequence = answer_sequence(model.tokenizer, prompt, text, end=ended)
    return OwnAnswer(sequence, None if place is None else _from(model, prompt, text, place[0], sequence))


def _from(model: TransformersModel, prompt: Prompt, text: str, start: int, sequence: TokenSequence) -> TokenSequence:
    """The sequence with its answer from the token that reaches past this character of the text."""
    whole, _seam = with_answer(model.tokenizer, prompt, text)
    _ids, offsets = encoded(model.tokenizer, whole)
    reached = len(whole.text) - len(text) + start
    first = next(index for index, (_, stop) in enumerate(offsets) if stop > reached)
    return TokenSequence(sequence.ids, max(1, first))


def own_texts(model: TransformersModel, subject: str, draws: int, most_tokens: int, seed: int) -> list[TokenSequence]:
    """What the model writes about a person of itself, in seeded draws at temperature 1; no form is given to it."""
    bank = json.loads(resource("prompts", "methods", "about-a-person.json").read_text(encoding="utf-8"))
    prompts = [
        Prompt(f"about/{kind}/{index}", opening.replace("{subject}", subject), chat=kind == "asked")
        for kind in ("openings", "asked")
        for index, opening in enumerate(bank[kind])
    ]
    by_id = {prompt.id: prompt for prompt in prompts}
    attempts = [Attempt(seed=seed + number, temperature=_TEMPERATURE) for number in range(draws)]
    heard = model.generate(prompts, attempts, [most_tokens] * len(prompts)) if draws else ()
    # Answers come out of order, and a sum of numbers depends on its order.
    said: list[Continuation] = sorted(heard, key=lambda one: (one.prompt_id, one.attempt))
    sequences = [answer_sequence(model.tokenizer, by_id[one.prompt_id], one.text) for one in said if one.text.strip()]
    return [sequence for sequence in sequences if len(sequence.ids) <= model.context_length]
