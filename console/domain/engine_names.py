"""What may run a model, by name."""

from __future__ import annotations

from enum import StrEnum


class EngineName(StrEnum):
    """What runs the model that is attacked.

    - ``transformers``: torch, with everything; a GGUF file is de-quantised first;
    - ``llama.cpp``: the file as it is deployed; nothing that looks inside the model can run;
    - ``both``: the file on llama.cpp for whatever asks and scores, and the file's own weights in torch for whatever
      looks inside or changes them.
    """

    TRANSFORMERS = "transformers"
    LLAMA = "llama.cpp"
    BOTH = "both"

    @property
    def needs_file(self) -> bool:
        """Whether only a GGUF file can be attacked so."""
        return self is not EngineName.TRANSFORMERS
