"""Plan of a sweep: a file that names a configuration, the keys that vary, and their values."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import Field, ValidationError

from palimpsest.errors import UserError, did_you_mean
from palimpsest.files import digest_json, read_toml
from palimpsest.lab.runs.config import (
    Config,
    Section,
    explained_validation,
    known_keys,
    merged,
    parse_setting,
    put,
    read_table,
    resolve,
)
from palimpsest.lab.runs.measures import check_measure
from palimpsest.training import flattened


class Plot(Section):
    """A figure: one measure over one key."""

    measure: str
    """One of ``measures.MEASURES``."""
    over: str
    """The key along the horizontal axis; it must be one that is varied."""
    by: str | None = None
    """A key with a line for each of its values."""


class Sweep(Section):
    """A sweep, as its file says."""

    name: str
    """What its folder and figures are called."""
    config: str = "tiny"
    """The preset or configuration file that all runs start from; beside the sweep's file."""
    set: dict[str, Any] = Field(default_factory=dict)
    """What is set anew in all runs, under dotted keys or in sections."""
    over: dict[str, Any]
    """Key to its values; every combination is run."""
    plots: tuple[Plot, ...] = ()
    """What is drawn."""


@dataclass(frozen=True)
class Job:
    """One run of a sweep."""

    name: str
    """Also that of its folder."""
    varied: dict[str, Any]
    """Key to value, of the keys that vary."""
    config: Config

    @property
    def base_key(self) -> str:
        """A hash of all that determines the pretrained model: runs with the same share one."""
        return digest_json(self.config.base_facts)

    @property
    def training_key(self) -> str:
        """A hash that pretrainings share of which one continues the other."""
        facts = self.config.base_facts
        if self.config.pretrain.is_open:
            for name in ("n_steps", "until", "check_every"):
                del facts["pretrain"][name]
        return digest_json(facts)


@dataclass(frozen=True)
class Plan:
    """A sweep with its runs."""

    sweep: Sweep
    jobs: tuple[Job, ...]

    @property
    def name(self) -> str:
        """The sweep's."""
        return self.sweep.name


def load_sweep(path: Path, settings: Sequence[str] = ()) -> Plan:
    """Return the plan that a sweep's file describes.

    Args:
        path: The TOML file.
        settings: ``KEY=VALUE`` each, set anew in all runs.

    Raises:
        UserError: No such file, an unknown key, no values, or a value that does not fit.
    """
    try:
        sweep = Sweep.model_validate(read_toml(path))
    except ValidationError as error:
        raise explained_validation(error, Sweep.model_fields) from error
    beside = path.parent / sweep.config
    table = read_table(str(beside) if sweep.config.endswith(".toml") else sweep.config)
    fixed: dict[str, Any] = {}
    for key, value in flattened(sweep.set).items():
        put(fixed, key, value)
    for setting in settings:
        put(fixed, *parse_setting(setting))
    return plan(sweep, merged(table, fixed))


def plan(sweep: Sweep, table: Mapping[str, Any]) -> Plan:
    """Return a sweep with its runs, all of which have been checked.

    Raises:
        UserError: As :func:`load_sweep`.
    """
    over = flattened(sweep.over)
    known = known_keys()
    for key, values in over.items():
        if key not in known:
            raise UserError(f"No key '{key}' in the configuration.{did_you_mean(key, known)}")
        if not isinstance(values, list) or not values:
            raise UserError(f"The sweep gives no values for '{key}'; it needs a list of them.")
    for plot in sweep.plots:
        check_plot(plot, over)
    jobs = tuple(_job(table, varied) for varied in combinations(over))
    if len({job.name for job in jobs}) < len(jobs):
        raise UserError("The sweep gives a value twice.", hint="Give each value of a key once.")
    return Plan(sweep, jobs)


def combinations(over: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield the keys and values of each run of a sweep.

    Args:
        over: Key to its values, as the sweep has them.

    Example:
        >>> [run_name(varied) for varied in combinations({"seed": [0, 1], "new_tasks": [True]})]
        ['seed=0,new_tasks=True', 'seed=1,new_tasks=True']
    """
    keys = flattened(over)
    for values in itertools.product(*keys.values()):
        yield dict(zip(keys, values, strict=True))


def run_name(varied: Mapping[str, Any]) -> str:
    """Return the name of a run, also that of its folder."""
    return re.sub(r"[^\w.,=-]+", "-", ",".join(f"{key}={value}" for key, value in varied.items()))


def check_plot(plot: Plot, over: Iterable[str]) -> None:
    """Check that a plot is of a measure, over keys that vary.

    Raises:
        UserError: It is not.
    """
    check_measure(plot.measure)
    for key in filter(None, (plot.over, plot.by)):
        if key not in over:
            raise UserError(
                f"A plot is over '{key}', which the sweep does not vary.{did_you_mean(key, over)}"
            )


def _job(table: Mapping[str, Any], varied: dict[str, Any]) -> Job:
    values: dict[str, Any] = merged(table, {})
    for key, value in varied.items():
        inner: dict[str, Any] = {}
        put(inner, key, value)
        values = merged(values, inner)
    return Job(run_name(varied), varied, resolve(values))
