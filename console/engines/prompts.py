"""From a question to the exact text and tokens a model sees."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from console.engines.packing import TokenSequence
from console.engines.protocol import Prompt, ScoreRequest

Tokenizer = Any  # transformers' fast tokenizer; its class hierarchy carries no usable type


def render(tokenizer: Tokenizer, prompt: Prompt) -> tuple[str, bool]:
    """The prompt as text with the opening of its answer, and whether the tokenizer has to add its special tokens."""
    text, special = _asked(tokenizer, prompt)
    if not prompt.opening:
        return text, special
    # Some tokenizers decode an answer with the blank that it begins with, and some without.
    joined = prompt.opening if prompt.opening[0].isspace() else _following(tokenizer, prompt, prompt.opening)
    return text + joined, special


def _asked(tokenizer: Tokenizer, prompt: Prompt) -> tuple[str, bool]:
    """The prompt before any answer.

    A chat prompt goes through the model's own template (EasyEdit #374: without it, instruct models
    invent); a model without one is asked in a plain question-and-answer form.
    """
    if not prompt.chat:
        return prompt.text, True
    if tokenizer.chat_template:
        messages = [
            message
            for user, assistant in prompt.turns
            for message in ({"role": "user", "content": user}, {"role": "assistant", "content": assistant})
        ]
        messages.append({"role": "user", "content": prompt.text})
        return tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True), False
    shots = "".join(f"Question: {user}\nAnswer: {assistant}\n\n" for user, assistant in prompt.turns)
    return f"{shots}Question: {prompt.text}\nAnswer:", True


def answer_text(tokenizer: Tokenizer, prompt: Prompt, answer: str) -> str:
    """The answer as it follows the prompt: after an opening as it is, else with a space in front where one belongs."""
    return answer if prompt.opening else _following(tokenizer, prompt, answer)


def _following(tokenizer: Tokenizer, prompt: Prompt, answer: str) -> str:
    """What comes first after a prompt: a space in front unless a chat turn or a line was just opened."""
    opened = prompt.chat and bool(tokenizer.chat_template)
    return answer if opened or prompt.text[-1:].isspace() else f" {answer}"


def prompt_ids(tokenizer: Tokenizer, prompt: Prompt) -> tuple[int, ...]:
    """Token ids to generate from."""
    text, special = render(tokenizer, prompt)
    return tuple(tokenizer(text, add_special_tokens=special)["input_ids"])


def answer_sequence(
    tokenizer: Tokenizer, prompt: Prompt, answer: str, *, end: bool = False, max_tokens: int | None = None
) -> TokenSequence:
    """Prompt and answer tokenised as one text, split by character offsets.

    Tokenising the two apart and joining them gives other tokens at the seam (open-unlearning #101,
    #36); the answer is every token that reaches past the prompt's last character.

    Args:
        end: append the end-of-sequence token, so that a trained answer knows where it stops.
        max_tokens: cut the prompt's beginning so that the whole fits; the answer is never cut.
    """
    text, special = render(tokenizer, prompt)
    encoded = tokenizer(
        text + answer_text(tokenizer, prompt, answer), add_special_tokens=special, return_offsets_mapping=True
    )
    ids = list(encoded["input_ids"])
    reaches = [stop > len(text) for _, stop in encoded["offset_mapping"]]
    start = reaches.index(True)
    # A tokenizer may close the text with a special token of its own (offset 0, 0).
    ids = ids[: len(reaches) - reaches[::-1].index(True)]
    if end and tokenizer.eos_token_id is not None:
        ids.append(tokenizer.eos_token_id)
    if max_tokens is not None and len(ids) > max_tokens:
        cut = min(len(ids) - max_tokens, start - 1)
        ids, start = ids[cut:], start - cut
    return TokenSequence(tuple(ids), start)


def request_sequences(tokenizer: Tokenizer, requests: Iterable[ScoreRequest]) -> list[TokenSequence]:
    """The token sequences that score requests stand for."""
    return [
        whole_text_sequence(tokenizer, request.continuation)
        if request.prompt is None
        else answer_sequence(tokenizer, request.prompt, request.continuation)
        for request in requests
    ]


def whole_text_sequence(tokenizer: Tokenizer, text: str, *, max_tokens: int | None = None) -> TokenSequence:
    """A text scored from its second token on (or from its first where the tokenizer opens with a special one).

    Args:
        max_tokens: cut the text's end so that it fits.
    """
    return TokenSequence(tuple(tokenizer(text)["input_ids"][:max_tokens]), 1)
