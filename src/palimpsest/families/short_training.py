"""Short training that makes a healing: low-rank factors learn the base's own text.

The base writes texts, the tuned model answers prompts of what it was tuned for; both are kept on
disk. Then factors of low rank on all layers of the tuned model learn the texts, and are held to the
tuned model's distribution on the answers. A batch is a function of its step, and the state is saved
with the optimiser's, so that a training that was killed ends with the weights of one that was not.
"""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from palimpsest.errors import UserError, from_extra
from palimpsest.families.family import Family
from palimpsest.families.healing import (
    RECORD,
    WEIGHTS,
    Healing,
    HealingRecipe,
    HealingRecord,
    prompts_digest,
    record_text,
)
from palimpsest.families.self_written import (
    OPENINGS,
    Told,
    WrittenText,
    check_written,
    write_texts,
)
from palimpsest.families.target import Target, example_digest
from palimpsest.families.writing import new_folder
from palimpsest.files import digest_json, parse_json, read_bytes
from palimpsest.lm.suites import Example
from palimpsest.records import RunFolder, versions
from palimpsest.training import (
    check_same,
    load_state,
    make_optimisers,
    noticed_interrupts,
    rate_scale,
    save_state,
    update,
)

if TYPE_CHECKING:
    from palimpsest.lm.models.huggingface import HuggingFaceModel

WORK = ".work"
"""Ends the name of the folder beside the result in which a training keeps where it is."""

_STATE, _TEXTS, _LOSSES = "state.safetensors", "texts.json", "losses.json"
_SAVE_EVERY = 25
_MOST_LOGITS = 2**25
"""Numbers in the logits of rows that are computed together: a gigabyte with all that is made of
them, gradients included."""

_WARM_UP = 0.05
"""Share of the steps in which the rate rises."""


class _Texts(NamedTuple):
    """What both models have written."""

    replay: list[WrittenText]
    answers: list[WrittenText]


def heal(
    family: Family,
    target: Target,
    folder: Path,
    recipe: HealingRecipe | None = None,
    *,
    progress: Told | None = None,
) -> Healing:
    """Train the tuned model of a family on text that the base writes; return the result.

    Killed, the same call goes on where it was, and ends with the same weights (on a GPU, as far as
    its arithmetic repeats itself). A healing that is in the folder already is returned as it is.

    Args:
        family: A base and a tuned model, which may be an adapter.
        target: What it was tuned for; a part of its prompts is trained on
            (:meth:`~palimpsest.families.Target.for_training`) and must not be judged.
        folder: Of the result, an adapter on top of the tuned model.
        recipe: Settings.
        progress: Told how far the writing and the training have come.

    Raises:
        MissingExtraError: PEFT is not installed.
        UserError: A base that writes nothing, a target with too few prompts, a folder that cannot
            be written, or one with another healing.
    """
    recipe = HealingRecipe() if recipe is None else recipe
    with from_extra("Healings", package="peft", extra="peft"):
        import peft  # noqa: F401
    prompts = target.for_training(recipe.n_prompts)
    digests = [example_digest(each, target) for each in prompts]
    identity = _identity(family, recipe, digests)
    if (folder / RECORD).exists():
        return _existing(folder, identity)
    work = RunFolder(folder.with_name(folder.name + WORK))
    texts = _write(family, recipe, prompts, work, identity, progress)
    training = _Training(family, recipe, texts, work, identity)
    losses = training.run(progress)
    record = HealingRecord(
        recipe=recipe,
        base=family.base.spec,
        tuned=family.tuned.spec,
        base_weights=family.base_weights,
        tuned_weights=family.tuned_weights,
        target=target.suite.name,
        prompts=digests,
        texts=digest_json([[list(each) for each in part] for part in texts]),
        n_texts=len(texts.replay),
        losses=losses,
        versions=versions(),
    )
    training.write(folder, record, work.path / _TEXTS)
    shutil.rmtree(work.path, ignore_errors=True)
    return Healing(folder)


