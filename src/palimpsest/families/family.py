"""A family: a base and a tuned model, and all that can be asked or written between them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from palimpsest.errors import UserError
from palimpsest.families.checkpoints import TrainingCheckpoint
from palimpsest.families.ends import Base, Tuned
from palimpsest.families.member import Member
from palimpsest.families.specs import parse_members
from palimpsest.files import digest_json, working_in
from palimpsest.lm.models import LanguageModel, Origin, load_model, parse_model_spec

if TYPE_CHECKING:
    from palimpsest.families.matching import Match, MatchedTensor
    from palimpsest.lm.models.huggingface import HuggingFaceModel, Put, ReweightedModel, Weights

_OF_BASE = "base"
"""The background of an adapter whose base is as it was."""


class Family:
    """A base and a tuned model with all the members between them, asked as one network.

    Args:
        base: Spec of the model before tuning.
        tuned: Spec of the model after tuning: a whole model, or the base with an adapter.

    Raises:
        UserError: One cannot be opened, the two cannot be mixed, or are the same.

    Example:
        >>> family = Family("rosetta:base", "rosetta:tuned")
        >>> [member.title for member in family.members(["base", "interpolate:0.2,0.4"])]
        ['base', '20% of the change', '40% of the change']
        >>> base, *_ = family.members(["base"])
        >>> [(_, answer)] = family.model(base).generate(["5 plus 7 is"], max_new_tokens=1)
    """

    def __init__(self, base: str, tuned: str) -> None:
        from palimpsest.families.matching import different_settings, match_models
        from palimpsest.families.mixing import first_change
        from palimpsest.lm.models.huggingface import SharedNetwork

        self.base = _opened(base, "base")
        self.tuned = _opened(tuned, "tuned")
        self._match = (
            self._match_adapter() if self.is_adapter else match_models(self.base, self.tuned)
        )
        self._check_same_dtype()
        if first_change(self._match.tensors) is None:
            raise UserError(
                f"The weights of base '{base}' and tuned '{tuned}' are the same: there is nothing "
                "between them. Was the adapter not applied, or the model saved before it was "
                "trained?",
                hint="Name the tuned model, or its adapter: BASE,adapter=FOLDER.",
            )
        self._can_share_base = not different_settings(self.base, self.tuned) and (
            self.base.n_embeddings == self.tuned.n_embeddings
        )
        self._shared = SharedNetwork(self.tuned, background=_OF_BASE if self.is_adapter else "")
        self._models: dict[str, LanguageModel] = {}

    @property
    def is_adapter(self) -> bool:
        """Whether what was tuned is an adapter."""
        return self.tuned.adapter is not None

    @property
    def notes(self) -> tuple[str, ...]:
        """What a user should know of the pair, in sentences: tied or added embeddings, and more."""
        return self._match.notes

    @property
    def n_loaded(self) -> int:
        """How often the shared network was read from its files."""
        return self._shared.n_loaded

    def members(self, specs: Sequence[str]) -> tuple[Member, ...]:
        """Return the members that specs stand for, each once; see :func:`parse_members`.

        Raises:
            UserError: A spec is wrong, or the member is of another family.
        """
        members = parse_members(specs)
        for member in members:
            member.check(self)
        return members

    def fingerprint(self, member: Member) -> str:
        """Return what identifies a member's weights and all else that decides its answers.

        Those of base, tuned model and checkpoints are the models' own, so that their stored answers
        are found.

        Raises:
            UserError: A checkpoint cannot be opened.
        """
        return self.model(member).fingerprint

    def expected_seconds(self, member: Member) -> float:
        """Return about how long the arithmetic of a member takes here, measured on a small part.

        Reading and writing are left out; without a spectral member it is zero.
        """
        return member.expected_seconds([each.place.shape for each in self.tensors(member)])

    def tensors(self, member: Member) -> tuple[MatchedTensor, ...]:
        """Return what the files of a member have, and what that is made of.

        Raises:
            UserError: An adapter's change cannot be treated so.
        """
        return self._match.tensors if member.scales else self.whole_tensors

    @property
    def whole_tensors(self) -> tuple[MatchedTensor, ...]:
        """What the files of a whole model have, of an adapter the base's with its change."""
        return self._merged.tensors if self.is_adapter else self._match.tensors

    @cached_property
    def base_weights(self) -> str:
        """What tells the base's weights from others, wherever they lie and however asked."""
        return _weights_digest(self.base)

    @cached_property
    def tuned_weights(self) -> str:
        """The same of the tuned model."""
        return _weights_digest(self.tuned)

    @cached_property
    def config(self) -> Mapping[str, Any]:
        """What ``config.json`` of the tuned model says."""
        return cast("Mapping[str, Any]", self.tuned.config.to_dict())

    def model(self, member: Member) -> LanguageModel:
        """Return the model that asks as a member; the same object for the same member.

        Its weights are put into the shared network when it is asked and another was asked before.

        Raises:
            UserError: A checkpoint cannot be opened.
        """
        if member.spec not in self._models:
            self._models[member.spec] = self._new_model(member)
        return self._models[member.spec]

    def write(
        self,
        member: Member,
        directory: Path,
        *,
        card: str = "",
        progress: Callable[[float], None] | None = None,
    ) -> None:
        """Write a member as a checkpoint of its own, in the shards of the tuned model.

        Of an adapter, members that scale its change become an adapter, others a whole model in the
        shards of the base. The folder is there whole or not at all.

        Args:
            member: No end of the family and no checkpoint: these are folders already.
            directory: Must not exist.
            card: Markdown for the model card, such as what was measured of the member.
            progress: Told the share that is done.

        Raises:
            UserError: The folder exists, the disk is full, or a tensor has NaN or infinity.
        """
        from palimpsest.families.card import model_card
        from palimpsest.families.writing import write_checkpoint
        from palimpsest.lm.models.huggingface import stored_weights

        self._refuse_written(member)
        tuned, adapter = self.tuned.checkpoint, self.tuned.adapter
        weights_of = tuned if adapter is None or not member.scales else adapter
        write_checkpoint(
            directory,
            member=member,
            tensors=self.tensors(member),
            config=self.config,
            files=stored_weights(weights_of).files,
            weights_of=weights_of,
            tokenizer_of=adapter if adapter is not None and adapter.has_tokenizer else weights_of,
            card=model_card(self, member, name=directory.name, measured=card),
            progress=progress,
        )

    def _refuse_written(self, member: Member) -> None:
        folder: Path | None = None
        if isinstance(member, Base | Tuned):
            folder = (self.base if isinstance(member, Base) else self.tuned).checkpoint.folder
        elif isinstance(member, TrainingCheckpoint):
            folder = member.folder
        if folder is not None:
            raise UserError(
                f"The member '{member.spec}' is a model that lies in '{folder}' already.",
                hint="Use that folder, or copy it.",
            )

    def close(self) -> None:
        """Free the network; a later question would load it again."""
        for model in self._models.values():
            model.close()
        self._shared.close()

    def _new_model(self, member: Member) -> LanguageModel:
        if isinstance(member, Base):
            return self._as_asked(self.base, member) if self._can_share_base else self.base
        if isinstance(member, Tuned):
            return self._as_asked(self.tuned, member)
        if isinstance(member, TrainingCheckpoint):
            return self._checkpoint(member)
        identity = ["member", self.base.fingerprint, self.tuned.fingerprint, member.identity()]
        return self._reweighted(
            self.tuned,
            member,
            spec=f"{member.spec} of {self.base.spec} and {self.tuned.spec}",
            fingerprint=digest_json(identity),
            facts={"member": member.title, "formula": member.formula, "source": member.source},
            origin=Origin(
                open_member, (str(Path.cwd()), self.base.spec, self.tuned.spec, member.spec)
            ),
        )

    def _as_asked(self, original: HuggingFaceModel, member: Member) -> LanguageModel:
        return self._reweighted(
            original, member, spec=original.spec, fingerprint=original.fingerprint
        )

    def _checkpoint(self, member: TrainingCheckpoint) -> LanguageModel:
        from palimpsest.families.matching import different_settings, match_models

        original = _opened(self.checkpoint_spec(member), "checkpoint")
        is_alike = (
            (original.adapter is not None) == self.is_adapter
            and original.n_embeddings == self.tuned.n_embeddings
            and not different_settings(original, self.tuned)
        )
        if not is_alike:
            return original
        if self.is_adapter:
            match = self._match_adapter(original)
        else:
            match = match_models(self.base, original)
        return self._reweighted(
            original,
            Tuned(),
            spec=original.spec,
            fingerprint=original.fingerprint,
            tensors=match.tensors,
        )

    def checkpoint_spec(self, member: TrainingCheckpoint) -> str:
        """Return the spec of a checkpoint as a model, with the options of the tuned model."""
        options = dict(parse_model_spec(self.tuned.spec).options)
        options.pop("adapter", None)
        target = f"hf:{member.folder}"
        if (member.folder / "adapter_config.json").is_file():
            target = f"hf:{self.base.checkpoint.folder}"
            options = {"adapter": f"{member.folder}", **options}
        return ",".join([target, *(f"{name}={value}" for name, value in options.items())])

    def _reweighted(
        self,
        original: HuggingFaceModel,
        member: Member,
        *,
        spec: str,
        fingerprint: str,
        facts: Mapping[str, str] | None = None,
        origin: Origin | None = None,
        tensors: Sequence[MatchedTensor] | None = None,
    ) -> ReweightedModel:
        from palimpsest.lm.models.huggingface import Background, ReweightedModel

        own = self.tensors(member) if tensors is None else tensors
        weights = plain = self._weights(member, own)
        background: Background | None = None
        if self.is_adapter and member.scales:
            background = Background(_OF_BASE, self._weights(Base(), self._base_tensors))
            plain = background.weights if original.adapter is None else None  # type: ignore[assignment]
        elif self.is_adapter:
            background = Background(member.spec, weights)
            weights = self._weights(Base(), self._low_rank)
        return ReweightedModel(
            original,
            self._shared,
            weights,
            spec=spec,
            fingerprint=fingerprint,
            background=background,
            plain=plain,
            facts=facts,
            origin=origin or original.origin,
        )

    def _weights(self, member: Member, tensors: Sequence[MatchedTensor]) -> Weights:
        from palimpsest.families.mixing import mix_all

        def weights(put: Put) -> None:
            def put_rows(matched: MatchedTensor, first: int, rows: Any) -> None:
                put(matched.name, matched.place.shape, first, rows)

            mix_all(member, tensors, self.config, put_rows)

        return weights

    def _match_adapter(self, tuned: HuggingFaceModel | None = None) -> Match:
        from palimpsest.families.adapters import match_adapter

        return match_adapter(self.base, tuned or self.tuned)

    @cached_property
    def _merged(self) -> Match:
        from palimpsest.families.adapters import match_merged

        return match_merged(self.base, self.tuned)

    @property
    def _low_rank(self) -> tuple[MatchedTensor, ...]:
        """The tensors of the adapter that are zero in the base."""
        from palimpsest.families.adapters import Zeros

        return tuple(each for each in self._match.tensors if isinstance(each.base, Zeros))

    @cached_property
    def _base_tensors(self) -> tuple[MatchedTensor, ...]:
        """The base's own tensors."""
        from palimpsest.families.matching import whole_model

        return whole_model(self.base)

    def _check_same_dtype(self) -> None:
        for what in ("device", "dtype"):
            one, other = (
                str(getattr(each, what)).removeprefix("torch.") for each in (self.base, self.tuned)
            )
            if one != other:
                raise UserError(
                    f"Base '{self.base.spec}' is asked with {what}={one} and tuned "
                    f"'{self.tuned.spec}' with {other}; a family is one network.",
                    hint=f"Give both the same option {what}=.",
                )


def open_member(folder: str, base: str, tuned: str, member: str) -> LanguageModel:
    """Open a member for a process that works in ``folder``; one family at a time stays open."""
    with working_in(folder):
        family = _family(folder, base, tuned)
        [parsed] = family.members([member])
        return family.model(parsed)


@lru_cache(maxsize=1)
def _family(folder: str, base: str, tuned: str) -> Family:
    return Family(base, tuned)


def _weights_digest(model: HuggingFaceModel) -> str:
    from palimpsest.lm.models.huggingface import hash_files

    parts = [model.checkpoint, *([model.adapter] if model.adapter is not None else [])]
    return digest_json([sorted(hash_files(part.weights).values()) for part in parts])


def _opened(spec: str, role: str) -> HuggingFaceModel:
    model = load_model(spec)
    if not hasattr(model, "checkpoint"):
        back_end = parse_model_spec(spec).name
        raise UserError(
            f"The {role} model '{spec}' has no weights here: the back end '{back_end}' gives "
            "answers alone, and a mixture is made of weights.",
            hint="Name both as files: a folder with config.json and *.safetensors, or an id.",
        )
    return cast("HuggingFaceModel", model)
