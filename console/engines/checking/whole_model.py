"""The whole check of a model, as ``model add`` makes it; a worker that loads the model makes the same again."""

from __future__ import annotations

from pathlib import Path

from console.engines.checking.gguf_file import check_gguf
from console.engines.checking.model_folder import read_folder
from console.engines.checking.network import open_network, open_tokenizer, require_living_norms
from console.engines.checking.weights_values import require_weights
from console.engines.gguf_snapshot import check_network


def check_model(path: Path) -> None:
    """Whether a model folder or GGUF file can be trusted as far as its bytes say, without loading its weights.

    Raises:
        ModelFileError: names the file and the cause.
    """
    if path.is_dir():
        found = read_folder(path)
        zeros = require_weights(found.tensors)
        network = open_network(found, "meta")
        require_living_norms(found, network, zeros)
        open_tokenizer(found, network.get_input_embeddings().num_embeddings)
        return
    check_network(path, check_gguf(path))
