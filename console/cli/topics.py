"""How ``--help`` lists the commands: by what a person wants to do, in the order in which one does it."""

from __future__ import annotations

from typing import Any

from typer.core import TyperGroup

EXIT_CODES = (
    "Exit codes: 0 done, 1 the answer is no, 2 the input cannot be used (one sentence says why), 3 done in part "
    "(what was left out is listed)."
)
TOPICS: dict[str, tuple[str, ...]] = {
    "Start": ("office", "app", "demo", "sample", "doctor"),
    "Requests": ("request", "deadline"),
    "A case, step by step": ("locate", "advise", "erase", "export", "attack", "report", "verify"),
    "A closer look at a case": ("transcript", "compare", "recheck", "changes", "corpus"),
    "Models and methods": ("model", "methods", "attacks", "scan", "neurons"),
    "Records": ("ledger", "replay", "job"),
    "Benchmarks": ("bench", "evaluate"),
}
_TOPIC_OF = {name: topic for topic, names in TOPICS.items() for name in names}
_ORDER = {name: place for place, name in enumerate(_TOPIC_OF)}


class ByTopic(TyperGroup):
    """A group of commands that its help shows under topics. A command without one comes last, under "Commands"."""

    def list_commands(self, ctx: Any) -> list[str]:
        return sorted(super().list_commands(ctx), key=lambda name: _ORDER.get(name, len(_ORDER)))

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        command: Any = super().get_command(ctx, cmd_name)
        if command is not None and cmd_name in _TOPIC_OF:
            command.rich_help_panel = _TOPIC_OF[cmd_name]
        return command
