"""Which engine runs a model, where nobody chose, and which ones cannot."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Any

from console.casework.batteries import snapshot_of
from console.casework.models import model_state
from console.casework.office import Office
from console.domain.engine_names import EngineName
from console.domain.exports import ExportForm
from console.errors import NotPossibleError


def has_llama_cpp() -> bool:
    """Whether llama.cpp's Python package is there; it is looked for and not loaded."""
    return find_spec("llama_cpp") is not None


def chosen_engine(office: Office, state: dict[str, Any], wanted: EngineName | None) -> EngineName:
    """The engine that somebody named, or the one that comes closest to how the model is deployed.

    A GGUF file runs on llama.cpp and is looked into in torch, where llama.cpp is installed and the reference, if there
    is one, is such a file as well. Everything else runs in torch.

    Raises:
        NotPossibleError: the named engine cannot run the model or its reference.
    """
    if wanted is not None:
        require_runnable(office, state, wanted)
        return wanted
    fits = has_llama_cpp() and all(_is_file(one) for one in _attacked(office, state))
    return EngineName.BOTH if fits else EngineName.TRANSFORMERS


def require_runnable(office: Office, state: dict[str, Any], engine: EngineName) -> None:
    """Refuse before anything runs what the engine cannot run.

    Raises:
        NotPossibleError: the sentence says what to do.
    """
    if not engine.needs_file:
        if state["identity"]["format"] == ExportForm.ADAPTER:
            raise NotPossibleError(
                f"The adapter '{state['name']}' runs on llama.cpp only; search the model with --engine llama.cpp or "
                "both before the erasure."
            )
        return
    if not has_llama_cpp():
        raise NotPossibleError(
            "llama.cpp is not installed here; install it with 'python packaging/install_llamacpp.py', or choose the "
            "engine transformers."
        )
    for one in _attacked(office, state):
        if not _is_file(one):
            raise NotPossibleError(
                f"llama.cpp runs GGUF files, and '{one['name']}' is a {one['identity']['format']} folder; write it as "
                f"one first (export {one['name']}), or choose the engine transformers."
            )


def _attacked(office: Office, state: dict[str, Any]) -> list[dict[str, Any]]:
    """The model, and the reference that gets the same attacks."""
    snapshot = snapshot_of(office, state)
    return [state, *([model_state(office, snapshot)] if snapshot else [])]


def _is_file(state: dict[str, Any]) -> bool:
    return state["identity"]["format"] in {ExportForm.GGUF, ExportForm.ADAPTER}
