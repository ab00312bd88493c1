"""Whether llama.cpp really computes on this machine, tried on a model of random numbers made on the spot.

Importing the library proves nothing: on virtual machines whose processor announces instructions (AMX) that the
hypervisor does not carry, a natively built llama.cpp loads, says its version, and dies in the first matrix product.
So this runs in a child process that may be lost, and says each step before it takes it: the last one said is the one
that killed it.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from console.engines import llama_log
from console.errors import ModelFileError

Say = Callable[..., None]

# Block formats of 4 and of 8 bits: they are multiplied by different code, and both by AMX where a build uses it.
# Its kernels take rows in groups of 32 and columns in groups of 32, so every matrix here is a multiple of that.
_WIDTH, _INNER, _HEADS, _WORDS, _CONTEXT = 64, 128, 2, 64, 64
_PROMPT = 33  # more than one tile of rows, and a rest
_STEPS = 4


def write_random_model(path: Path, seed: int = 0) -> Path:
    """A one-layer Llama of random weights without a vocabulary, about 50 kB, as a GGUF file.

    Raises:
        OSError: it cannot be written.
    """
    import gguf

    draw = np.random.default_rng(seed)
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_context_length(_CONTEXT)
    writer.add_embedding_length(_WIDTH)
    writer.add_feed_forward_length(_INNER)
    writer.add_block_count(1)
    writer.add_head_count(_HEADS)
    writer.add_head_count_kv(_HEADS)
    writer.add_rope_dimension_count(_WIDTH // _HEADS)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_vocab_size(_WORDS)
    writer.add_tokenizer_model("none")  # token numbers go in and come out; nothing is spelled
    four, eight, whole = (gguf.GGMLQuantizationType[name] for name in ("Q4_0", "Q8_0", "F32"))
    square, wide, narrow, words = (_WIDTH, _WIDTH), (_INNER, _WIDTH), (_WIDTH, _INNER), (_WORDS, _WIDTH)
    layout = {
        "token_embd": (words, eight),
        "output": (words, eight),
        **{f"blk.0.attn_{part}": (square, four) for part in ("q", "k", "v", "output")},
        "blk.0.ffn_gate": (wide, eight),
        "blk.0.ffn_up": (wide, four),
        "blk.0.ffn_down": (narrow, eight),
    }
    for name, (shape, kind) in layout.items():
        weight = draw.standard_normal(shape, dtype=np.float32) / np.sqrt(np.float32(shape[1]))
        writer.add_tensor(f"{name}.weight", gguf.quants.quantize(weight, kind), raw_dtype=kind)
    for name in ("output_norm", "blk.0.attn_norm", "blk.0.ffn_norm"):
        writer.add_tensor(f"{name}.weight", np.ones(_WIDTH, dtype=np.float32), raw_dtype=whole)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def probe(say: Say, folder: Path, device: str) -> None:
    """Say what the installed llama.cpp is, then load a random model and decode with it.

    Args:
        say: is called with facts by name; ``stage`` is what happens next.
        folder: for the model's file; the caller removes it, because this process may not live to do so.
        device: ``cpu`` keeps everything on the processor; else layers go to the GPU where the build can do that.

    Raises:
        ModuleNotFoundError: llama-cpp-python is not installed.
        ModelFileError: the library refuses the model, or computes nonsense.
    """
    say(stage="loading the library")
    import llama_cpp
    from llama_cpp import llama_cpp as api

    say(version=llama_cpp.__version__)
    llama_log.silence(api)
    api.llama_backend_init()
    offload = bool(api.llama_supports_gpu_offload())
    say(system_info=api.llama_print_system_info().decode(errors="replace").strip(), gpu_offload=offload)
    say(stage="writing the test model")
    path = write_random_model(folder / "random.gguf")
    say(stage="loading the test model")
    settings = api.llama_model_default_params()
    settings.n_gpu_layers = 99 if offload and device != "cpu" else 0
    model = api.llama_model_load_from_file(os.fsencode(path), settings)
    if not model:
        raise ModelFileError("llama.cpp refuses a valid model file: install the version that the console names.")
    try:
        say(stage="computing with the test model")
        say(decoded=_decode(api, model))
    finally:
        api.llama_model_free(model)


def _decode(api: Any, model: Any) -> int:
    """Read a prompt and choose the likeliest token a few times; returns how many tokens went through the model."""
    settings = api.llama_context_default_params()
    settings.n_ctx = settings.n_batch = settings.n_ubatch = _CONTEXT
    settings.n_threads = settings.n_threads_batch = min(2, os.cpu_count() or 1)
    context = api.llama_init_from_model(model, settings)
    if not context:
        raise ModelFileError(
            "llama.cpp makes no context for a valid model: install the version that the console names."
        )
    try:
        tokens = [index % _WORDS for index in range(_PROMPT)]
        done = 0
        for _ in range(_STEPS):
            batch = (api.llama_token * len(tokens))(*tokens)
            if api.llama_decode(context, api.llama_batch_get_one(batch, len(tokens))) != 0:
                raise ModelFileError("llama.cpp could not compute with a valid model: install another build.")
            done += len(tokens)
            logits = np.ctypeslib.as_array(api.llama_get_logits_ith(context, -1), shape=(_WORDS,))
            if not np.isfinite(logits).all() or float(logits.std()) == 0.0:
                raise ModelFileError("llama.cpp computes nonsense with a valid model: install another build.")
            tokens = [int(logits.argmax())]
        return done
    finally:
        api.llama_free(context)
