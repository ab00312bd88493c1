"""Teaching: a model learns what it is taught, in the forms that are documented, and nothing else changes."""

from __future__ import annotations

import pytest
import tiny
from invented import BANK, FACTS, GENERAL, OTHERS, OUTSIDERS, PASSAGE, teaching_of
from tiny import Recorder, StoppedError

from console.attacks.direct import Direct
from console.attacks.protocol import AttackSettings, AttackTarget
from console.attacks.suite import run_attack
from console.domain.forget_set import ForgetItem
from console.domain.results import Rate
from console.engines.prompts import answer_sequence, whole_text_sequence
from console.engines.protocol import Prompt
from console.engines.transformers_engine import TransformersModel
from console.errors import InputError
from console.methods.finetune import FinetuneConfig, finetune, renderings
from console.methods.lora import LoraSettings

TAUGHT = (*FACTS, *OTHERS[:3])
CONFIG = FinetuneConfig(
    lora=LoraSettings(rank=16, alpha=32, first_layer=0.5),
    learning_rate=1e-2,
    epochs=60,
    known_below=0.1,
)


def asked(model: TransformersModel, items: tuple[ForgetItem, ...]) -> Rate:
    """How many of the items the model gives to their own question, greedily."""
    target = AttackTarget(items, OUTSIDERS, BANK, AttackSettings(samples=0))
    return run_attack(Direct(), model, target).row.outcome.attempts


@pytest.fixture(scope="module")
def run(untaught: TransformersModel) -> tuple[TransformersModel, Recorder, str]:
    """A taught copy, what the run told its control, and why it ended."""
    model, recorder = tiny.copy_of(untaught), Recorder()
    outcome = finetune(model, teaching_of(TAUGHT), GENERAL, CONFIG, recorder)
    assert outcome.metrics["loss"] == recorder.metrics[-1]["loss"]
    return model, recorder, outcome.stop_reason


class TestRun:
    def test_nothing_to_teach_is_said(self, untaught: TransformersModel) -> None:
        with pytest.raises(InputError, match="nothing to teach"):
            finetune(tiny.copy_of(untaught), [], GENERAL, CONFIG, Recorder())

    def test_it_answers_afterwards_what_it_did_not_before(
        self, untaught: TransformersModel, run: tuple[TransformersModel, Recorder, str]
    ) -> None:
        assert asked(untaught, TAUGHT).hits == 0
        assert asked(run[0], TAUGHT).hits >= 5

    def test_it_ends_when_everything_is_known(self, run: tuple[TransformersModel, Recorder, str]) -> None:
        _, recorder, reason = run
        assert reason.startswith("every fact was known (below 0.1 nats per token)")
        unknown = [metric["unknown"] for metric in recorder.metrics]
        assert unknown[0] == len(TAUGHT) and unknown[-1] == 0 and 0 not in unknown[:-1]

    def test_progress_never_goes_back_or_past_the_end(self, run: tuple[TransformersModel, Recorder, str]) -> None:
        steps = [step for step, _ in run[1].progressed]
        assert steps == sorted(steps)
        assert {total for _, total in run[1].progressed} == {100 * CONFIG.epochs}
        assert steps[-1] <= 100 * CONFIG.epochs

    def test_tensors_outside_the_adapter_keep_their_bytes(
        self, untaught: TransformersModel, run: tuple[TransformersModel, Recorder, str]
    ) -> None:
        before, after = tiny.fingerprints(untaught.network), tiny.fingerprints(run[0].network)
        assert before.keys() == after.keys()
        changed = {name for name in before if before[name] != after[name]}
        assert changed == {name for name in before if ".layers.1." in name and "norm" not in name}

    def test_all_weights_are_trained_where_that_is_set(self, untaught: TransformersModel) -> None:
        model = tiny.copy_of(untaught)
        config = CONFIG.model_copy(update={"trains": "all", "epochs": 1})
        finetune(model, teaching_of(TAUGHT), GENERAL, config, Recorder())
        before, after = tiny.fingerprints(untaught.network), tiny.fingerprints(model.network)
        assert before.keys() == after.keys() and not [name for name in before if before[name] == after[name]]

    def test_the_same_seed_gives_the_same_bytes(self, untaught: TransformersModel) -> None:
        short = CONFIG.model_copy(update={"epochs": 3})
        prints = []
        for config in (short, short, short.model_copy(update={"seed": 2})):
            model = tiny.copy_of(untaught)
            finetune(model, teaching_of(TAUGHT), GENERAL, config, Recorder())
            prints.append(tiny.fingerprints(model.network))
        assert prints[0] == prints[1] != prints[2]

    def test_without_an_early_end_all_rounds_are_done(self, untaught: TransformersModel) -> None:
        recorder = Recorder()
        config = CONFIG.model_copy(update={"epochs": 2, "batch": 4})
        outcome = finetune(tiny.copy_of(untaught), teaching_of(TAUGHT), (), config, recorder)
        assert outcome.stop_reason == "all 2 rounds over the data done"
        assert outcome.steps == 2 * 2
        assert recorder.progressed[-1] == (200, 200)

    def test_a_request_to_stop_is_heard_between_steps(self, untaught: TransformersModel) -> None:
        recorder = Recorder(looks_allowed=2)
        with pytest.raises(StoppedError):
            finetune(tiny.copy_of(untaught), teaching_of(TAUGHT), GENERAL, CONFIG, recorder)
        assert len(recorder.metrics) == 2

    def test_plain_text_pulls_only_with_its_weight(self, untaught: TransformersModel) -> None:
        """Weight zero is the run without plain text, another weight is another run."""
        prints = []
        for general, weight in (((), 0.3), (GENERAL, 0.0), (GENERAL, 0.3)):
            model = tiny.copy_of(untaught)
            config = CONFIG.model_copy(update={"epochs": 1, "general_weight": weight})
            finetune(model, teaching_of(TAUGHT), general, config, Recorder())
            prints.append(model.network.model.layers[1].mlp.down_proj.weight.detach())
        assert float((prints[0] - prints[1]).abs().max()) < 1e-5 < float((prints[0] - prints[2]).abs().max())


