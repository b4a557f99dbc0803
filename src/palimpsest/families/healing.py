"""Healing: what a short training of the tuned model on the base's own text has changed."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from palimpsest.errors import UserError, did_you_mean
from palimpsest.families.member import Member, Rows, TensorPair
from palimpsest.files import digest_json, parse_json, read_bytes, sha256_of

if TYPE_CHECKING:
    import torch

    from palimpsest.families.family import Family
    from palimpsest.specs import Spec

RECORD = "healing.json"
"""What a healing's folder has besides the adapter: how it was made, and of what."""

WEIGHTS = "adapter_model.safetensors"
_PREFIX = "base_model.model."


class HealingRecipe(BaseModel):
    """Settings of a healing; what came of trying others stands in decision 0034."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    seed: int = Field(default=0, ge=0)
    """Of the text that is written, of the adapter's first weights, and of the batches."""

    n_steps: int = Field(default=400, ge=0)
    """Updates."""

    n_texts: int = Field(default=2048, ge=1)
    """So many texts the base writes; what is rare in them comes back with their number."""

    text_tokens: int = Field(default=128, ge=8)
    """At most so long is each."""

    openings: Literal["start", "natural"] = "start"
    """What the base continues: its start token alone, or short beginnings such as *In the*."""

    replay: Literal["text", "distribution"] = "distribution"
    """What is learnt of a text: its tokens, or at each of them all that the base would have said
    (the Kullback–Leibler divergence from it), for which the base stays in memory."""

    n_prompts: int = Field(default=64, ge=1)
    """So many prompts of the target, a quarter of it at most, which are then not judged on."""

    answer_tokens: int = Field(default=48, ge=1)
    """At most so long is each answer that the tuned model writes to them."""

    keep: float = Field(default=1.0, ge=0, allow_inf_nan=False)
    """Weight of the divergence from the tuned model on these answers, beside that of the text."""

    batch_size: int = Field(default=8, ge=1)
    """Texts, and as many answers, an update."""

    learning_rate: float = Field(default=3e-3, gt=0, allow_inf_nan=False)
    """Peak rate of AdamW; it rises over a twentieth of the steps and falls along a cosine."""

    rank: int = Field(default=16, ge=1)
    """Of the adapter; its scale is one (``lora_alpha`` is the rank)."""

    @property
    def label(self) -> str:
        """What its folder is called: the seed, and what is not as by default.

        Example:
            >>> HealingRecipe(seed=2, n_steps=50, keep=0.5).label
            'seed-2-n_steps-50-keep-0.5'
        """
        changed = {
            name: value
            for name, value in self
            if name != "seed" and value != type(self).model_fields[name].default
        }
        return "-".join(f"{name}-{value}" for name, value in {"seed": self.seed, **changed}.items())


def parse_recipe(settings: Sequence[str]) -> HealingRecipe:
    """Return the recipe with some settings changed.

    Args:
        settings: ``KEY=VALUE`` each.

    Raises:
        UserError: No such setting, or a value that it cannot have.

    Example:
        >>> parse_recipe(["n_steps=20", "seed=3"]).n_steps
        20
    """
    known = list(HealingRecipe.model_fields)
    given: dict[str, str] = {}
    for text in settings:
        name, equals, value = (part.strip() for part in text.partition("="))
        if not equals or name not in known:
            raise UserError(
                f"The healing has no setting '{text}'.{did_you_mean(name, known)}",
                hint=f"Write KEY=VALUE, with one of: {', '.join(known)}.",
            )
        given[name] = value
    try:
        return HealingRecipe.model_validate(given)
    except ValidationError as error:
        first = error.errors()[0]
        name = str(first["loc"][0])
        raise UserError(
            f"The healing's setting {name}={given[name]} is wrong: {first['msg']}.",
            hint=f"By default it is {name}={HealingRecipe.model_fields[name].default}.",
        ) from error


class HealingRecord(BaseModel):
    """What ``healing.json`` says."""

    model_config = ConfigDict(extra="ignore")

    format: Literal["palimpsest.healing/1"] = "palimpsest.healing/1"
    recipe: HealingRecipe
    base: str
    """Spec of the base that has written the texts."""
    tuned: str
    """Spec of the model that was trained."""
    base_weights: str
    """Digest of the base's files of weights."""
    tuned_weights: str
    target: str
    """Name of what was tuned for."""
    prompts: list[str]
    """Digests of the target's prompts that were trained on."""
    texts: str
    """Digest of what base and tuned model have written."""
    n_texts: int
    """How many of the base's texts were long enough."""
    losses: list[tuple[int, float, float]]
    """Now and then: the step, the loss on the texts, the divergence on the answers, in nats a
    token."""
    versions: dict[str, str]
    """Of the libraries."""