def _identity(family: Family, recipe: HealingRecipe, digests: Sequence[str]) -> dict[str, Any]:
    return {
        "recipe": recipe.model_dump(mode="json"),
        "base": family.base_weights,
        "tuned": family.tuned_weights,
        "prompts": prompts_digest(digests),
        "dtype": str(family.tuned.dtype),
        "version": Healing.version,
    }


def _check_identity(path: Path, found: Mapping[str, Any], wanted: Mapping[str, Any]) -> None:
    """Check that what lies on disk is of the healing that is wanted.

    Raises:
        UserError: It is of another one.
    """
    try:
        check_same(path, found, wanted, "healing")
    except UserError as error:
        raise UserError(
            error.message,
            hint="Name another folder (another --out), or remove this one: it was made with other "
            "models, settings, or another target.",
        ) from error


def _existing(folder: Path, identity: Mapping[str, Any]) -> Healing:
    """Return the healing in a folder.

    Raises:
        UserError: It is another one.
    """
    found = Healing(folder)
    record = found.record
    own = {
        "recipe": record.recipe.model_dump(mode="json"),
        "base": record.base_weights,
        "tuned": record.tuned_weights,
        "prompts": prompts_digest(record.prompts),
    }
    _check_identity(folder, own, {name: identity[name] for name in own})
    return found


def _write(
    family: Family,
    recipe: HealingRecipe,
    prompts: Sequence[Example],
    work: RunFolder,
    identity: Mapping[str, Any],
    progress: Told | None,
) -> _Texts:
    """Return what both models write, from disk as far as it is there.

    Raises:
        UserError: The base writes nothing, or no prompt fits into the tuned model's context.
    """
    path = work.path / _TEXTS
    found = _Texts([], [])
    if path.exists():
        stored = parse_json(read_bytes(path), f"The file '{path}'")
        _check_identity(path, stored["identity"], identity)
        found = _Texts(*([WrittenText(*each) for each in stored[part]] for part in found._fields))

    def keep(part: str, texts: list[WrittenText], n_total: int) -> None:
        nonlocal found
        found = found._replace(**{part: texts})
        content = {"identity": identity, **found._asdict()}
        work.write_bytes(_TEXTS, json.dumps(content).encode())
        if progress is not None:
            progress(f"healing, {part}", len(texts), n_total)

    for part, model, beginnings in (
        ("replay", family.base, _beginnings(family.base, recipe)),
        ("answers", family.tuned, _fitting(family.tuned, prompts) if recipe.keep else []),
    ):
        there = getattr(found, part)
        if len(there) < len(beginnings):
            network = model.open_network()
            for texts in write_texts(
                network,
                beginnings,
                n_tokens=recipe.text_tokens if part == "replay" else recipe.answer_tokens,
                n_context=model.n_context,
                tokenizer=model.tokenizer,
                seed=recipe.seed,
                written=there,
            ):
                keep(part, texts, len(beginnings))
            del network
    known = [each for each in found.replay if max(each.ids) < family.tuned.n_embeddings]
    good = check_written(known, who=family.base.spec, openings=recipe.openings)
    return found._replace(replay=good)


def _beginnings(base: HuggingFaceModel, recipe: HealingRecipe) -> list[list[int]]:
    """Return what the base continues: its start token, or short texts in turn."""
    openings = ("",) if recipe.openings == "start" else OPENINGS
    encoded = base.encode(openings)
    return [encoded[place % len(encoded)] for place in range(recipe.n_texts)]


def _fitting(tuned: HuggingFaceModel, prompts: Sequence[Example]) -> list[list[int]]:
    """Return the prompts in tokens, those left out that leave no room for an answer.

    Raises:
        UserError: None is left.
    """
    encoded = tuned.encode([each.prompt for each in prompts])
    most = math.inf if tuned.n_context is None else tuned.n_context - 1
    fitting = [ids for ids in encoded if len(ids) <= most]
    if not fitting:
        raise UserError(
            f"None of the {len(prompts)} prompts of the target that '{tuned.spec}' would be "
            f"trained on fits into its context of {tuned.n_context} tokens.",
            hint="Name a target with shorter prompts.",
        )
    return fitting


