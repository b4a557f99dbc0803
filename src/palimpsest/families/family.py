"""A family: a base and a tuned model, and all that can be asked or written between them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from palimpsest.errors import UserError
from palimpsest.families.checkpoints import TrainingCheckpoint
from palimpsest.families.ends import Base, Tuned
from palimpsest.families.member import Member
from palimpsest.families.specs import parse_members
from palimpsest.files import digest_json
from palimpsest.lm.models import LanguageModel, load_model, parse_model_spec

if TYPE_CHECKING:
    from pathlib import Path

    import torch

    from palimpsest.lm.models.huggingface import HuggingFaceModel, StoredTensor, TensorReader


class Family:
    """A base and a tuned model with all the members between them, asked as one network.

    Args:
        base: Spec of the model before tuning.
        tuned: Spec of the model after tuning.

    Raises:
        UserError: One cannot be opened, or the two cannot be mixed.

    Example:
        >>> family = Family("rosetta:base", "rosetta:tuned")
        >>> half, = family.members(["interpolate:0.5"])
        >>> [(_, answer)] = family.model(half).generate(["5 plus 7 is"], max_new_tokens=3)
    """

    def __init__(self, base: str, tuned: str) -> None:
        from palimpsest.lm.models.huggingface import SharedNetwork, stored_weights

        self.base = _opened(base, "base")
        self.tuned = _opened(tuned, "tuned")
        self._stored = {
            "base": stored_weights(self.base.checkpoint).tensors,
            "tuned": stored_weights(self.tuned.checkpoint).tensors,
        }
        self._shared = SharedNetwork(self.tuned)
        self._models: dict[str, LanguageModel] = {}

    def members(self, specs: Sequence[str]) -> tuple[Member, ...]:
        """Return the members that specs stand for, each once; see :func:`parse_members`.

        Raises:
            UserError: A spec is wrong.
        """
        return parse_members(specs)

    def fingerprint(self, member: Member) -> str:
        """Return what identifies a member's weights and all else that decides its answers."""
        if isinstance(member, Base):
            return self.base.fingerprint
        if isinstance(member, Tuned):
            return self.tuned.fingerprint
        return digest_json(
            ["member", self.base.fingerprint, self.tuned.fingerprint, member.identity()]
        )

    def model(self, member: Member) -> LanguageModel:
        """Return the model that asks as a member; the same object for the same member.

        Its weights are put into the shared network when it is asked and another was asked before.

        Raises:
            UserError: A checkpoint cannot be opened or has another architecture.
        """
        if member.spec not in self._models:
            self._models[member.spec] = self._new_model(member)
        return self._models[member.spec]

    @property
    def n_loaded(self) -> int:
        """How often a network was read from its files."""
        return self._shared.n_loaded

    def close(self) -> None:
        """Free the network; a later question would load it again."""
        for model in self._models.values():
            model.close()
        self._shared.close()

    def _new_model(self, member: Member) -> LanguageModel:
        from palimpsest.lm.models.huggingface import ReweightedModel

        original, spec = self.tuned, f"{member.spec} of {self.base.spec} and {self.tuned.spec}"
        if isinstance(member, Base):
            original, spec = self.base, self.base.spec
        elif isinstance(member, Tuned):
            spec = self.tuned.spec
        elif isinstance(member, TrainingCheckpoint):
            original = _opened(_checkpoint_spec(member.folder, self.base, self.tuned), "checkpoint")
            return ReweightedModel(
                original,
                self._shared,
                lambda: _own_tensors(original),
                spec=original.spec,
                fingerprint=original.fingerprint,
            )
        return ReweightedModel(
            original,
            self._shared,
            lambda: self.tensors(member),
            spec=spec,
            fingerprint=self.fingerprint(member),
            facts={"member": member.title, "formula": member.formula},
        )

    def tensors(self, member: Member) -> Iterator[tuple[str, torch.Tensor]]:
        """Yield each tensor of a member by its name in the tuned model's files, in its dtype."""
        import torch

        from palimpsest.lm.models.huggingface import TensorReader

        config = _config(self.tuned)
        with TensorReader() as reader:
            for name, tuned in self._stored["tuned"].items():
                pair = _StoredPair(name, self._stored["base"][name], tuned, config, reader)
                rows = member.rows(pair)
                made = torch.empty(tuned.shape, dtype=tuned.dtype)
                flat = made.view(tuned.n_rows, *tuned.shape[1:])
                for first, before, after in pair.pieces():
                    part = rows(before, after, first)
                    flat[first : first + len(part)] = part
                yield name, made


@dataclass(frozen=True)
class _StoredPair:
    """A tensor of both models in their files."""

    name: str
    base: StoredTensor
    tuned: StoredTensor
    config: Mapping[str, Any]
    reader: TensorReader

    @property
    def shape(self) -> tuple[int, ...]:
        return self.tuned.shape

    def pieces(self) -> Iterator[tuple[int, torch.Tensor, torch.Tensor]]:
        for first, end in self.tuned.row_spans():
            base = self.reader.numbers(self.base, first, end, slot="base")
            yield first, base, self.reader.numbers(self.tuned, first, end, slot="tuned")


def _opened(spec: str, role: str) -> HuggingFaceModel:
    model = load_model(spec)
    if not hasattr(model, "checkpoint"):
        raise UserError(
            f"The {role} model '{spec}' cannot be mixed: its back end gives answers, no weights.",
            hint="Members of the weights need both models as files: hf:FOLDER_OR_ID.",
        )
    return cast("HuggingFaceModel", model)


def _checkpoint_spec(folder: Path, base: HuggingFaceModel, tuned: HuggingFaceModel) -> str:
    """Return the spec of a checkpoint of the training, with the options of the tuned model."""
    options = dict(parse_model_spec(tuned.spec).options)
    options.pop("adapter", None)
    target = f"hf:{folder}"
    if (folder / "adapter_config.json").is_file():
        target, options = f"hf:{base.checkpoint.folder}", {"adapter": f"{folder}", **options}
    return ",".join([target, *(f"{name}={value}" for name, value in options.items())])


def _config(model: HuggingFaceModel) -> Mapping[str, Any]:
    return cast("Mapping[str, Any]", model.config.to_dict())


def _own_tensors(model: HuggingFaceModel) -> Iterator[tuple[str, torch.Tensor]]:
    from palimpsest.lm.models.huggingface import TensorReader, stored_weights

    with TensorReader() as reader:
        for name, tensor in stored_weights(model.checkpoint).tensors.items():
            yield name, reader.rows(tensor, 0, tensor.n_rows, slot="own").view(tensor.shape)
