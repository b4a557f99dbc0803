"""A thought before the answer: no stop string and no decision inside, and tokens of its own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from tests.lm.models.checkpoints import byte_level_tokenizer, save_model

from palimpsest.errors import UserError
from palimpsest.lm.models.huggingface import HuggingFaceModel
from palimpsest.lm.models.huggingface.tokenization import Detokenizer
from palimpsest.lm.models.protocol import Generation, TellsNextTokens
from palimpsest.lm.models.specs import load_model
from palimpsest.lm.stops import answer_start

THOUGHT = "<think>\nFive and seven.\nSo 12.\n</think>\n\n"
TEMPLATES = {
    "plain": "{% for m in messages %}{{ m.content }}{% endfor %}",
    "opens a thought": "{% for m in messages %}{{ m.content }}{% endfor %}{{ '<think>\\n' }}",
}


class Speaker:
    """A model that says one text after each prompt, whatever its weights."""

    def __init__(self, model: HuggingFaceModel, monkeypatch: pytest.MonkeyPatch) -> None:
        self.model = model
        self.says: dict[str, str] = {}
        self.rooms: list[int] = []
        monkeypatch.setattr(model, "_new_decoder", self._decoder)

    def _decoder(self, prompts: Sequence[Sequence[int]], n_new: int, memory: object) -> Any:
        self.rooms.append(n_new)
        tokenizer = self.model.tokenizer
        answers = []
        for prompt in prompts:
            said = self.says[str(tokenizer.decode(list(prompt), skip_special_tokens=True))]
            answers.append([*tokenizer.encode(said, add_special_tokens=False), 1])
        return Reciting(answers, n_new)

    def ask(self, *prompts: str, **options: Any) -> list[Generation]:
        options = {"max_new_tokens": 20, "stop": ["\n"], **options}
        found = dict(self.model.generate(prompts, **options))
        return [found[index] for index in range(len(prompts))]

    def n_tokens(self, text: str) -> int:
        return len(self.model.tokenizer.encode(text, add_special_tokens=False))


class Reciting:
    """A decoder that gives fixed tokens, and no more of them than there is room for."""

    def __init__(self, answers: list[list[int]], n_new: int) -> None:
        self.answers, self.n_new, self.n = answers, n_new, 0

    def start(self) -> list[int]:
        self.n += 1
        assert self.n <= self.n_new
        return [answer[min(self.n, len(answer)) - 1] for answer in self.answers]

    def feed(self, tokens: Sequence[int]) -> list[int]:
        assert len(tokens) == len(self.answers)
        return self.start()

    def keep(self, rows: list[int]) -> None:
        self.answers = [self.answers[row] for row in rows]


Open = Callable[..., Speaker]


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    made = {}
    for name, template in TEMPLATES.items():
        made[name] = save_model(tmp_path_factory.mktemp("thinking"), max_position_embeddings=512)
        tokenizer = byte_level_tokenizer()
        tokenizer.chat_template = template
        tokenizer.save_pretrained(made[name])
    return made


@pytest.fixture
def speaker(folders: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> Open:
    def opened(template: str = "plain", options: str = "") -> Speaker:
        model = load_model(f"{folders[template]}{options}")
        assert isinstance(model, HuggingFaceModel)
        return Speaker(model, monkeypatch)

    return opened


def test_a_stop_string_ends_the_answer_and_not_the_thought(speaker: Open) -> None:
    model = speaker()
    model.says = {"5 plus 7?": f"{THOUGHT}12\nInput:"}
    [answer] = model.ask("5 plus 7?")
    assert (answer.text, answer.finish) == (f"{THOUGHT}12", "stop")


def test_the_limit_counts_the_answer(speaker: Open) -> None:
    model = speaker()
    model.says = {"5 plus 7?": f"{THOUGHT}12 and so on and on and on."}
    [answer] = model.ask("5 plus 7?", max_new_tokens=4)
    assert answer.finish == "length"
    assert answer.text.startswith(f"{THOUGHT}12")
    # The tokenizer knows few words: two tokens for the number, two for what follows.
    assert answer.text == f"{THOUGHT}12 a"
    assert answer.n_tokens == model.n_tokens(answer.text)


def test_a_thought_beyond_its_own_limit_is_cut_off(speaker: Open) -> None:
    model = speaker(options=",thinking_tokens=16")
    model.says = {"5 plus 7?": f"{THOUGHT}12"}
    [answer] = model.ask("5 plus 7?", max_new_tokens=4)
    assert answer.finish == "length"
    assert answer.n_tokens == 16
    assert answer_start(answer.text) is None


def test_a_thought_that_ends_without_an_answer_is_all_there_is(speaker: Open) -> None:
    model = speaker()
    model.says = {"a": "<think>\nHm.", "b": "<think>\nHm.\n</think>\n\n"}
    assert [(one.text, one.finish) for one in model.ask("a", "b")] == [
        ("<think>\nHm.", "stop"),
        ("<think>\nHm.\n</think>\n\n", "stop"),
    ]


@pytest.mark.slow
def test_a_thought_has_no_more_room_than_the_context(speaker: Open) -> None:
    model = speaker()
    model.says = {"5 plus 7?": "<think>" + "hm " * 900}
    [answer] = model.ask("5 plus 7?", max_new_tokens=4)
    assert answer.finish == "length"
    assert answer.n_prompt_tokens is not None
    assert answer.n_tokens + answer.n_prompt_tokens + 4 == model.model.n_context


def test_nothing_is_decided_inside_a_thought(speaker: Open) -> None:
    model = speaker()
    model.says = {"5 plus 7?": f"{THOUGHT}12 or so", "Where?": "Paris"}

    def decided(index: int, text: str) -> bool:
        assert answer_start(text) is not None
        return "12" in text[answer_start(text) :]

    answers = model.ask("5 plus 7?", "Where?", decided=decided)
    assert [answer.finish for answer in answers] == ["decided", "stop"]
    assert answers[0].text.startswith(f"{THOUGHT}12")


def test_who_does_not_think_gets_no_room_for_it(speaker: Open) -> None:
    model = speaker()
    model.says = {"a": "Paris", "b": "<b>12</b>", "c": "<"}
    assert [one.text for one in model.ask("a", "b", "c")] == ["Paris", "<b>12</b>", "<"]
    assert model.rooms == [20]


def test_where_most_think_the_next_get_room_at_once(speaker: Open) -> None:
    model = speaker(options=",batch_tokens=100")
    model.says = {f"{word}?": f"<think>{word}</think>{word}!" for word in "abcdefghij"}
    answers = model.ask(*model.says)
    assert [answer.text for answer in answers] == list(model.says.values())
    assert model.rooms[0] == 20
    assert min(model.rooms[1:]) > 20


def test_a_beginning_that_turns_out_to_be_no_thought_is_cut_like_any_answer(speaker: Open) -> None:
    model = speaker()
    model.says = {"a": "<this", "b": "<thi", "c": "12 <think>"}
    assert [one.text for one in model.ask("a", "b", "c", stop=["i"])] == ["<th", "<th", "12 <th"]


def test_a_thought_that_the_template_opens_is_given_back_with_its_mark(speaker: Open) -> None:
    model = speaker("opens a thought", ",chat=true")
    model.says = {"a<think>\n": "Hm.\nSo 12.\n</think>\n\n12\nInput"}
    [answer] = model.ask("a", max_new_tokens=4)
    assert (answer.text, answer.finish) == ("<think>\nHm.\nSo 12.\n</think>\n\n12", "stop")
    assert len(model.rooms) == 1


def test_candidates_are_no_thoughts(folders: dict[str, Path]) -> None:
    opening = load_model(f"{folders['opens a thought']},chat=true")
    closed = load_model(f"{folders['plain']},chat=true")
    candidates = [["12", "13"]]
    assert opening.score(["a"], candidates) == closed.score(
        ["a<think>\n\n</think>\n\n"], candidates
    )
    assert isinstance(opening, TellsNextTokens)
    assert isinstance(closed, TellsNextTokens)
    told, expected = (
        model.next_tokens([prompt], [()], n=3)
        for model, prompt in ((opening, "a"), (closed, "a<think>\n\n</think>\n\n"))
    )
    assert told == expected


def test_marks_of_thoughts_are_shown_where_they_are_special_tokens() -> None:
    tokenizer = byte_level_tokenizer()
    marks = ["[THINK]", "[/THINK]", "<|end|>"]
    tokenizer.add_special_tokens({"additional_special_tokens": marks})
    tokens = tokenizer.encode("[THINK]Hm.[/THINK]12<|end|>", add_special_tokens=False)
    detokenizer = Detokenizer(tokenizer, [tokenizer.encode("a")])
    assert [detokenizer.extend([0], [token])[0] for token in tokens][-1] == "[THINK]Hm.[/THINK]12"


def test_variables_of_a_template_are_options_of_the_model(tmp_path: Path) -> None:
    save_model(tmp_path)
    tokenizer = byte_level_tokenizer()
    tokenizer.chat_template = (
        "{% for m in messages %}{{ m.content }}{% endfor %}"
        "{% if enable_thinking is defined and not enable_thinking %}<think></think>{% endif %}"
        "{{ effort }}"
    )
    tokenizer.save_pretrained(tmp_path)

    def opened(options: str) -> HuggingFaceModel:
        model = load_model(f"{tmp_path},chat=true{options}")
        assert isinstance(model, HuggingFaceModel)
        return model

    default = opened("")
    off = opened(",template.enable_thinking=false,template.effort=low")
    assert default.written("a") == "a"
    assert off.written("a") == "a<think></think>low"
    assert off.fingerprint != default.fingerprint
    for wrong in ("enable_thinkin=false", "tokenize=true", "messages=1"):
        with pytest.raises(UserError, match="has no variable"):
            opened(f",template.{wrong}")


def test_room_for_a_thought_is_part_of_the_fingerprint_unless_it_is_the_default(
    folders: dict[str, Path],
) -> None:
    spec = str(folders["plain"])
    default = load_model(spec).fingerprint
    assert load_model(f"{spec},thinking_tokens=4096").fingerprint == default
    assert load_model(f"{spec},thinking_tokens=64").fingerprint != default
