"""Law: asked plainly, every sample's metric is what the harness itself says of the same model.

Both compute in double precision here, so that nothing but equality is accepted.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import lm_eval
import pytest
from lm_eval.api.model import LM
from lm_eval.tasks import TaskManager
from tests.integrations.harness.conftest import Recorder
from tests.lm.models.checkpoints import save_model, sentencepiece_tokenizer

from palimpsest.errors import UserError
from palimpsest.judging.evaluation import evaluate, settings_for
from palimpsest.judging.questions import PROMPT_CUT
from palimpsest.judging.via import parse_via
from palimpsest.lm import TIED
from palimpsest.lm.models import LanguageModel, ScriptedModel, load_model
from palimpsest.lm.suites import Suite, load_suite
from palimpsest.records import AnswerRow, AnswerStore, answer_flag

TASKS = [
    *("plain_words", "two_filters,filter=whole", "two_filters,filter=lower-word", "repeated"),
    *("several_targets", "described", "unstopped", "own_results", "index_target", "choice"),
    *("choice,metric=acc_norm", "choice,metric=acc_bytes", "choice_fewshot,metric=acc_norm"),
    *("choice,metric=exact_match", "choice_function", "sentences", "sentences,metric=acc_norm"),
    *("choice_results", "several_right", "last_word", "described,num_fewshot=1"),
    *("described,apply_chat_template=true", "plain_words,apply_chat_template=true"),
    "described,apply_chat_template=true,system_instruction=Be brief.",
    "described,apply_chat_template=true,fewshot_as_multiturn=false",
    *("choice,apply_chat_template=true", "choice_fewshot,apply_chat_template=true"),
    *("last_word,apply_chat_template=true", "wordy", "wordy,apply_chat_template=true"),
]
OTHERS = [
    *("unstopped", "choice", "choice,metric=acc_norm", "last_word", "sentences"),
    *("described,apply_chat_template=true", "choice,apply_chat_template=true"),
]
BARE = "{% for m in messages %}[{{ m.role }}] {{ m.content }}\n{% endfor %}[assistant]"
"""A chat template without a start token: the harness puts the tokenizer's in front."""

ROUNDING = 1e-9
"""Nats, and shares of them: sums of double precision in another order."""


class Pair(NamedTuple):
    """One checkpoint, opened by the harness and by us."""

    theirs: LM
    spec: str


@pytest.fixture(scope="module")
def opened(weights: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Pair]:
    from lm_eval.models.huggingface import HFLM

    made: dict[str, Pair] = {}

    def checkpoint(kind: str) -> Path:
        if kind.startswith("rosetta"):
            return weights
        folder = tmp_path_factory.mktemp(kind)
        tokenizer = sentencepiece_tokenizer()
        tokenizer.chat_template = BARE
        tokenizer.save_pretrained(folder)
        return save_model(folder, kind, seed=1, vocab_size=512)  # some answers begin with a space

    def pair(kind: str) -> Pair:
        if kind not in made:
            folder, dtype = checkpoint(kind), "float32" if kind.endswith("single") else "float64"
            theirs = HFLM(pretrained=str(folder), device="cpu", batch_size=8, dtype=dtype)
            made[kind] = Pair(theirs, f"hf:{folder},dtype={dtype}")
        return made[kind]

    return pair


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    # Asks a dozen programs about the machine, which takes longer than our tests.
    monkeypatch.setattr("lm_eval.evaluator.add_env_info", lambda _: None)
    monkeypatch.setattr("datasets.config.HF_UPDATE_DOWNLOAD_COUNTS", False)  # over the network


def answers(spec: str, model_spec: str, tmp_path: Path) -> list[AnswerRow]:
    return ask(load_model(model_spec), load_suite(spec), tmp_path)


def ask(model: LanguageModel, suite: Suite, tmp_path: Path) -> list[AnswerRow]:
    with AnswerStore(tmp_path / "answers.sqlite") as store:
        return evaluate(
            model,
            suite,
            [parse_via("identity", suite)],
            store=store,
            role="tuned",
            settings=settings_for(suite, [model]),
        )


def samples(model: LM, folder: Path, options: dict[str, str], task: str) -> list[dict[str, Any]]:
    few = options.get("num_fewshot")
    results: Any = lm_eval.simple_evaluate(
        model=model,
        tasks=[task],
        task_manager=TaskManager(include_path=str(folder), include_defaults=False),
        bootstrap_iters=0,
        num_fewshot=None if few is None else int(few),
        apply_chat_template="apply_chat_template" in options,
        fewshot_as_multiturn=options.get("fewshot_as_multiturn") != "false",
        system_instruction=options.get("system_instruction"),
    )
    logged = results["samples"][task]
    wanted = options.get("filter", logged[0]["filter"])
    return [sample for sample in logged if sample["filter"] == wanted]