class _Training:
    """The tuned model's network with factors of low rank, and how far they are trained.

    Args:
        family: Of the tuned model.
        recipe: Settings.
        texts: To learn, and to be held to.
        work: Where the state is kept; an earlier one is taken up.
        identity: What determines the training.
    """

    def __init__(
        self,
        family: Family,
        recipe: HealingRecipe,
        texts: _Texts,
        work: RunFolder,
        identity: Mapping[str, Any],
    ) -> None:
        self._recipe = recipe
        self._made_for = family.tuned.checkpoint.name
        self._is_on_adapter = family.is_adapter
        self._texts = texts
        self._work = work
        self._identity = {**identity, "texts": digest_json([list(part) for part in texts])}
        self._network = _adapted(family, recipe)
        is_distilled = recipe.replay == "distribution" and recipe.n_steps > 0
        self._base: Any = family.base.open_network() if is_distilled else None
        self._trained = nn.ParameterList(
            each for _, each in sorted(self._network.named_parameters()) if each.requires_grad
        )
        self._optimisers = make_optimisers(
            self._trained, "adamw", learning_rate=recipe.learning_rate, muon_learning_rate=0.0
        )
        self._step = load_state(
            work.path / _STATE, self._trained, self._optimisers, identity=self._identity
        )
        self._losses = [each for each in self._read_losses() if each[0] <= self._step]

    def run(self, progress: Told | None) -> list[tuple[int, float, float]]:
        """Make the steps that are left; return the losses now and then.

        Raises:
            UserError: The loss is not finite, or the state cannot be written.
        """
        n_steps = self._recipe.n_steps
        with noticed_interrupts() as interrupts:
            while self._step < n_steps:
                losses = self._update()
                if not all(map(math.isfinite, losses)):
                    raise UserError(
                        f"The healing has diverged: at step {self._step} the loss is "
                        f"{losses[0]:g}, the divergence on the target {losses[1]:g}.",
                        hint="Lower its rate: --train-set "
                        f"learning_rate={self._recipe.learning_rate / 3:.1g}, and remove "
                        f"'{self._work.path}'.",
                    )
                if self._step % _SAVE_EVERY == 0 or self._step in (1, n_steps):
                    self._losses.append((self._step, *losses))
                if interrupts.pressed or self._step % _SAVE_EVERY == 0 or self._step == n_steps:
                    self._save()
                if interrupts.pressed:
                    raise interrupts.error
                if progress is not None:
                    progress("healing, steps", self._step, n_steps)
        return self._losses

    def write(self, folder: Path, record: HealingRecord, texts: Path) -> None:
        """Write the adapter with its record, and what was written for it.

        Raises:
            UserError: The folder cannot be written.
        """
        from peft import get_peft_model_state_dict
        from safetensors.torch import save

        tensors = {
            name: tensor.detach().float().cpu().contiguous()
            for name, tensor in get_peft_model_state_dict(self._network).items()
        }
        content = save(tensors, metadata={"format": "pt"})
        config = self._network.peft_config["default"].to_dict()
        config |= {"base_model_name_or_path": self._made_for, "inference_mode": True}
        plain = {name: _plain(value) for name, value in sorted(config.items())}
        with new_folder(folder, n_bytes=2 * len(content)) as temporary:
            out = RunFolder(temporary)
            out.write_bytes(WEIGHTS, content)
            out.write_bytes(_TEXTS, read_bytes(texts))
            out.write_text("README.md", _card(record, is_on_adapter=self._is_on_adapter))
            out.write_text(RECORD, record_text(record))
            out.write_json("adapter_config.json", plain)

    def _update(self) -> tuple[float, float]:
        """Make one step; return the loss on texts and the divergence on answers."""
        recipe = self._recipe
        n_warm_up = math.ceil(_WARM_UP * recipe.n_steps)
        replayed = self._learn(self._batch(self._texts.replay, 1), self._of_text, 1.0)
        kept = 0.0
        if self._texts.answers and recipe.keep:
            kept = self._learn(self._batch(self._texts.answers, 2), self._of_answer, recipe.keep)
        nn.utils.clip_grad_norm_(self._trained.parameters(), 1.0)
        scale = rate_scale("cosine", self._step, n_steps=recipe.n_steps, n_warmup_steps=n_warm_up)
        for rated in self._optimisers:
            update(rated, scale)
        self._step += 1
        return replayed, kept

    def _batch(self, texts: Sequence[WrittenText], stream: int) -> list[WrittenText]:
        rng = np.random.default_rng([self._recipe.seed, stream, self._step])
        n = min(self._recipe.batch_size, len(texts))
        return [texts[place] for place in rng.choice(len(texts), n, replace=False)]

    def _learn(self, texts: Sequence[WrittenText], loss_of: Any, weight: float) -> float:
        """Add the gradient of the weighted mean loss over the tokens that models have added."""
        n_tokens = sum(text.n_new for text in texts)
        total = 0.0
        for ids, counts in _padded(texts, self._network.config.get_text_config().vocab_size):
            ids, counts = ids.to(self._network.device), counts.to(self._network.device)
            loss = loss_of(ids, counts) / n_tokens
            (weight * loss).backward()
            total += float(loss.detach())
        return total

    def _of_text(self, ids: Tensor, counts: Tensor) -> Tensor:
        logits = self._logits(self._network, ids, counts)
        if self._base is None:
            return functional.cross_entropy(logits, ids[:, 1:][counts], reduction="sum")
        with torch.no_grad():
            wanted = self._logits(self._base, ids, counts)
        return _divergence(wanted, logits)

    def _of_answer(self, ids: Tensor, counts: Tensor) -> Tensor:
        with torch.no_grad(), self._network.disable_adapter():
            wanted = self._logits(self._network, ids, counts)
        return _divergence(wanted, self._logits(self._network, ids, counts))

    def _logits(self, network: Any, ids: Tensor, counts: Tensor) -> Tensor:
        """Return the logits of the tokens that count, (n_tokens, n_vocabulary), in float32."""
        # Padding is on the right and attention is causal, so no mask is needed.
        logits: Tensor = network(input_ids=ids[:, :-1], use_cache=False).logits
        return logits[counts].float()

    def _save(self) -> None:
        self._work.write_bytes(_LOSSES, json.dumps(self._losses).encode())
        save_state(
            self._work.path / _STATE,
            self._trained,
            self._optimisers,
            step=self._step,
            identity=self._identity,
        )

    def _read_losses(self) -> list[tuple[int, float, float]]:
        path = self._work.path / _LOSSES
        if not path.exists():
            return []
        return [(int(s), a, b) for s, a, b in parse_json(read_bytes(path), f"The file '{path}'")]


