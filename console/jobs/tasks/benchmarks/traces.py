"""Parametric traces (Hong et al. 2024, ConceptVectors): do the MLPs' value vectors still spell what they spelt.

Needs the model from before and its weights, and no question at all. With a file of concept vectors only those are
compared, else every one of the model; the output matrix is the earlier model's for both, as in the paper.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from console.domain.benchmark_files import TracesFiles
from console.errors import InputError
from console.evaluation.traces import Matrix, TraceChange, trace_change
from console.jobs.tasks.benchmarks import measuring
from console.jobs.tasks.benchmarks.measuring import BenchmarkSettings, Examinee, Findings, Models

SHOWN = 10  # most changed vectors that a layer's row names
TITLES = {
    "jaccard": "Jaccard of the top 200 tokens",
    "cosine": "Cosine of the value vectors",
    "distance": "Distance of the value vectors (L2)",
}


def _down_projections(network: Any) -> list[Matrix]:
    """(hidden, inner) of every layer, first to last; empty where the architecture names them in no known way."""
    found = []
    for name, module in network.named_modules():
        if name.endswith("mlp.down_proj"):
            found.append(module.weight.detach().float().cpu().numpy())
        elif name.endswith("mlp.c_proj"):
            # GPT-2 keeps its matrices the other way round.
            found.append(module.weight.detach().float().cpu().numpy().T)
    return found


def _head(examinee: Examinee) -> Matrix:
    return examinee.model.network.get_output_embeddings().weight.detach().float().cpu().numpy()


def _chosen(files: TracesFiles, layers: list[Matrix]) -> dict[int, list[int]]:
    """The vectors to compare, by layer.

    Raises:
        InputError: the model has no such vector.
    """
    if not files.concepts:
        return {layer: list(range(matrix.shape[1])) for layer, matrix in enumerate(layers)}
    chosen: dict[int, list[int]] = {}
    for number, concept in enumerate(files.concepts, start=1):
        if concept.layer >= len(layers) or concept.dim >= layers[concept.layer].shape[1]:
            raise InputError(
                f"Concept {number} names vector {concept.dim} of layer {concept.layer}, which the model has not; "
                "both count from 0."
            )
        if concept.dim not in chosen.setdefault(concept.layer, []):
            chosen[concept.layer].append(concept.dim)
    return chosen


def _layer_row(layer: int, dims: list[int], change: TraceChange) -> dict[str, Any]:
    return {
        "layer": layer,
        "vectors": len(dims),
        "jaccard": float(change.jaccard.mean()),
        "cosine": float(change.cosine.mean()),
        "distance": float(change.distance.mean()),
        "most_changed": [
            {
                "dim": dims[place],
                "jaccard": float(change.jaccard[place]),
                "cosine": float(change.cosine[place]),
                "distance": float(change.distance[place]),
            }
            for place in change.most_changed(SHOWN)
        ],
    }


def traces(files: TracesFiles, models: Models, settings: BenchmarkSettings) -> Findings:
    """Means over the compared vectors, and every layer in the rows."""
    found = Findings()
    earlier = models.before()
    if earlier is None:
        reason = "needs the model from before (--before)"
        found.figures += [measuring.missing(id, title, reason) for id, title in TITLES.items()]
        return found
    old, head = _down_projections(earlier.model.network), _head(earlier)
    del earlier
    examinee = models.model()
    new = _down_projections(examinee.model.network)
    if not old or [matrix.shape for matrix in old] != [matrix.shape for matrix in new]:
        reason = "the two models have no down projections of one shape and a known name"
        found.figures += [measuring.missing(id, title, reason) for id, title in TITLES.items()]
        return found
    parts: list[TraceChange] = []
    chosen = _chosen(files, old)
    for step, (layer, dims) in enumerate(chosen.items(), start=1):
        examinee.writer.check_cancelled()
        parts.append(trace_change(old[layer][:, dims], new[layer][:, dims], head))
        found.rows.setdefault("layers", []).append(_layer_row(layer, dims, parts[-1]))
        examinee.writer.progress(step, len(chosen), "Comparing value vectors")
    for id, title in TITLES.items():
        values = np.concatenate([getattr(part, id) for part in parts]).tolist()
        if files.concepts:
            found.figures.append(measuring.mean(id, title, values, settings))
        else:
            note = "every vector of the model: nothing was sampled, so there is no interval"
            found.figures.append(measuring.figure(id, title, len(values), float(np.mean(values)), None, note=note))
    return found