def both(
    pair: Pair, spec: str, task_folder: Path, tmp_path: Path
) -> tuple[list[AnswerRow], list[dict[str, Any]], str]:
    """Return our rows, the harness's samples, and the metric by which they are judged."""
    task, *written = spec.split(",")
    options = dict(each.split("=") for each in written)
    rows = answers(f"lm-eval:{spec},include_path={task_folder}", pair.spec, tmp_path)
    logged = samples(pair.theirs, task_folder, options, task)
    assert len(rows) == len(logged) > 0
    names = [name for name in logged[0]["metrics"] if name != "perplexity"]
    return rows, logged, options.get("metric", names[0])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "spec"),
    [
        *(("rosetta", spec) for spec in TASKS),
        *((kind, spec) for kind in ("llama", "gpt2", "gemma3") for spec in OTHERS),
    ],
)
def test_every_sample_has_the_metric_that_the_harness_gives_it(
    kind: str,
    spec: str,
    opened: Callable[[str], Pair],
    task_folder: Path,
    tmp_path: Path,
) -> None:
    rows, logged, metric = both(opened(kind), spec, task_folder, tmp_path)
    said = [sample[metric] for sample in logged]
    if metric == "share":  # is a quotient of likelihoods
        said = [pytest.approx(value, rel=ROUNDING) for value in said]
    assert [row.score for row in rows] == said
    for row, sample in zip(rows, logged, strict=True):
        assert_same_replies(row, sample)


def assert_same_replies(row: AnswerRow, sample: dict[str, Any]) -> None:
    replies = [reply[0] for reply in sample["resps"]]
    if row.finish != "chosen":
        assert row.raw == replies[0]
        return
    ours = json.loads(row.raw)
    sent = [arguments[1] for arguments in sample["arguments"]]  # equal choices have one entry
    assert [ours[text][0] for text in sent] == pytest.approx(
        [score for score, _ in replies], abs=ROUNDING
    )
    assert [ours[text][1] > 0 for text in sent] == [greedy for _, greedy in replies]


def test_what_a_script_says_is_judged_as_the_harness_judges_it(
    task_folder: Path, tmp_path: Path
) -> None:
    """The thin slice of the law: without a network, and without the harness's own model."""
    suite = load_suite(f"lm-eval:plain_words+choice,include_path={task_folder}")
    said = {each.prompt: f" {each.right[0] if n % 2 else 'No'} it is" for n, each in
            enumerate(suite.examples)}  # fmt: skip
    ours = ScriptedModel(lambda prompt: said[prompt])

    def score(context: str, continuation: str) -> float:
        return ours.score([context], [[continuation]])[0][0]

    theirs = Recorder(say=said.__getitem__, score=score)
    rows = ask(ours, suite, tmp_path)
    logged = [
        sample[metric]
        for task, metric in (("plain_words", "exact_match"), ("choice", "acc"))
        for sample in samples(theirs, task_folder, {}, task)
    ]
    assert [row.score for row in rows] == logged
    assert set(logged) == {0.0, 1.0}


@pytest.mark.parametrize("spec", ["choice,metric=exact_match", "last_word"])
def test_what_is_greedy_is_not_made_up_for_a_model_that_does_not_tell(
    spec: str, task_folder: Path, tmp_path: Path
) -> None:
    suite = load_suite(f"lm-eval:{spec},include_path={task_folder}")
    with pytest.raises(UserError, match="would give itself"):
        ask(ScriptedModel(lambda _: "What"), suite, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("spec", ["plain_words", "choice,metric=acc_norm"])
def test_in_single_precision_samples_differ_in_ties_alone(
    spec: str, opened: Callable[[str], Pair], task_folder: Path, tmp_path: Path
) -> None:
    rows, logged, metric = both(opened("rosetta single"), spec, task_folder, tmp_path)
    for row, sample in zip(rows, logged, strict=True):
        assert row.score == sample[metric] or answer_flag(TIED) in row.all_flags
        if row.finish == "chosen":
            ours = [value for value, _ in json.loads(row.raw).values()]
            theirs = [reply[0][0] for reply in sample["resps"]]
            # Four layers of float32 on weights this large are off by 1e-4 nats themselves.
            assert ours == pytest.approx(theirs, abs=5e-4)


@pytest.mark.slow
def test_prompts_without_room_for_an_answer_lose_their_beginning_and_are_flagged(
    opened: Callable[[str], Pair], task_folder: Path, tmp_path: Path
) -> None:
    rows, _, _ = both(opened("rosetta"), "wordy", task_folder, tmp_path)
    cut = [PROMPT_CUT in row.all_flags for row in rows]
    assert sum(cut) > 0
    # What comes from the store is flagged as what is asked.
    again = answers(f"lm-eval:wordy,include_path={task_folder}", opened("rosetta").spec, tmp_path)
    assert again == rows


@pytest.mark.slow
def test_an_answer_that_leaves_no_room_for_a_prompt_is_refused(
    opened: Callable[[str], Pair], task_folder: Path, tmp_path: Path
) -> None:
    text = (task_folder / "wordy.yaml").read_text("utf-8").replace("task: wordy", "task: endless")
    (tmp_path / "endless.yaml").write_text(text.replace("480", "512"), "utf-8")
    with pytest.raises(UserError, match="no room for a prompt") as raised:
        answers(f"lm-eval:endless,include_path={tmp_path}", opened("rosetta").spec, tmp_path)
    assert "max_gen_toks" in str(raised.value.hint)


@pytest.mark.slow
def test_choices_as_good_as_equally_likely_are_listed(
    opened: Callable[[str], Pair], task_folder: Path, tmp_path: Path
) -> None:
    rows, logged, metric = both(opened("rosetta"), "twice", task_folder, tmp_path)
    assert [row.score for row in rows] == [sample[metric] for sample in logged]
    assert all(answer_flag(TIED) in row.all_flags for row in rows)
