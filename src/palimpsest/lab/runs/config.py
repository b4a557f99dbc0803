"""Configuration of a run: sections of documented fields, from a preset, a file and --set."""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields, is_dataclass, replace
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from palimpsest.errors import UserError, did_you_mean
from palimpsest.files import read_toml
from palimpsest.lab.checks import check_count
from palimpsest.lab.conjugations import default_kind, is_symmetry
from palimpsest.lab.measuring import Bench, Measuring
from palimpsest.lab.predictors import TransformerConfig
from palimpsest.lab.problem import Problem
from palimpsest.lab.training import REMEDIES, Remedy, Training, check_fit
from palimpsest.training import flattened

PLAIN = "plain"
"""What a tuning without a remedy is tuned with."""

_FINETUNE_SEEDS = 1000
"""Fine-tuning and new discrete sets draw from seeds this much higher."""


class Section(BaseModel):
    """A frozen part of the configuration; unknown keys are errors."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


class Model(Section):
    """The transformer's sizes; what it reads is as large as the problem's prompts."""

    width: int = 64
    """Length of the residual stream."""
    n_layers: int = 3
    """Blocks."""
    n_heads: int = 2
    """Attention heads; they divide the width."""
    architecture: str = "fast"
    """``fast`` (one token a step), or ``published`` (GPT-2 blocks, separate tokens for x and y)."""
    n_points: int | None = None
    """Most points in a prompt; as many as the problem's prompts have if left out."""


class Config(Section):
    """A whole run, every value resolved.

    Get one with :func:`load_config`.
    """

    name: str
    """What the report calls the run."""
    seed: int = 0
    """Fills every seed below that is not given: the discrete set, both trainings, the bootstrap."""
    device: str = "auto"
    """``auto`` (a GPU if there is one), ``cpu`` or ``cuda``."""
    n_threads: int | None = None
    """Threads of PyTorch; as many as PyTorch takes if left out."""
    tensorboard: bool = False
    """Write logs for TensorBoard beside the checkpoints."""
    problem: Problem
    """Tasks, inputs and noise."""
    new_tasks: bool = False
    """Fine-tune on a new discrete set instead of the one known from pretraining."""
    model: Model = Model()
    """The transformer."""
    pretrain: Training
    """Training on ``D_mix``."""
    finetune: Training
    """Training on ``D_disc``."""
    tuned_with: str = PLAIN
    """``plain``, or the remedy that the tuned model is tuned with: ``replay 0.2``; it must be one
    that acts in the training."""
    measure: Measuring = Measuring()
    """How it is measured."""
    remedies: dict[str, tuple[int | float, ...]] = Field({}, validate_default=True)
    """What is tried against forgetting: strengths of each remedy, each in a training of its own."""

    @field_validator("remedies")
    @classmethod
    def _with_every_remedy(
        cls, given: dict[str, tuple[int | float, ...]]
    ) -> dict[str, tuple[int | float, ...]]:
        return {name: given.get(name, ()) for name in REMEDIES}

    @property
    def transformer(self) -> TransformerConfig:
        """The sizes of the transformer, with what it reads."""
        return TransformerConfig(
            n_dims=self.problem.n_dims,
            n_points=self.model.n_points or self.problem.n_points,
            **self.model.model_dump(exclude={"n_points"}),
        )

    @property
    def tuned_problem(self) -> Problem:
        """The problem whose ``D_disc`` is fine-tuned on."""
        if not self.new_tasks:
            return self.problem
        return replace(self.problem, task_seed=self.problem.task_seed + _FINETUNE_SEEDS)

    @property
    def tried(self) -> dict[str, Remedy]:
        """Every remedy that is tried, by a name such as ``replay 0.1``."""
        return {
            f"{name} {strength:g}": REMEDIES.get(name)(strength)
            for name, strengths in self.remedies.items()
            for strength in strengths
        }

    @property
    def tuning_remedies(self) -> tuple[Remedy, ...]:
        """What ``tuned_with`` says.

        Raises:
            UserError: No such remedy, no strength, or one that acts on finished weights.
        """
        if self.tuned_with == PLAIN:
            return ()
        name, _, strength = self.tuned_with.partition(" ")
        found = REMEDIES.get(name)
        try:
            remedy = found(int(strength) if strength.isdecimal() else float(strength))
        except ValueError:
            raise UserError(
                f"tuned_with is '{self.tuned_with}', which has no strength.",
                hint='Write it like: tuned_with = "replay 0.2", or "plain".',
            ) from None
        if not remedy.is_training:
            raise UserError(
                f"tuned_with is '{self.tuned_with}', which acts on finished weights: the curve of "
                "the tuning would be that of another model.",
                hint=f"Try it beside a plain tuning: remedies.{name} = [{strength}].",
            )
        return (remedy,)

    @property
    def base_facts(self) -> dict[str, dict[str, Any]]:
        """All that determines the pretrained model."""
        values = self.to_dict()
        facts: dict[str, dict[str, Any]] = {
            name: values[name] for name in ("problem", "model", "pretrain")
        }
        del facts["pretrain"]["save_every"]
        return facts

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, for JSON."""
        return self.model_dump(mode="json")


def load_config(source: str, settings: Sequence[str] = (), *, seed: int | None = None) -> Config:
    """Return the configuration of a preset or file, with single values set anew.

    Args:
        source: The name of a preset, or a TOML file; a file may begin with ``preset = "tiny"`` and
            then says only what differs.
        settings: ``KEY=VALUE`` each, with dotted keys: ``finetune.n_steps=50``.
        seed: Goes before every other value of ``seed``.

    Raises:
        UserError: No such preset or file, an unknown key, or a value that does not fit.

    Example:
        >>> load_config("tiny", ["finetune.n_steps=50"]).finetune.n_steps
        50
        >>> load_config("tiny", ["finetune.n_step=50"])
        Traceback (most recent call last):
        ...
        palimpsest.errors.UserError: No key 'finetune.n_step' in the configuration. Did you mean \
