"""The wrapped model as the harness sees it: how it is made, and what it passes on."""

import logging
import sys
from typing import Any

import pytest
from lm_eval.api.registry import get_model
from tests.integrations.harness.conftest import Recorder, generating

from palimpsest import integrations
from palimpsest.errors import MissingExtraError, UserError
from palimpsest.integrations.lm_eval import ConjugateLM


def test_the_harness_knows_it_by_name() -> None:
    assert get_model("conjugate") is ConjugateLM


@pytest.mark.parametrize(
    "arguments",
    ["inner=dummy,via=protect(leet,urls+numbers),write_out=True", "via=leet|upper, inner=dummy,"],
)
def test_it_is_made_from_a_string_of_arguments(arguments: str) -> None:
    model = ConjugateLM.create_from_arg_string(arguments, {"device": "cpu", "batch_size": None})
    assert type(model.inner).__name__ == "DummyLM"
    assert model.conjugation.name in arguments
    assert model.write_out is ("write_out" in arguments)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("", "No conjugation is named"),
        ("via=leet", "No inner model is named"),
        ("inner=dumy,via=leet", "named 'dumy'. Did you mean 'dummy'"),
        ("inner=conjugate,via=leet", "No model of lm-evaluation-harness is named 'conjugate'"),
        ("inner=dummy,via=leat", "Did you mean 'leet'"),
        ("inner=dummy,via=vote(leet,upper)", "'vote"),
    ],
)
def test_what_cannot_be_made_says_what_to_write(arguments: str, message: str) -> None:
    with pytest.raises(UserError) as raised:
        ConjugateLM.create_from_arg_string(arguments)
    assert message in str(raised.value)
    assert raised.value.hint


def test_a_model_that_is_open_takes_no_arguments() -> None:
    with pytest.raises(UserError, match="takes no arguments: pretrained"):
        ConjugateLM(Recorder(), via="leet", pretrained="x")


def test_a_model_of_another_kind_is_refused() -> None:
    with pytest.raises(UserError, match="is a dict, which is no model of the harness"):
        ConjugateLM({}, via="leet")


def test_without_the_harness_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    ours = [name for name in sys.modules if name.startswith("palimpsest.integrations.lm_eval")]
    for name in ours:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.delattr(integrations, "lm_eval")
    for name in [name for name in sys.modules if name.partition(".")[0] == "lm_eval"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "lm_eval", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'lm.eval"):
        import palimpsest.integrations.lm_eval  # noqa: F401


class Parallel(Recorder):
    """One of three processes."""

    tokenizer = "the tokenizer"
    MULTIMODAL = True
    device = "somewhere"
    rank = 2
    world_size = 3

    def all_gather(self, tensor: Any) -> Any:
        return ["gathered", tensor]

    def gather_object(self, obj: Any, dst: int = 0) -> Any:
        return [obj, dst]

    def barrier(self) -> None:
        self.waited = True

    def get_model_info(self) -> dict[str, Any]:
        return {"model_sha": "abc"}


def test_what_the_harness_asks_of_a_model_is_the_inner_models_to_say() -> None:
    inner = Parallel()
    model = ConjugateLM(inner, via="leet")
    for name in ("tokenizer", "MULTIMODAL", "device", "rank", "world_size", "_rank", "cache_hook"):
        assert getattr(model, name) == getattr(inner, name)
    assert model.all_gather(1) == ["gathered", 1]
    assert model.gather_object(1, dst=2) == [1, 2]
    model.barrier()
    assert inner.waited
    assert not hasattr(model, "no_such_thing")


def test_the_results_say_which_conjugation_it_was() -> None:
    info = ConjugateLM(Parallel(), via="leet").get_model_info()
    assert info["model_sha"] == "abc"
    assert info["conjugation"] == "leet"
    assert ConjugateLM(Parallel(), via="identity").get_model_info() == {"model_sha": "abc"}
    assert ConjugateLM(Recorder(), via="leet").get_model_info()["conjugation"] == "leet"


def test_cached_prompts_are_named_for_the_conjugation() -> None:
    names = {
        via: ConjugateLM(Recorder(), via=via).tokenizer_name
        for via in ("identity", "leet", "leet|upper", "rot13")
    }
    assert names["identity"] == "recorder"
    assert len(set(names.values())) == 4
    assert all(name.startswith("recorder") for name in names.values())


def test_one_around_another_makes_a_chain() -> None:
    inner = Recorder(say=lambda context: context)
    model = ConjugateLM(ConjugateLM(inner, via="leet"), via="upper")
    chain = ConjugateLM(Recorder(say=lambda context: context), via="upper|leet")
    request = generating("Say it.", until=["\n"])
    assert model.generate_until([request]) == chain.generate_until([request]) == ["say it."]
    assert inner.asked[0].args[0] == "SAY IT."


def test_the_log_shows_what_is_asked(caplog: pytest.LogCaptureFixture, harness_log: None) -> None:
    model = ConjugateLM(Recorder(say=lambda _: " y35"), via="leet")
    model.generate_until([generating("Say it.", until=["\n"])])
    [record] = caplog.records
    assert record.levelno == logging.INFO
    assert "…'S4y 17.', {'until': ['\\n']}" in record.getMessage()
