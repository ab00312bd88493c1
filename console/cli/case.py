"""The walk of a case: locate, erase, attack, report, verify, and the demo that does it all."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer

from console.cli.behaviour import behaviour_json, behaviour_words
from console.cli.sequence import chain_json, chain_words, earlier_json, earlier_words
from console.cli.session import (
    DONE_IN_PART,
    DataDir,
    DeviceOption,
    Force,
    Json,
    SampleModel,
    Session,
    battery_words,
    free_text,
    named_out,
    open_session,
    parse_settings,
    rows,
)
from console.cli.speaking import say, say_beside, say_line, step_teller
from console.domain.advice import AUTO
from console.domain.engine_names import EngineName
from console.domain.reading import ANSWER_TOKENS
from console.paths import Places

app = typer.Typer()
_STAGES = ("before", "after")


@app.command()
def locate(
    number: Annotated[str, typer.Argument(metavar="REQUEST")],
    model: Annotated[str, typer.Option("--model")],
    suite: Annotated[
        str, typer.Option("--suite", help="quick, brief, standard or full; the erased model gets the same.")
    ] = ("quick"),
    helper: Annotated[
        Path | None, typer.Option("--helper", help="A local model that writes questions for the attacks, once a case.")
    ] = None,
    repeats: Annotated[
        int, typer.Option("--repeats", help="Seeds that the sampled attacks are run with; all of them count.")
    ] = 1,
    engine: Annotated[
        EngineName | None,
        typer.Option(
            "--engine",
            help="What runs the models: transformers, llama.cpp (GGUF files only), or both; what fits the model else.",
        ),
    ] = None,
    answer_tokens: Annotated[
        int, typer.Option("--answer-tokens", help="Room for every answer: 96, 192 or 384 tokens; a thought has more.")
    ] = ANSWER_TOKENS,
    device: DeviceOption = "auto",
    as_json: Json = False,
    data_dir: DataDir = None,
) -> None:
    """Find out whether a model holds the data.

    Exit code 1: it does not, as far as the attacks can tell; 3: not found, but not every answer came to its end.
    """
    from console.casework import cases
    from console.casework.demo import battery_json
    from console.casework.requests import forget_items

    session = open_session(as_json, data_dir)
    with session.office() as office:
        word, why = cases.best_word(office, len(forget_items(office, number)), model, suite)
        if not as_json:
            say_beside(f"The best word that an erasure can reach by this search is “{word.value}”: {why}")
        searching = cases.locate(office, number, model, device, suite, helper, repeats, engine, answer_tokens)
        result, _ = session.run(office, searching)
    before = battery_json(result.before)
    reference = battery_json(result.reference) if result.reference else None
    value = {"found": result.found, "by": list(result.by), "before": before, "reference": reference}
    value["within_reach"] = {"word": word.value, "because": why}
    if result.unanswered:
        value["unanswered"] = list(result.unanswered)
    if result.as_written:
        value["as_written"] = list(result.as_written)
    asking = result.before.settings
    value["own_places"] = asking["own_places_counts"]
    if helper is not None:
        value["helper"] = {key: asking[key] for key in ("helper", "helper_written", "helper_wanted")}

    def words() -> None:
        not_found = "not decided: the model was still thinking when its room ended" if result.unanswered else "no"
        rows({"Located": f"yes, by {', '.join(result.by)}" if result.found else not_found})
        if thinking := asking.get("thinking"):
            rows(
                {"Thinking": f"the model thinks first ({thinking}); its thoughts have room of their own, and are read"}
            )
        for sentence in result.unanswered:
            rows({"Cut off": sentence})
        for sentence in result.as_written:
            rows({"As written": sentence})
        if helper is not None:
            rows({"Helper": asking["helper_sentence"]})
        rows({"Own words": asking["own_places_sentence"]})
        battery_words(before)

    session.show(value, words)
    if not result.found:
        raise typer.Exit(DONE_IN_PART if result.unanswered else 1)


@app.command()
def erase(
    number: Annotated[str, typer.Argument(metavar="REQUEST")],
    model: Annotated[str, typer.Option("--model")],
    method: Annotated[str, typer.Option("--method", help="auto: the default; 'advise' tells which can run.")] = AUTO,
    recipe: Annotated[
        Path | None,
        typer.Option("--recipe", metavar="FILE", help="An office's own recipe (JSON) in place of a method."),
    ] = None,
    settings: Annotated[
        list[str] | None, typer.Option("--set", help="key=value, in a recipe STAGE.key=value; may be repeated.")
    ] = None,
    beyond_limits: Annotated[
        str,
        typer.Option(
            "--beyond-limits",
            metavar="REASON",
            help="Why to go on from a model that earlier erasures changed too much; sealed in the vault.",
        ),
    ] = "",
    self_approval: Annotated[
        str,
        typer.Option(
            "--self-approval",
            callback=free_text,
            metavar="REASON",
            help="Why you prepare and approve in one person. The report prints it, so no names; without it, the report "
            "says that no second person was named.",
        ),
    ] = "",
    self_made: Annotated[
        bool, typer.Option("--self-made", help="Erase also what the model itself says about the person (see corpus).")
    ] = False,
    device: DeviceOption = "auto",
    as_json: Json = False,
    data_dir: DataDir = None,
) -> None:
    """Carry out a granted request on a model; writes a new model, the old one stays."""
    from console.casework import cases
    from console.casework.exporting import export_outlook
    from console.casework.recipes import read_recipe
    from console.casework.sequence import measure_of

    session = open_session(as_json, data_dir)
    chosen = parse_settings(settings or [])
    own = None if recipe is None else read_recipe(recipe)
    with session.office() as office:
        use_case = cases.erase(
            *(office, number, model, method, chosen, device),
            approval_reason=self_approval.strip() or cases.NOBODY_NAMED,
            beyond_limits=beyond_limits,
            self_made=self_made,
            recipe=own,
        )
        result, peak = session.run(office, use_case)
        measure = measure_of(office, result.artefact)
        following = after_erasure(number, result.artefact, is_due=export_outlook(office, number).is_due)
    value = {
        "artefact": result.artefact,
        "path": str(result.path),
        "hash_before": result.hash_before,
        "hash_after": result.hash_after,
        "method": result.method,
        "steps": result.steps,
        "stop_reason": result.stop_reason,
        "changed_tensors": result.changed,
        "seconds": round(result.seconds, 1),
        "peak_rss_mb": peak,
        "chain": chain_json(measure),
        "next": following,
    }

    def words() -> None:
        rows({"Artefact": result.artefact, "Hash": result.hash_after, "Stopped": result.stop_reason})
        chain_words(measure)
        rows({"Next": following})

    session.show(value, words)


def _compared(with_what: str | None) -> dict[str, str]:
    return {"Compared with": with_what} if with_what else {}


def _excluded(said: Sequence[str]) -> list[str]:
    return [f"Excluded with 95 % confidence {line}." for line in said]


def after_erasure(number: str, artefact: str, *, is_due: bool) -> str:
    """The command that follows; what was searched as a file is written as one before it is attacked."""
    return f"erasure-console export {artefact}" if is_due else f"erasure-console attack {number} --artefact {artefact}"


@app.command()
def attack(
    number: Annotated[str, typer.Argument(metavar="REQUEST")],
    artefact: Annotated[str, typer.Option("--artefact")],
    device: DeviceOption = "auto",
    as_json: Json = False,
    data_dir: DataDir = None,
) -> None:
    """Attack an erased model as hard as the suite knows, reach the verdict, and search it for earlier requests."""
    from console.casework import cases
    from console.casework.demo import battery_json, utility_json
    from console.casework.sequence import measure_of

    session = open_session(as_json, data_dir)
    with session.office() as office:
        result, _ = session.run(office, cases.attack(office, number, artefact, device))
        measure = measure_of(office, result.artefact)
    verdict = result.verdict
    behaved = (result.before.behaviour, result.after.behaviour)
    value = {
        **verdict.model_dump(mode="json"),
        "verdict": verdict.word.value,
        "before": battery_json(result.before),
        "after": battery_json(result.after),
        "reference": battery_json(result.reference) if result.reference else None,
        "utility": utility_json(result.utility),
        "behaviour": behaviour_json(*behaved, _STAGES),
        "earlier": earlier_json(result.earlier),
        "chain": chain_json(measure),
    }

    def words() -> None:
        rows({"Verdict": f"{verdict.word.value} (rule {verdict.rule})", **_compared(verdict.compared_with)})
        for line in (*verdict.reasons, *verdict.caps, *verdict.not_counted, *_excluded(verdict.excluded)):
            say_line(f"  - {line}")
        battery_words(value["after"])
        behaviour_words(*behaved, _STAGES)
        earlier_words(result.earlier)
        chain_words(measure)

    session.show(value, words)


@app.command()
def transcript(
    number: Annotated[str, typer.Argument(metavar="REQUEST")],
    model: Annotated[str, typer.Option("--model", help="The attacked model or artefact.")],
    attack: Annotated[str | None, typer.Option("--attack", help="Only this attack.")] = None,
    hits: Annotated[bool, typer.Option("--hits", help="Only attempts that hit.")] = False,
    as_json: Json = False,
    data_dir: DataDir = None,
) -> None:
    """What the attacks asked and what the model said, with the person's data blotted out and the hits marked."""
    from dataclasses import asdict

    from console.casework.transcripts import transcript as read

    session = open_session(as_json, data_dir)
    with session.viewing() as office:
        lines = read(office, number, model, attack, hits)

    def words() -> None:
        for line in lines:
            mark = "HIT " if line.hit else "    "
            said = " ".join(line.said.split())
            say_line(f"{mark} {line.attack} · {line.fact} · attempt {line.attempt + 1}")
            say(f"       asked: {' '.join(line.asked.split())}\n       said:  {said}\n")

    session.show([asdict(line) for line in lines], words)


