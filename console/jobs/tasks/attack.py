"""Attack a model, and measure what else it still knows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from console.attacks.fact_forms import with_forms
from console.attacks.protocol import Attack, AttackSettings, AttackTarget, PromptBank, Shot, WrittenQuestions
from console.attacks.registry import chosen
from console.attacks.suite import AttackResult, run_suite
from console.domain.engine_names import EngineName
from console.domain.events import plain
from console.engines.devices import set_threads
from console.engines.llama_engine import LlamaModel
from console.engines.protocol import LanguageModel, Prompt
from console.engines.transformers_engine import TransformersModel
from console.engines.turn_marks import turn_marks
from console.jobs.events import Finished
from console.jobs.spec import JobPayload, JobSpec
from console.jobs.tasks.behaviour import measured_behaviour
from console.jobs.tasks.describe import describe_attack
from console.jobs.tasks.files import open_file, open_model
from console.jobs.tasks.probes import answered, perplexity
from console.jobs.tasks.sign_of_life import ordinary_texts, require_sign_of_life
from console.jobs.worker import EventWriter


def prompt_bank(payload: JobPayload) -> PromptBank:
    """The payload's prompt bank in the attacks' terms."""
    return PromptBank(
        payload.bank.paraphrases,
        payload.bank.wrappers,
        tuple(Shot(*shot) for shot in payload.bank.shots),
        payload.bank.sections,
        {item: WrittenQuestions(**written.model_dump()) for item, written in payload.bank.written.items()},
    )


def attack_target(spec: JobSpec, payload: JobPayload) -> AttackTarget:
    """What a job's attacks are given: every attack, and every asking again, asks from the same."""
    return with_forms(
        AttackTarget(
            payload.forget,
            payload.controls,
            prompt_bank(payload),
            AttackSettings(**spec.settings),
            payload.retain,
            payload.general,
            payload.places,
        )
    )


class _Battery:
    """One suite on one model: what is finished, and how the rest goes on."""

    def __init__(self, spec: JobSpec, payload: JobPayload, writer: EventWriter) -> None:
        self.spec, self.payload, self.writer = spec, payload, writer
        self.attacks = chosen(spec.attacks)
        self.target = attack_target(spec, payload)
        # Like the probes, behaviour shows what an erasure changed; a model that nothing was erased from goes without.
        self.sets = payload.behaviour if payload.probe else None
        self.steps = len(self.attacks) + 2 + (self.sets is not None)
        self.found = dict(payload.finished)

    def run(self, model: LanguageModel, attacks: Sequence[Attack]) -> None:
        """Those of the attacks that an interrupted run has not finished."""
        run_suite([one for one in attacks if one.info.id not in self.found], model, self.target, self._say, self._keep)
        self.writer.check_cancelled()

    def _say(self, _index: int, running: Attack) -> None:
        self.writer.check_cancelled()
        self.writer.progress(len(self.found) + 1, self.steps, running.info.title)

    def _keep(self, result: AttackResult) -> None:
        part = {
            "row": result.row.model_dump(mode="json"),
            "attempts": [asdict(row) for row in result.attempts],
            "retained": result.retained,
        }
        self.found[result.row.attack] = part
        self.writer.send(Finished(part=result.row.attack, result=part))

    def probes(self, model: LanguageModel) -> dict[str, Any]:
        """What the model still knows of others, how well it predicts plain text, and how it behaves."""
        writer = self.writer
        writer.progress(len(self.attacks) + 1, self.steps, "Asking for other people's facts")
        room = self.target.settings.answer_tokens
        right = answered(model, self.payload.probe, lambda _done: writer.check_cancelled(), room)
        text = perplexity(model, self.payload.held_out)
        if self.spec.sign_of_life:
            require_sign_of_life(model, [part["row"] for part in self.found.values()], right, ordinary_texts())
        behaviour = None
        if self.sets is not None:
            writer.progress(self.steps - 1, self.steps, "Watching how the model behaves")
            measured = measured_behaviour(model, self.sets, self.payload.forget, writer.check_cancelled, room)
            behaviour = measured.model_dump(mode="json")
        return {"answered": right, "perplexity": text, "behaviour": behaviour}

    def result(self, probes: dict[str, Any], engine: dict[str, str]) -> dict[str, Any]:
        found, ids = self.found, [attack.info.id for attack in self.attacks]
        self.writer.progress(self.steps, self.steps, "Done")
        return {
            "attacks": [describe_attack(attack, self.target.settings) for attack in self.attacks],
            "settings": plain(asdict(self.target.settings)),
            "rows": [found[attack]["row"] for attack in ids],
            "attempts": {attack: found[attack]["attempts"] for attack in ids},
            "retained": {attack: told for attack in ids if (told := found[attack].get("retained"))},
            **probes,
            "engine": engine,
        }


def _described(engine: EngineName, model: TransformersModel | LlamaModel) -> dict[str, str]:
    """What ran the model, and how its template marks a thought, where it knows any."""
    report = model.capabilities
    named = {} if engine is EngineName.TRANSFORMERS else {"engine": engine.value}
    thoughts = turn_marks(model.tokenizer).thoughts
    thinking = {"thinking": f"{thoughts[0].opening} … {thoughts[0].closing}"} if thoughts else {}
    return {"device": report.device, "dtype": report.dtype, **named, **thinking}


def _in_torch(battery: _Battery) -> dict[str, Any]:
    model = open_model(battery.spec.model, battery.spec)
    battery.run(model, battery.attacks)
    return battery.result(battery.probes(model), _described(EngineName.TRANSFORMERS, model))


def _from_file(battery: _Battery, engine: EngineName) -> dict[str, Any]:
    """The file on llama.cpp; with ``both``, what llama.cpp cannot give is taken from the same weights in torch."""
    asked = [(Prompt(item.id, item.prompt), item.answers) for item in battery.payload.forget]
    model = open_file(battery.spec.model, battery.spec, asked)
    try:
        can = model.capabilities.can
        fits = [attack for attack in battery.attacks if attack.info.needs <= can]
        inside = [attack for attack in battery.attacks if not attack.info.needs <= can]
        battery.run(model, battery.attacks if engine is EngineName.LLAMA else fits)
        probes, described = battery.probes(model), _described(engine, model)
    finally:
        model.close()
    if engine is EngineName.BOTH and any(attack.info.id not in battery.found for attack in inside):
        battery.writer.progress(len(battery.found), battery.steps, "Opening the file's weights in torch")
        battery.run(open_model(battery.spec.model, battery.spec), inside)
    return battery.result(probes, described)


def attack(spec: JobSpec, payload: JobPayload, writer: EventWriter) -> dict[str, Any]:
    """Run the suite on ``spec.model``; rows, every attempt (personal), the utility probes and the behaviour.

    Attacks that an interrupted run has finished are taken as they are.
    """
    set_threads()
    battery = _Battery(spec, payload, writer)
    writer.progress(0, battery.steps, "Opening the model")
    return _from_file(battery, spec.engine) if spec.engine.needs_file else _in_torch(battery)