def read_record(folder: Path) -> HealingRecord:
    """Return what the folder of a healing says of it.

    Raises:
        UserError: It is none, or damaged.
    """
    path = folder / RECORD
    hint = "Make one with: palimpsest restore BASE TUNED --train …"
    if not path.is_file() or not (folder / WEIGHTS).is_file():
        raise UserError(f"The folder '{folder}' has no healing in it ({RECORD}).", hint=hint)
    try:
        return HealingRecord.model_validate(parse_json(read_bytes(path), f"The file '{path}'"))
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"]))
        raise UserError(
            f"'{path}' is no record of a healing: {place}: {first['msg']}.", hint=hint
        ) from error


@dataclass(frozen=True)
class Healing(Member):
    """The tuned model after a short training on the base's own text: healing:FOLDER.

    ``palimpsest restore --train`` makes the folder, which is an adapter in PEFT's format on top of
    the tuned model. With no step made it is the tuned model to the bit.
    """

    folder: Path

    name: ClassVar[str] = "healing"
    source: ClassVar[str] = (
        "self-generated replay, Huang et al. 2024, arXiv 2403.01244, and arXiv 2605.26097; "
        "LoRA, Hu et al. 2021, arXiv 2106.09685"
    )
    formula: ClassVar[str] = "W = W_tuned + B A, trained on text of the base"
    is_trained: ClassVar[bool] = True

    @property
    def spec(self) -> str:  # noqa: D102
        return f"{self.name}:{self.folder}"

    @property
    def title(self) -> str:  # noqa: D102
        recipe = self.record.recipe
        return f"tuned, healed by {recipe.n_steps} steps with seed {recipe.seed}"

    @classmethod
    def parse(cls, spec: Spec) -> tuple[Member, ...]:
        """Return the healing in a folder.

        Raises:
            UserError: There is none.
        """
        spec.allow([])
        if not spec.target:
            raise UserError(
                "The member 'healing' stands without its folder.",
                hint="Write healing:FOLDER; palimpsest restore BASE TUNED --train … makes one.",
            )
        found = cls(Path(spec.target).expanduser())
        assert found.record
        return (found,)

    @cached_property
    def record(self) -> HealingRecord:
        """How it was made."""
        return read_record(self._place)

    @cached_property
    def _place(self) -> Path:
        """The folder, wherever the process goes when it has been found."""
        return self.folder.absolute()

    def identity(self) -> object:
        """Return the digest of what was trained: the folder may be anywhere."""
        return [self.name, self.version, sha256_of(self._place / WEIGHTS)]

    def trained_on(self) -> frozenset[str]:
        """Return the digests of the target's prompts that it was trained on."""
        return frozenset(self.record.prompts)

    def check(self, family: Family) -> None:
        """Check that the family's tuned model is the one that was trained.

        Raises:
            UserError: It is another one.
        """
        if family.tuned_weights != self.record.tuned_weights:
            raise UserError(
                f"The healing in '{self.folder}' was trained on '{self.record.tuned}'; "
                f"'{family.tuned.spec}' has other weights.",
                hint="Train one for this pair: palimpsest restore BASE TUNED --train …",
            )

    def rows(self, pair: TensorPair) -> Rows:
        """Return the function that adds the product of the two factors, where there are any."""
        found = self._factors.get(pair.name) or self._factors.get(pair.name.partition(".")[2])
        if found is None or not bool(found[1].any()):  # adding zeros would turn −0 into 0
            return lambda base, tuned, first: tuned
        a, b = found
        left, right = (a.T, b.T) if self._is_turned else (b, a)

        def healed(base: torch.Tensor, tuned: torch.Tensor, first: int) -> torch.Tensor:
            return tuned.addmm_(left[first : first + len(tuned)].contiguous(), right)

        return healed

    @cached_property
    def _factors(self) -> Mapping[str, tuple[torch.Tensor, torch.Tensor]]:
        """The factors A and B by the names that files may have for the tensors they change."""
        from safetensors.torch import load_file

        tensors = load_file(self._place / WEIGHTS)
        found = {}
        for name, a in tensors.items():
            if name.endswith(".lora_A.weight"):
                layer = name.removesuffix(".lora_A.weight")
                b = tensors[f"{layer}.lora_B.weight"].float()
                tensor = f"{layer.removeprefix(_PREFIX)}.weight"
                found[tensor] = found[tensor.partition(".")[2]] = (a.float(), b)
        return found

    @cached_property
    def _is_turned(self) -> bool:
        """Whether the layers have inputs along their rows, as GPT-2's do."""
        config = parse_json(read_bytes(self._place / "adapter_config.json"), "the adapter's")
        return bool(config.get("fan_in_fan_out"))


def record_text(record: HealingRecord) -> str:
    """Return the content of ``healing.json``."""
    return json.dumps(record.model_dump(mode="json"), indent=1, ensure_ascii=False) + "\n"


def prompts_digest(digests: Sequence[str]) -> str:
    """Return one digest of all prompts that a healing is trained on."""
    return digest_json(sorted(digests))