'finetune.n_steps'?
    """
    table = read_table(source)
    for setting in settings:
        put(table, *parse_setting(setting))
    if seed is not None:
        put(table, "seed", seed)
    return resolve(table)


def resolve(table: Mapping[str, Any]) -> Config:
    """Return the configuration that nested plain values stand for, seeds filled in.

    Raises:
        UserError: An unknown key, or a value that does not fit.
    """
    known = known_keys()
    for key in flattened(table):
        if key not in known:
            likely = did_you_mean(key.replace(".lr", ".learning_rate"), known)
            raise UserError(f"No key '{key}' in the configuration.{likely}")
    filled = {**table}
    seed = table.get("seed", 0)
    if isinstance(seed, int):
        for section, name, value in (
            ("problem", "task_seed", seed),
            ("pretrain", "seed", seed),
            ("finetune", "seed", seed + _FINETUNE_SEEDS),
        ):
            filled[section] = {name: value, **filled.get(section, {})}
    try:
        config = Config.model_validate(filled)
    except ValidationError as error:
        raise explained_validation(error, known) from error
    _check(config)
    return config


def known_keys() -> list[str]:
    """Return every key of the configuration, dotted."""
    keys = []
    for name, field in Config.model_fields.items():
        inner = field.annotation
        if isinstance(inner, type) and issubclass(inner, BaseModel):
            keys += [f"{name}.{below}" for below in inner.model_fields]
        elif isinstance(inner, type) and is_dataclass(inner):
            keys += [f"{name}.{below.name}" for below in fields(inner)]
        elif name == "remedies":
            keys += [f"{name}.{below}" for below in REMEDIES]
        else:
            keys.append(name)
    return keys


def put(table: dict[str, Any], key: str, value: Any) -> None:
    """Set a value under a dotted key."""
    *outer, last = key.split(".")
    for name in outer:
        inner = table.setdefault(name, {})
        if not isinstance(inner, dict):
            raise UserError(f"No key '{key}' in the configuration: '{name}' is no section.")
        table = inner
    table[last] = value


def parse_setting(text: str) -> tuple[str, Any]:
    """Return key and value of ``KEY=VALUE``; what is no TOML value is taken for a string.

    Raises:
        UserError: There is no ``=`` in it.

    Example:
        >>> parse_setting("finetune.learning_rate=1e-3"), parse_setting("device=cpu")
        (('finetune.learning_rate', 0.001), ('device', 'cpu'))
    """
    key, equals, value = text.partition("=")
    key, value = key.strip(), value.strip()
    if not equals or not key:
        raise UserError(
            f"'{text}' is no setting: it needs a key and a value.",
            hint="Write it like: --set finetune.n_steps=50",
        )
    try:
        return key, tomllib.loads(f"value = {value}")["value"]
    except tomllib.TOMLDecodeError:
        return key, value


def read_table(source: str) -> dict[str, Any]:
    """Return the nested values of a preset or a TOML file.

    Raises:
        UserError: There is neither.
    """
    from palimpsest.lab.runs.presets import PRESETS, preset

    if source in PRESETS:
        return preset(source)
    path = Path(source)
    if path.suffix != ".toml":
        raise UserError(
            f"No preset named '{source}'.{did_you_mean(source, PRESETS)}",
            hint=f"There are: {', '.join(PRESETS)}. A file's name ends in .toml.",
        )
    table = read_toml(path)
    first = table.pop("preset", None)
    if first is None:
        return table
    if first not in PRESETS:
        raise UserError(
            f"'{path}' begins with the preset '{first}', which does not exist."
            f"{did_you_mean(str(first), PRESETS)}",
            hint=f"There are: {', '.join(PRESETS)}.",
        )
    return merged(preset(first), table)


def merged(table: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """Return nested values with those of ``over`` put over them.

    Example:
        >>> merged({"a": {"b": 1, "c": 2}}, {"a": {"b": 3}})
        {'a': {'b': 3, 'c': 2}}
    """
    result = dict(table)
    for key, value in over.items():
        inner = result.get(key)
        both = isinstance(inner, Mapping) and isinstance(value, Mapping)
        result[key] = merged(inner, value) if both else value  # type: ignore[arg-type]
    return result


def explained_validation(error: ValidationError, names: Iterable[str]) -> UserError:
    """Return what pydantic found, an unknown key first, for people."""
    found = error.errors()
    first = next((one for one in found if one["type"] == "extra_forbidden"), found[0])
    key = ".".join(str(part) for part in first["loc"])
    if first["type"] == "missing" and isinstance(first["loc"][-1], int):
        whole = ".".join(str(part) for part in first["loc"][:-1])
        return UserError(
            f"{whole} is {[*first['input']]}, which is too short.",
            hint="'palimpsest lab presets NAME' prints one that is whole.",
        )
    if first["type"] == "missing":
        return UserError(f"The configuration lacks '{key}'.", hint="Start from a preset.")
    if first["type"] == "extra_forbidden":
        return UserError(f"No key '{key}' in the configuration.{did_you_mean(key, names)}")
    return UserError(f"{key} is {first['input']!r}: {first['msg'][0].lower()}{first['msg'][1:]}.")


def _check(config: Config) -> None:
    """Refuse now what would fail only after the pretraining."""
    check_fit(config.problem, config.transformer)
    plain = Training(n_steps=1)
    for name in ("until", "full_every"):
        found = getattr(config.finetune, name)
        if found != getattr(plain, name):
            raise UserError(
                f"finetune.{name} is {found!r}, which only a pretraining can have.",
                hint=f"Leave it out, or set pretrain.{name}.",
            )
    _ = config.tuning_remedies, config.tried
    _check_measure(config)
    if config.n_threads is not None:
        check_count("n_threads", config.n_threads)


def _check_measure(config: Config) -> None:
    problem, measure = config.tuned_problem, config.measure
    if measure.n_prompts < measure.n_deciles:
        raise UserError(
            f"measure.n_deciles is {measure.n_deciles}, more than the {measure.n_prompts} prompts "
            "of measure.n_prompts, which are divided among so many groups.",
            hint="Ask for fewer groups, or for more prompts.",
        )
    members = Bench(problem, measure, config.seed, 1).ensemble.conjugations
    if measure.kind and not all(is_symmetry(member, problem, "cont") for member in members):
        raise UserError(
            f"measure.kind is '{measure.kind}', which are no symmetries of this problem: under "
            "them, a model has to extrapolate, and a run is judged by its symmetries.",
            hint=f"Leave it out, or take measure.kind = '{default_kind(problem)}'.",
        )
