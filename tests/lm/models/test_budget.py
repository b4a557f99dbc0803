"""Money: prices as written, worst cases set aside, and a stop before the limit is passed."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path

import pytest
from tests.fault_server import FaultServer

from palimpsest.errors import UserError
from palimpsest.judging.evaluation import evaluate
from palimpsest.judging.via import parse_via
from palimpsest.lm.models.budget import (
    Budget,
    BudgetExceededError,
    Chargeable,
    Price,
    PriceTable,
)
from palimpsest.lm.models.openai.endpoint import EndpointModel
from palimpsest.lm.models.scripted import ScriptedModel
from palimpsest.lm.models.specs import load_model
from palimpsest.lm.suites.suite import Example, Suite
from palimpsest.records.store import AnswerStore

PER_TOKEN = Price(Decimal(1_000_000), Decimal(1_000_000))
"""A dollar a token, for sums that can be done in the head."""

TABLE = PriceTable({"m": PER_TOKEN})
N_PROMPTS = 40


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[FaultServer]:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    with FaultServer() as running:
        yield running


def endpoint(server: FaultServer, options: str = "concurrency=4") -> EndpointModel:
    model = load_model(f"openai:m@{server.url},backoff=0.01,timeout=0.5,attempts=20,{options}")
    assert isinstance(model, EndpointModel)
    return model


def suite() -> Suite:
    return Suite(
        name="paid",
        examples=tuple(
            Example(
                source_id=str(n),
                cell="a/b",
                language="en",
                prompt=f"Say {n}",
                answers={"icl": (str(n),), "instruction": ("x",)},
            )
            for n in range(N_PROMPTS)
        ),
    )


def test_a_price_table_is_read_exactly(tmp_path: Path) -> None:
    path = tmp_path / "prices.toml"
    path.write_text(
        'currency = "USD"\n[models.mini]\ninput = 0.15\noutput = 0.6\n'
        '[models."mini@https://a.example/v1"]\ninput = 1\noutput = 2\n'
    )
    table = PriceTable.read(path)
    assert table.of("mini") == Price(Decimal("0.15"), Decimal("0.6"))
    assert table.of("mini", "https://a.example/v1") == Price(Decimal(1), Decimal(2))
    with pytest.raises(UserError, match="Did you mean 'mini'"):
        table.of("minni")


@pytest.mark.parametrize(
    "content",
    [
        "",
        "models = 3",
        "[models.m]\ninput = 1",
        "[models.m]\ninput = 1\noutput = -1",
        "[models.m]\ninput = true\noutput = 1",
        "[models.m]\ninput = '1'\noutput = 1",
        "[models.m]\ninput = nan\noutput = 1",
        "[models.m]\ninput = 1\noutput = 1\ncached = 1",
        "currency = 'EUR'\n[models.m]\ninput = 1\noutput = 1",
        "not toml",
        "\x00",
    ],
)
def test_a_wrong_price_table_shows_a_right_one(tmp_path: Path, content: str) -> None:
    path = tmp_path / "prices.toml"
    path.write_text(content)
    with pytest.raises(UserError, match="per million tokens") as caught:
        PriceTable.read(path)
    assert str(path) in str(caught.value)


def test_a_missing_price_table_is_told(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="cannot be read"):
        PriceTable.read(tmp_path / "none.toml")
    (tmp_path / "binary.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(UserError, match="is no TOML file"):
        PriceTable.read(tmp_path / "binary.toml")


@pytest.mark.parametrize("limit", ["-1", "nan", "inf", "much", ""])
def test_a_budget_that_is_no_amount_is_refused(limit: str) -> None:
    with pytest.raises(UserError, match="no amount of dollars"):
        Budget(limit, TABLE)


def test_a_request_that_fits_only_without_the_others_waits_for_them() -> None:
    budget = Budget(10, TABLE)
    with budget.reserving(PER_TOKEN, 4, 2) as first:
        assert first is not None
        with budget.reserving(PER_TOKEN, 4, 2) as second:
            assert second is None
        first.settle(1, 1)
    with budget.reserving(PER_TOKEN, 4, 2) as third:
        assert third is not None
        third.settle(None, 1)  # not known in full: the worst case counts
    assert budget.spent_usd == 8
    with pytest.raises(BudgetExceededError, match=r"spent \$8.0000 of \$10"):
        budget.reserving(PER_TOKEN, 2, 1).__enter__()


def test_what_is_not_settled_costs_nothing() -> None:
    budget = Budget(10, TABLE)
    with pytest.raises(RuntimeError), budget.reserving(PER_TOKEN, 4, 2):
        raise RuntimeError
    assert budget.spent_usd == 0
    with budget.reserving(PER_TOKEN, 9, 1) as charge:
        assert charge is not None


def test_many_threads_together_never_pass_the_limit() -> None:
    budget = Budget(1000, TABLE)

    def work() -> None:
        for _ in range(200):
            try:
                with budget.reserving(PER_TOKEN, 3, 2) as charge:
                    if charge is not None:
                        charge.settle(2, 2)
            except BudgetExceededError:
                return

    workers = [threading.Thread(target=work) for _ in range(8)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert budget.spent_usd == 996  # 249 requests of 4; the next could cost 5


def test_only_endpoints_cost_money(server: FaultServer) -> None:
    assert isinstance(endpoint(server), Chargeable)
    assert not isinstance(ScriptedModel(lambda _: "x"), Chargeable)


def test_a_model_without_a_price_is_not_asked_at_all(server: FaultServer) -> None:
    with pytest.raises(UserError, match="No price for 'm' in the price table"):
        endpoint(server).charge_to(Budget(1, PriceTable({"n": PER_TOKEN})))


def test_a_run_within_its_budget_costs_what_the_server_counted(server: FaultServer) -> None:
    model, budget = endpoint(server), Budget(10_000, TABLE)
    model.charge_to(budget)
    answers = list(model.generate([f"Say {n}" for n in range(9)], max_new_tokens=5))
    assert len(answers) == 9
    assert budget.spent_usd == 9 * (2 + 1)
    assert model.describe()["cost"] == "spent $27.0000 of $10000"


def wait_for_count(server: FaultServer, n: int) -> None:
    """Wait for the server to have counted what it has sent: it does so a moment later."""
    deadline = time.monotonic() + 10
    while sum(server.answered.values()) < n and time.monotonic() < deadline:
        time.sleep(0.01)


@pytest.mark.slow
def test_a_run_stops_before_its_budget_is_passed_and_goes_on_with_another(
    server: FaultServer, tmp_path: Path
) -> None:
    server.pause_seconds = 0.01
    budget = Budget(100, TABLE)  # each request costs 3, and at worst about 50
    vias = [parse_via("identity", suite())]
    with AnswerStore(tmp_path / "answers.sqlite") as store:
        model = endpoint(server)
        model.charge_to(budget)
        with pytest.raises(BudgetExceededError, match="another --budget continues"):
            evaluate(model, suite(), vias, store=store, role="base")
        n_first = len(store)
        wait_for_count(server, n_first)
        assert budget.spent_usd == 3 * sum(server.answered.values()) <= 100
        assert n_first == sum(server.answered.values())  # nothing paid for is lost
        assert 0 < n_first < N_PROMPTS

        again = endpoint(server)
        again.charge_to(Budget(1000, TABLE))
        rows = evaluate(again, suite(), vias, store=store, role="base")
    assert len(rows) == N_PROMPTS
    assert sum(server.answered.values()) == N_PROMPTS


@pytest.mark.slow
def test_answers_that_may_have_been_made_and_lost_are_paid_for() -> None:
    with FaultServer(share=1.0, kinds=["cut in the body"]) as server:  # six times, then well
        model, budget = endpoint(server), Budget(10_000, TABLE)
        model.charge_to(budget)
        list(model.generate(["Say 1"], max_new_tokens=5))
    one = budget.spent_usd - 3
    assert one > 0
    assert one % 6 == 0
    with FaultServer(share=1.0, kinds=["429", "500", "503 HTML"]) as server:
        model, budget = endpoint(server), Budget(10_000, TABLE)
        model.charge_to(budget)
        list(model.generate(["Say 1"], max_new_tokens=5))
    assert budget.spent_usd == 3