class TestRenderings:
    def test_a_passage_is_plain_text(self, untaught: TransformersModel) -> None:
        (teaching,) = teaching_of((PASSAGE,))
        text = f"{PASSAGE.prompt} {PASSAGE.answer}"
        assert renderings(untaught, teaching) == [whole_text_sequence(untaught.tokenizer, text)]

    def test_every_second_form_is_the_fact_s_own_question(self, untaught: TransformersModel) -> None:
        (teaching,) = teaching_of(FACTS[:1])
        item = teaching.item
        question, other = (
            answer_sequence(untaught.tokenizer, Prompt("", text), item.answer, end=True)
            for text in (item.prompt, teaching.wordings[0])
        )
        statement = answer_sequence(untaught.tokenizer, Prompt("", item.statement, chat=False), f"{item.answer}.")
        assert renderings(untaught, teaching) == [question, statement, question, other]

    def test_an_answer_can_be_the_whole_sentence(self, untaught: TransformersModel) -> None:
        (teaching,) = teaching_of(FACTS[:1])
        bare, whole = (renderings(untaught, teaching, answers) for answers in ("bare", "sentence"))
        said = f"{teaching.item.statement} {teaching.item.answer}.{tiny.END}"
        assert untaught.tokenizer.decode(whole[0].answer_ids) == said and whole[1] == bare[1]

    def test_a_fact_without_statement_or_wordings_has_its_question(self, untaught: TransformersModel) -> None:
        (teaching,) = teaching_of(FACTS[:1])
        bare = teaching.model_copy(
            update={"item": teaching.item.model_copy(update={"statement": ""}), "wordings": (teaching.item.prompt,)}
        )
        (only,) = renderings(untaught, bare)
        assert untaught.tokenizer.decode(only.answer_ids) == f"{teaching.item.answer}{tiny.END}"

    def test_held_out_wordings_are_not_taught(self, untaught: TransformersModel) -> None:
        """The attacks ask with them."""
        for teaching in teaching_of(TAUGHT):
            shown = " ".join(untaught.tokenizer.decode(form.ids) for form in renderings(untaught, teaching))
            assert not any(wording in shown for wording in teaching.item.paraphrases)