def _adapted(family: Family, recipe: HealingRecipe) -> Any:
    """Return the tuned model's network with new factors beside the linear layers of its blocks.

    Raises:
        UserError: PEFT does not adapt this architecture, or no layer's weights could be written.
    """
    from peft import LoraConfig, TaskType, get_peft_model

    from palimpsest.lm.models.huggingface import explained

    network: Any = family.tuned.open_network()
    if family.is_adapter:
        network = network.merge_and_unload()
    config = LoraConfig(
        task_type=TaskType.CAUSAL_LM,
        r=recipe.rank,
        lora_alpha=recipe.rank,
        target_modules=_adaptable(family, network),
    )
    devices = [network.device] if network.device.type == "cuda" else []
    with (
        explained(
            f"PEFT's adapter for '{family.tuned.spec}'",
            "See whether PEFT supports this architecture; restore works without --train, too.",
        ),
        torch.random.fork_rng(devices=devices),
    ):
        torch.manual_seed(recipe.seed)
        adapted = get_peft_model(network, config)
    adapted.eval()  # no dropout: a step is a function of its batch
    return adapted


def _adaptable(family: Family, network: Any) -> list[str]:
    """Return the linear layers, but for the head, whose weights are a tensor of the files.

    Others, such as routers that a release of transformers calls otherwise than the files, stay as
    they are: what they learnt could not be written.

    Raises:
        UserError: There is none.
    """
    from transformers.pytorch_utils import Conv1D

    shapes = {each.name: each.place.shape for each in family.whole_tensors}
    shapes |= {name.partition(".")[2]: shape for name, shape in shapes.items()}
    found = []
    for name, module in network.named_modules():
        if module is network.get_output_embeddings() or not isinstance(module, nn.Linear | Conv1D):
            continue
        weight = f"{name}.weight"
        shape = shapes.get(weight) or shapes.get(weight.partition(".")[2])
        if shape == tuple(module.weight.shape):
            found.append(name)
    if not found:
        raise UserError(
            f"No linear layer of '{family.tuned.spec}' ({type(network).__name__}) lies in its "
            "files under its own name: what it learns could not be written into them.",
            hint="Save the tuned model with the release of transformers that is installed.",
        )
    return found