@app.command()
def report(
    number: Annotated[str, typer.Argument(metavar="REQUEST")],
    out: Annotated[Path, typer.Option("--out", help="The PDF file to write.")],
    force: Force = False,
    as_json: Json = False,
    data_dir: DataDir = None,
) -> None:
    """Write and sign the report of a case."""
    from console.casework.reporting import make_report

    session = open_session(as_json, data_dir)
    with session.office() as office:
        made = make_report(office, number, out, replace=force)
    value = {
        "report": str(made.file.path),
        "sha256": made.file.sha256,
        "size": made.file.size,
        "evidence_sha256": made.file.evidence_sha256,
        "verdict": made.evidence.verdict.word.value,
        "signer": made.file.signer_fingerprint,
        "authority": made.authority,
    }
    session.show(value, lambda: rows({"Report": made.file.path, "SHA-256": made.file.sha256}))


@app.command()
def verify(
    path: Annotated[Path, typer.Argument(metavar="F.pdf")],
    authorities: Annotated[
        list[Path] | None,
        typer.Option("--ca", metavar="FILE", help="Certificate of an authority that you trust; may be repeated."),
    ] = None,
    as_json: Json = False,
    data_dir: DataDir = None,
) -> None:
    """Verify a report; with --data-dir of its own office, also against that office's ledger.

    Exit code 0: nothing is red. The headline names the weakest light, such as a signer that this machine does not know
    (give --ca or --data-dir). 1: something is red. 2: the file cannot be judged, such as no PDF.
    """
    from console.casework.checking import check_report, verification_json
    from console.domain.verdict_words import WORDS

    session = open_session(as_json, data_dir)
    if data_dir is None:
        result = check_report(path, authorities=authorities or ())
    else:
        with session.viewing() as office:
            result = check_report(path, office, authorities or ())

    def words() -> None:
        rows({"Result": result.headline.sentence})
        if result.evidence is not None:
            case = f"{result.evidence.request.number}: {WORDS[result.evidence.verdict.word].title}"
            rows({"Case": f"{case} (report {result.evidence.report_id})"})
        for name, light in result.lights.items():
            rows({name.value.capitalize(): f"{light.state.value}: {light.sentence}"})

    session.show(verification_json(result), words)
    if not result.ok:
        raise typer.Exit(1)


