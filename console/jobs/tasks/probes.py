"""Side effects, measured: which facts of other people a model answers, and how well it predicts plain text."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from console.attacks.asking import gives_away, room_for
from console.domain.forget_set import ForgetItem, ItemKind
from console.domain.reading import ANSWER_TOKENS
from console.domain.results import decimal_text
from console.engines.protocol import GREEDY, LanguageModel, Prompt, ScoreRequest
from console.errors import NotPossibleError

MOST_NATS = 100.0  # a token; a uniform guess over the largest vocabularies costs 13


def answered(
    model: LanguageModel,
    items: Sequence[ForgetItem],
    on_answer: Callable[[int], None] = lambda _done: None,
    answer_tokens: int = ANSWER_TOKENS,
) -> dict[str, bool]:
    """For each fact, whether the model gives it to its own question, greedily; read as the attacks read."""
    asked = [item for item in items if item.kind is not ItemKind.VERBATIM]
    by_id = {item.id: item for item in asked}
    prompts = [Prompt(item.id, item.prompt) for item in asked]
    right: dict[str, bool] = {}
    for said in model.generate(prompts, (GREEDY,), [room_for(item, answer_tokens) for item in asked]):
        right[said.prompt_id] = gives_away(by_id[said.prompt_id], said.text)
        on_answer(len(right))
    return right


def perplexity(model: LanguageModel, texts: Sequence[str]) -> str | None:
    """Exponential of the mean negative log-likelihood (nats) over all tokens of all texts, as decimal text.

    A text of a single token predicts nothing and is left out; None where no text is left.

    Raises:
        NotPossibleError: the model's probabilities are no numbers.
    """
    scored = model.score([ScoreRequest(text) for text in texts if model.token_count(text) > 1])
    if not scored:
        return None
    tokens = sum(len(result.log_probs) for result in scored)
    loss = -sum(result.total for result in scored) / tokens
    if not loss < MOST_NATS:  # NaN is not below anything
        raise NotPossibleError(
            "The model finds plain text impossible, or its probabilities are no numbers, so what it lost cannot be "
            "measured: it is broken. Erase again with a gentler setting, or check the model's files."
        )
    return decimal_text(round(math.exp(loss), 6))