def _padded(texts: Sequence[WrittenText], n_vocabulary: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield tokens (n_texts, n) and whether the next one counts (n_texts, n − 1), of like length.

    As many rows at a time as their logits leave room for.
    """
    ordered = sorted(texts, key=lambda text: len(text.ids))
    while ordered:
        width = len(ordered[-1].ids)
        n_rows = max(1, _MOST_LOGITS // (width * n_vocabulary))
        rows, ordered = ordered[-n_rows:], ordered[:-n_rows]
        ids = torch.zeros((len(rows), width), dtype=torch.int64)
        counts = torch.zeros((len(rows), width - 1), dtype=torch.bool)
        for row, text in enumerate(rows):
            ids[row, : len(text.ids)] = torch.tensor(text.ids)
            counts[row, text.n_given - 1 : len(text.ids) - 1] = True
        yield ids, counts


def _divergence(wanted: Tensor, logits: Tensor) -> Tensor:
    """Return the summed Kullback–Leibler divergence from wanted logits, in nats.

    Tokens that only one of the two has are left out of the sum, not of the probabilities.
    """
    ours, theirs = (torch.log_softmax(each, -1) for each in (logits, wanted))
    n = min(ours.size(-1), theirs.size(-1))
    return functional.kl_div(ours[:, :n], theirs[:, :n], reduction="sum", log_target=True)


def _plain(value: Any) -> Any:
    """Return a setting of PEFT's as JSON has it."""
    if isinstance(value, set | frozenset):
        return sorted(value)
    return getattr(value, "value", value)


def _card(record: HealingRecord, *, is_on_adapter: bool) -> str:
    below = "the tuned model"
    if is_on_adapter:
        below = "a base and its adapter put together (`palimpsest restore write` does that)"
    settings = ", ".join(f"{name}={value}" for name, value in record.recipe)
    return (
        "---\nlibrary_name: peft\ntags:\n- palimpsest\n- lora\n---\n\n"
        f"# Healing of {Path(record.tuned).name}\n\n"
        f"An adapter on top of {below}, trained on {record.n_texts:,} texts that the base "
        f"`{Path(record.base).name}` wrote itself, and held to the tuned model on "
        f"{len(record.prompts):,} prompts of `{record.target}`, which must not be judged on.\n\n"
        f"Settings: {settings}.\n\n"
        f"`{RECORD}` has digests of both models' weights, `{_TEXTS}` what they wrote, in tokens.\n"
    )