@app.command()
def demo(
    method: Annotated[str, typer.Option("--method", help="auto: the default; 'advise' tells which can run.")] = AUTO,
    out: Annotated[Path | None, typer.Option("--out", help="Where the report goes.")] = None,
    force: Force = False,
    sample_model: SampleModel = None,
    device: DeviceOption = "auto",
    as_json: Json = False,
    data_dir: DataDir = None,
) -> None:
    """The whole case on the sample office: register, locate, erase, attack, verdict, signed report."""
    from console.casework.demo import demo_json, run_demo
    from console.casework.recipes import check_method
    from console.casework.sample import fetch_model

    folder = data_dir
    if folder is None:
        folder = Places.default().data / f"demo-{datetime.now():%Y%m%d-%H%M%S}"
    places = Places.choose(folder)
    if data_dir is None:
        places = Places(data=folder, cache=Places.default().cache)
    session = Session(as_json, places)
    if method != AUTO:
        check_method(method)
    named_out(out, places, replace=force)
    fetch_model(places, sample_model, step_teller())
    with session.office_or_new() as office:
        result, peak = session.run(office, run_demo(office, out, sample_model, method, device, replace=force))
    value = demo_json(result, peak)

    def words() -> None:
        compared = _compared(value["compared_with"])
        rows({"Request": result.number, "Verdict": f"{value['verdict']} (rule {value['rule']})", **compared})
        for line in (*value["reasons"], *value["caps"], *value["not_counted"], *_excluded(value["excluded"])):
            say_line(f"  - {line}")
        say("Before\n")
        battery_words(value["before"])
        say("After\n")
        battery_words(value["after"])
        rows({"Report": value["report"], "Took": f"{value['seconds']:.0f} s, {value['peak_rss_mb']} MB at most"})
        say_line(f"Check it: erasure-console verify {value['report']}")

    session.show(value, words)
