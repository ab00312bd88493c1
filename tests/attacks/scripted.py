"""A language model that follows a script, and the shipped wordings: prompt attacks are tested without a network."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace

from invented import BANK

from console.attacks.protocol import PromptBank
from console.engines.protocol import (
    Attempt,
    Capability,
    CapabilityReport,
    Continuation,
    Prompt,
    Scored,
    ScoreRequest,
)
from console.paths import resource

WORDINGS = {
    file.name.removesuffix(".json"): json.loads(file.read_text(encoding="utf-8"))
    for file in resource("prompts", "attacks").iterdir()
    if file.name.endswith(".json")
}
SHIPPED: PromptBank = replace(BANK, sections=WORDINGS)


@dataclass
class Scripted:
    """Says what ``says`` returns and prefers what ``likes`` scores highest; remembers everything it was asked."""

    says: Callable[[Prompt, int], str] = lambda _prompt, _attempt: "I do not know."
    likes: Callable[[str], float] = lambda _text: -1.0
    asked: list[Prompt] = field(default_factory=list)
    attempts: list[Attempt] = field(default_factory=list)
    limits: dict[str, int] = field(default_factory=dict)

    @property
    def capabilities(self) -> CapabilityReport:
        return CapabilityReport("scripted", "cpu", "none", frozenset({Capability.GENERATE, Capability.SCORE}))

    def token_count(self, text: str) -> int:
        return len(text.split())

    def generate(
        self, prompts: Sequence[Prompt], attempts: Sequence[Attempt], max_new_tokens: Sequence[int]
    ) -> Iterator[Continuation]:
        self.asked += prompts
        self.attempts += attempts
        self.limits |= {prompt.id: limit for prompt, limit in zip(prompts, max_new_tokens, strict=True)}
        for prompt in reversed(prompts):  # engines answer in an order of their own
            for attempt in range(len(attempts)):
                yield Continuation(prompt.id, attempt, self.says(prompt, attempt))

    def score(self, requests: Sequence[ScoreRequest]) -> list[Scored]:
        self.asked += [request.prompt for request in requests if request.prompt is not None]
        # Two tokens for every word, so that a total would prefer the short option and a mean does not.
        return [
            Scored(tuple(range(count)), (self.likes(request.continuation),) * count)
            for request in requests
            for count in [2 * len(request.continuation.split())]
        ]
