"""Answers come as they are ready, several at a time, and stop coming when nobody waits."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
import time
from typing import cast

import pytest
from tests.fault_server import FaultServer, http_reply, json_bytes
from tests.lm.models.openai.conftest import endpoint
from tests.loops import run_to_end

from palimpsest.errors import UserError
from palimpsest.lm.models.openai.endpoint import EndpointModel
from palimpsest.lm.models.protocol import Generation
from palimpsest.lm.models.sampling import Sampling
from palimpsest.lm.prompts import Message, Prompt


def ask(model: EndpointModel, prompts: list[Prompt], **options: object) -> list[Generation]:
    settings = {"max_new_tokens": 5, **options}
    answers = dict(model.generate(prompts, **settings))  # type: ignore[arg-type]
    return [answers[index] for index in range(len(prompts))]


def until(condition: object) -> None:
    deadline = time.monotonic() + 10
    while not condition():  # type: ignore[operator]
        assert time.monotonic() < deadline
        time.sleep(0.01)


def threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name == "endpoint"]


def test_no_prompts_need_no_server() -> None:
    assert ask(endpoint("http://127.0.0.1:9"), []) == []


def test_both_apis_answer(server: FaultServer) -> None:
    chat = (Message("system", "Be brief."), Message("user", "Say hello"))
    answers = ask(endpoint(server.url), ["Say 2", chat])
    assert [answer.text for answer in answers] == [" 2", " hello"]
    assert {body.get("prompt") for body in server.bodies} == {"Say 2", None}


def test_samples_are_asked_for_at_their_temperature_and_greedy_answers_at_none(
    server: FaultServer,
) -> None:
    model = endpoint(server.url)
    for number in (1, 2):
        with model.sampling(Sampling(0.7, number=number)):
            ask(model, ["Say 2"])
    ask(model, ["Say 2"])
    assert [body["temperature"] for body in server.bodies] == [0.7, 0.7, 0]
    assert server.bodies[0]["seed"] != server.bodies[1]["seed"]
    assert "seed" not in server.bodies[2]


def test_tokens_are_counted_as_the_server_counts_them(server: FaultServer) -> None:
    (answer,) = ask(endpoint(server.url), ["Say it to me"])
    assert (answer.n_prompt_tokens, answer.n_tokens) == (4, 1)


def test_without_the_servers_count_tokens_are_estimated(server: FaultServer) -> None:
    reply = {"choices": [{"text": " twelve bytes", "finish_reason": "stop"}]}
    server.script = [http_reply(200, json_bytes(reply))]
    (answer,) = ask(endpoint(server.url), ["Say it"])
    assert (answer.n_prompt_tokens, answer.n_tokens) == (None, 4)


def test_answers_are_cut_at_stop_strings_that_the_server_ignores(server: FaultServer) -> None:
    server.answer = lambda _: " one\ntwo"
    (answer,) = ask(endpoint(server.url), ["Say"], stop=["\n"])
    assert (answer.text, answer.finish) == (" one", "stop")


def test_a_cut_off_answer_says_so(server: FaultServer) -> None:
    server.answer = lambda _: " one two three"
    (answer,) = ask(endpoint(server.url), ["Count"], max_new_tokens=2)
    assert (answer.text, answer.finish) == (" one two", "length")


@pytest.mark.slow
def test_requests_run_side_by_side_up_to_the_limit(server: FaultServer) -> None:
    server.pause_seconds = 0.05
    ask(endpoint(server.url, concurrency=5), [f"Say {n}" for n in range(20)])
    assert server.most_running == 5


@pytest.mark.slow
def test_answers_come_in_order_of_completion() -> None:
    with FaultServer() as server:
        model = endpoint(server.url, concurrency=2)
        slow = http_reply(503, b"", "Retry-After: 0.3")
        server.script = [slow]
        order = [index for index, _ in model.generate(["a", "b", "c"], max_new_tokens=5)]
    assert sorted(order) == [0, 1, 2]
    assert order[-1] in (0, 1)  # whichever came first got the fault


@pytest.mark.slow
def test_only_so_many_answers_wait_to_be_taken(server: FaultServer) -> None:
    model = endpoint(server.url, concurrency=3)
    answers = iter(model.generate([f"Say {n}" for n in range(50)], max_new_tokens=5))
    next(answers)
    time.sleep(0.3)
    assert sum(server.received.values()) <= 1 + 3
    assert len(list(answers)) == 49


def test_closing_cancels_what_runs(server: FaultServer) -> None:
    server.pause_seconds = 30.0
    server.script = [http_reply(200, json_bytes({"choices": [{"text": "x"}]}))]
    answers = endpoint(server.url, concurrency=4).generate(list("abcdefgh"), max_new_tokens=5)
    next(iter(answers))
    until(lambda: server.n_running == 4)
    started = time.monotonic()
    cast("asyncio.Future[None]", answers).close()  # type: ignore[attr-defined]
    assert time.monotonic() - started < 10  # far less than the server's pause
    until(lambda: server.n_running == 0)
    until(lambda: server.n_abandoned == 4)  # counted a moment after it has ended
    assert not threads()


@pytest.mark.slow
def test_ctrl_c_ends_a_wait_at_once(server: FaultServer) -> None:
    server.pause_seconds = 30.0
    timer = threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGINT))
    timer.start()
    started = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        ask(endpoint(server.url), ["a", "b"])
    assert time.monotonic() - started < 5
    until(lambda: server.n_running == 0)
    assert not threads()


@pytest.mark.slow
def test_after_a_failure_what_runs_is_still_answered(server: FaultServer) -> None:
    server.pause_seconds = 0.3
    model = endpoint(server.url, concurrency=3)
    server.script = [http_reply(401, json_bytes({"detail": "Who are you?"}))]
    found: list[tuple[int, Generation]] = []
    with pytest.raises(UserError, match="Who are you"):
        found.extend(model.generate([f"Say {n}" for n in range(9)], max_new_tokens=5))
    assert len(found) == 2


def test_it_works_inside_a_running_event_loop(server: FaultServer) -> None:
    async def main() -> list[Generation]:
        return ask(endpoint(server.url), ["Say 2"])

    assert run_to_end(main())[0].text == " 2"


def test_several_threads_may_ask_the_same_model(server: FaultServer) -> None:
    model = endpoint(server.url)
    found: dict[int, str] = {}

    def work(n: int) -> None:
        found[n] = ask(model, [f"Say {n}"])[0].text

    workers = [threading.Thread(target=work, args=(n,)) for n in range(8)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert found == {n: f" {n}" for n in range(8)}


def test_the_report_learns_what_the_server_says_of_itself(server: FaultServer) -> None:
    model = endpoint(server.url)
    ask(model, ["Say 2"])
    facts = model.describe()
    assert facts["served as"] == "faulty-1"
    assert facts["system fingerprint"] == "fp_0"
    assert facts["endpoint"] == f"{server.url}/v1"
    assert "not hashed" in facts["weights"]
