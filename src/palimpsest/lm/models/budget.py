"""Prices of endpoints, and a budget that no request may exceed."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, Protocol, runtime_checkable

from palimpsest.errors import UserError, did_you_mean
from palimpsest.files import read_toml

if TYPE_CHECKING:
    from collections.abc import Iterator

CURRENCY = "USD"
_MILLION = Decimal(1_000_000)
_EXAMPLE = '[models."gpt-4o-mini"]\ninput = 0.15\noutput = 0.60'


class BudgetExceededError(UserError):
    """The next request would cost more than is left."""


@runtime_checkable
class Chargeable(Protocol):
    """A model whose requests cost money."""

    def charge_to(self, budget: Budget) -> None:
        """Charge every later request to ``budget``.

        Raises:
            UserError: The budget's table has no price for the model.
        """


class Price(NamedTuple):
    """What one model costs, in US dollars per million tokens."""

    input: Decimal
    """For each million tokens of the prompt."""
    output: Decimal
    """For each million tokens of the answer."""

    def cost(self, n_prompt_tokens: int, n_new_tokens: int) -> Decimal:
        """Return the cost of one request in US dollars.

        Example:
            >>> Price(Decimal("0.15"), Decimal("0.60")).cost(1000, 10)
            Decimal('0.000156')
        """
        return (self.input * n_prompt_tokens + self.output * n_new_tokens) / _MILLION


@dataclass(frozen=True)
class PriceTable:
    """Prices by model name, or by ``MODEL@URL`` where one model costs differently elsewhere."""

    prices: Mapping[str, Price]

    source: str = "the price table"
    """Where they come from, for messages."""

    @classmethod
    def read(cls, path: Path | str) -> PriceTable:
        """Read a TOML file with a table ``[models."NAME"]`` for each model.

        Each has ``input`` and ``output``, in US dollars per million tokens.

        Raises:
            UserError: The file is missing, or says something else.
        """
        try:
            content = read_toml(Path(path), parse_float=Decimal)
        except UserError as error:
            raise _bad(path, f"cannot be read: {error.message}") from error
        return cls(_prices(content, path), f"the price table '{path}'")

    def of(self, model: str, url: str = "") -> Price:
        """Return the price of ``model`` at ``url``.

        Raises:
            UserError: The table has none.
        """
        found = self.prices.get(f"{model}@{url}") or self.prices.get(model)
        if found is None:
            raise UserError(
                f"No price for '{model}' in {self.source}.{did_you_mean(model, self.prices)}",
                hint=f'Add a table [models."{model}"] with input and output, in US dollars per '
                "million tokens.",
            )
        return found


class Budget:
    """At most so many US dollars, whatever happens: worst cases are reserved beforehand.

    May be shared between threads and models.

    Args:
        limit_usd: What may be spent.
        prices: What the models cost.

    Raises:
        UserError: The limit is negative or no number.

    Example:
        >>> prices = PriceTable({"m": Price(Decimal(1), Decimal(2))})
        >>> budget = Budget("0.01", prices)
        >>> with budget.reserving(prices.of("m"), 4000, 100) as charge:
        ...     charge.settle(1000, 10)
        >>> str(budget)
        'spent $0.0010 of $0.01'
    """

    def __init__(self, limit_usd: Decimal | float | str, prices: PriceTable) -> None:
        self.limit_usd = _dollars(limit_usd)
        self.prices = prices
        self._spent = Decimal(0)
        self._reserved: dict[int, Decimal] = {}
        self._lock = threading.Lock()

    def __str__(self) -> str:
        return f"spent ${self.spent_usd:.4f} of ${self.limit_usd}"

    @property
    def spent_usd(self) -> Decimal:
        """What settled requests have cost."""
        with self._lock:
            return self._spent

    @contextmanager
    def reserving(
        self, price: Price, n_prompt_tokens: int, n_new_tokens: int
    ) -> Iterator[Charge | None]:
        """Reserve the worst case of one request; give ``None`` if it must wait for others.

        What the block does not settle costs nothing.

        Raises:
            BudgetExceededError: It would not fit even if all requests that run cost nothing.
        """
        charge = Charge(price, price.cost(n_prompt_tokens, n_new_tokens))
        granted = self._reserve(charge)
        try:
            yield charge if granted else None
        finally:
            with self._lock:
                self._reserved.pop(id(charge), None)
                self._spent += charge.cost

    def _reserve(self, charge: Charge) -> bool:
        with self._lock:
            left = self.limit_usd - self._spent
            if charge.worst <= left - sum(self._reserved.values()):
                self._reserved[id(charge)] = charge.worst
                return True
            if self._reserved and charge.worst <= left:
                return False
            raise BudgetExceededError(
                f"Stopped within the budget: spent ${self._spent:.4f} of ${self.limit_usd}, and "
                f"the next request may cost up to ${charge.worst:.4f}.",
                hint="Every answer so far is kept. The same command with another --budget "
                "continues; a budget counts from zero in each run.",
            )


class Charge:
    """The money set aside for one request."""

    def __init__(self, price: Price, worst: Decimal) -> None:
        self.worst = worst
        """What it may cost at most, in US dollars."""
        self.cost = Decimal(0)
        """What it cost, in US dollars; zero until settled."""
        self._price = price

    def settle(self, n_prompt_tokens: int | None, n_new_tokens: int | None) -> None:
        """Say what the request used; with ``None``, the worst case counts."""
        if n_prompt_tokens is None or n_new_tokens is None:
            self.cost = self.worst
        else:
            self.cost = self._price.cost(n_prompt_tokens, n_new_tokens)


def _prices(content: Mapping[str, object], path: Path | str) -> dict[str, Price]:
    models = content.get("models")
    if content.get("currency", CURRENCY) != CURRENCY:
        raise _bad(path, f"has prices in '{content['currency']}'; only USD is counted")
    if not isinstance(models, dict) or not models:
        raise _bad(path, "has no models")
    prices = {}
    for name, entry in models.items():
        match entry:
            case {"input": one, "output": other, **rest} if not rest:
                prices[name] = Price(_price(path, name, one), _price(path, name, other))
            case _:
                raise _bad(path, f"gives '{name}' something else than input and output")
    return prices


def _price(path: Path | str, name: str, value: object) -> Decimal:
    if isinstance(value, int | Decimal) and not isinstance(value, bool):
        price = Decimal(value)
        if price.is_finite() and price >= 0:
            return price
    raise _bad(path, f"gives '{name}' the price {value!r}, which is no amount of dollars")


def _bad(path: Path | str, problem: str) -> UserError:
    return UserError(
        f"The price table '{path}' {problem}.",
        hint=f"Expected prices in US dollars per million tokens, such as:\n{_EXAMPLE}",
    )


def _dollars(value: Decimal | float | str) -> Decimal:
    try:
        amount = Decimal(str(value))
    except ArithmeticError:
        amount = Decimal("nan")
    if not amount.is_finite() or amount < 0:
        raise UserError(
            f"A budget of '{value}' is no amount of dollars.", hint="Write --budget 2.50."
        )
    return amount
