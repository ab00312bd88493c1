"""What runs a model, and as which file it goes into service, in words and without Qt."""

from __future__ import annotations

from dataclasses import dataclass

from console.casework.batteries import snapshot_of
from console.casework.engine_choice import chosen_engine, has_llama_cpp, require_runnable
from console.casework.exporting import ExportOutlook, ExportResult
from console.casework.models import model_state
from console.casework.office import Office
from console.domain.engine_names import EngineName
from console.domain.exports import ExportForm
from console.errors import NotPossibleError
from console.gui.presenter import breakable, format_words
from console.gui.tones import Tone


@dataclass(frozen=True)
class EngineCard:
    """One answer to what runs the model.

    Attributes:
        engine: None for what fits the model.
        missing: why it cannot run this model, or empty.
    """

    engine: EngineName | None
    title: str
    summary: str
    missing: str = ""


_ENGINE_TITLES = {
    EngineName.BOTH: "The file on llama.cpp, its inside in torch",
    EngineName.LLAMA: "llama.cpp alone",
    EngineName.TRANSFORMERS: "torch",
}
_ENGINE_MEANINGS = {
    EngineName.BOTH: "Asks the file as it is in service, and opens its weights for the attacks that look inside.",
    EngineName.LLAMA: "Asks the file as it is in service. The attacks that look inside the model cannot run.",
    EngineName.TRANSFORMERS: "Runs all attacks on the unpacked weights; a GGUF file is not asked quite as in service.",
}
NO_LLAMA_CPP = "llama.cpp is not installed on this computer; packaging/install_llamacpp.py installs it."


def _why_not_run(office: Office, model: str, engine: EngineName) -> str:
    state = model_state(office, model)
    try:
        require_runnable(office, state, engine)
    except NotPossibleError:
        if not engine.needs_file:
            return "An adapter runs on llama.cpp only."
        if not has_llama_cpp():
            return NO_LLAMA_CPP
        own = state["identity"]["format"]
        if own not in {ExportForm.GGUF, ExportForm.ADAPTER}:
            return f"llama.cpp runs GGUF files, and “{model}” is a {format_words(own)}."
        before = snapshot_of(office, state)
        return f"llama.cpp runs GGUF files, and “{before}”, the version from before the training, is none."
    return ""


def engine_cards(office: Office, model: str) -> tuple[EngineCard, ...]:
    """What may run a model; the advised answer first."""
    why_not = {engine: _why_not_run(office, model, engine) for engine in _ENGINE_TITLES}
    fitting = chosen_engine(office, model_state(office, model), None)
    title = _ENGINE_TITLES[fitting]
    named = title if fitting is not EngineName.BOTH else title[:1].lower() + title[1:]
    advised = EngineCard(None, "What fits the model (recommended)", f"For “{model}” that is {named}.", why_not[fitting])
    return (
        advised,
        *(
            EngineCard(engine, title, _ENGINE_MEANINGS[engine], why_not[engine])
            for engine, title in _ENGINE_TITLES.items()
        ),
    )


def why_no_file(outlook: ExportOutlook) -> str:
    """Why the erased model of a case cannot be written as a file, or an empty text."""
    if outlook.source is None:
        return "There is no erased model yet."
    if outlook.base is None:
        return "The erased model was not made from a GGUF file; it goes into service as the folder that it is."
    return "" if has_llama_cpp() else f"The written file is read back on llama.cpp. {NO_LLAMA_CPP}"


def why_no_adapter(outlook: ExportOutlook) -> str:
    """Why an adapter could not be attacked in this case, or an empty text."""
    if outlook.engine is EngineName.TRANSFORMERS:
        return "The search ran in torch, and an adapter runs on llama.cpp only: it could not be verified."
    return ""


def why_no_attack(outlook: ExportOutlook) -> str:
    """Why the newest erased model cannot be attacked as it is, or an empty text."""
    return "Write the erased model as a file first: the search ran on llama.cpp." if outlook.is_due else ""


@dataclass(frozen=True)
class ExportWords:
    """What became of an export: a sentence for the officer, and the numbers for the engineer."""

    sentence: str
    details: str
    tone: Tone


def export_words(result: ExportResult) -> ExportWords:
    """The written file and what reading it back found."""
    gate = result.gate
    lost = result.vanished
    sentence = f"“{result.name}” was written and read back: it says what the erased model says."
    if lost:
        sentence += f" Rounding took the change of {lost} tensor{'s' if lost > 1 else ''} away."
    details = (
        f"file: {result.path}",
        f"SHA-256: {breakable(result.tree_hash)}",
        f"written into: {result.base}",
        f"tensors: {len(result.rewritten)} hold the change, {result.untouched} as in the base",
        f"read back: {gate.texts} texts, {gate.tokens} tokens; largest differences in nats per token:",
        f"  llama.cpp against torch {gate.reading} (at most {gate.reading_tolerance})",
        f"  rounding {gate.rounding} (at most {gate.rounding_tolerance})",
        f"  from end to end {gate.whole}",
    )
    return ExportWords(f"{sentence} Verify it before it is used.", "\n".join(details), Tone.WARN if lost else Tone.GOOD)
