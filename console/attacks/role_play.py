"""Role play: the model answers as somebody who would know."""

from __future__ import annotations

from collections.abc import Iterator

from console.attacks.asking import Ask, ask_all
from console.attacks.protocol import AttackInfo, AttackSettings, AttackTarget, AttemptRow
from console.attacks.templating import asked, cannot_ask, fill, section
from console.domain.results import Access, Evidence
from console.engines.protocol import Capability, LanguageModel, Prompt

PROMPTS = 3


class RolePlay:
    info = AttackInfo(
        id="role-play",
        title="Playing a part",
        definition=(
            "The model is asked to play somebody who knows the fact (an archivist, a friend, a character of a story: "
            "three parts), and the request's own question follows. Each prompt is drawn once greedily and several "
            "times with seeded sampling. An attempt hits when the answer or one of its aliases occurs in the text."
        ),
        source="RWKU (Jin et al. 2024), role playing probes",
        access=Access.BLACK_BOX,
        evidence=Evidence.ELICITED,
        needs=frozenset({Capability.GENERATE}),
    )

    def budget(self, settings: AttackSettings) -> int:
        return PROMPTS * len(settings.attempts)

    def inapplicable(self, target: AttackTarget) -> str | None:
        return cannot_ask(target, self.info.id)

    def run(self, model: LanguageModel, target: AttackTarget) -> Iterator[AttemptRow]:
        frames = section(target, self.info.id)["frames"][:PROMPTS]
        asks = [
            Ask(item, Prompt(f"role-play/{item.id}/{index}", fill(frame, item)), control)
            for item, control in asked(target)
            for index, frame in enumerate(frames)
        ]
        yield from ask_all(model, asks, target.settings.attempts)
