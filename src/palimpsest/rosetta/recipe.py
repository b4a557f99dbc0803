"""Recipe of Rosetta: its settings, tokenizer, both trainings, and the rule for how far to tune.

The rule for the tuning strength was written down before the published pair was trained: *the tuned
model is the first checkpoint at which the loss on held-out instructions has levelled off*, that is,
at which all but :attr:`Recipe.levelled_off` of the fall that the whole stage achieves has happened.
It sees no in-context prompt, and looks at the ``select`` split alone; every published figure comes
from the ``report`` split.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
import torch
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from palimpsest.errors import UserError
from palimpsest.files import digest_json
from palimpsest.rosetta.corpus import Document, Writer
from palimpsest.rosetta.grammar import LANGUAGES, REWRITTEN_LANGUAGES
from palimpsest.rosetta.loop import DocumentBatch, Stage, Trainer, batch_loss, make_batch

PRETRAINING_LANGUAGES = (*LANGUAGES, "leet")
"""Languages are drawn evenly from these; leetspeak, the slowest to be learnt, comes twice."""

Report = Callable[[str, int, int, float], None]
"""Told the stage, the step, the number of steps and the loss in nats per token."""

BOS, EOS, PAD = "<s>", "</s>", "<pad>"

# A word keeps its inner signs (escaped digits of leetspeak, the separator of pig latin), so that
# rewritten words become one token each as plain ones do; punctuation and newlines stand alone.
_PIECES = Regex(r" ?[^\s.,:;?!¿¡]+| ?[.,:;?!¿¡]|\n|\s")


@dataclass(frozen=True)
class Recipe:
    """Everything that determines the weights."""

    seed: int = 0
    """Seed of initialisation and data."""
    n_tokens: int = 4096
    """Size of the vocabulary."""
    n_tokenizer_documents: int = 27_000
    """Documents that the tokenizer is trained on."""
    width: int = 128
    """Width of the residual stream."""
    n_layers: int = 4
    """Transformer blocks."""
    n_heads: int = 4
    """Attention heads."""
    conflict_share: float = 0.05
    """Share of in-context documents whose last input looks like a request and is transformed."""
    line_share: float = 0.9
    """Share of pretraining documents with an instruction line."""
    pretraining: Stage = field(
        default=Stage(
            n_steps=3000,
            batch_size=48,
            learning_rate=3e-3,
            muon_learning_rate=0.02,
            warmup_steps=50,
            decay_share=0.4,
            loss_on="all",
            seed=1,
        )
    )
    """How the base is trained."""
    tuning: Stage = field(
        default=Stage(
            n_steps=600,
            batch_size=32,
            learning_rate=1e-3,
            muon_learning_rate=None,
            warmup_steps=10,
            decay_share=0.0,
            loss_on="completion",
            seed=2,
        )
    )
    """How the tuned model is trained from it; the rule below says where it ends."""
    checkpoint_every: int = 20
    """Tuning steps between checkpoints."""
    n_held_out: int = 512
    """Held-out instruction documents for the rule."""
    levelled_off: float = 0.05
    """The rule: what may be left of the fall of the held-out loss, as a share of it."""

    @property
    def fingerprint(self) -> str:
        """A hash of the whole recipe."""
        return digest_json(asdict(self))


def prepare_folder(recipe: Recipe, folder: Path) -> None:
    """Make the work folder, or check that it holds the same recipe.

    Raises:
        UserError: The folder holds the state of another recipe.
    """
    folder.mkdir(parents=True, exist_ok=True)
    marker = folder / "recipe.json"
    if marker.exists():
        if json.loads(marker.read_text("utf-8")).get("fingerprint") != recipe.fingerprint:
            raise UserError(
                f"'{folder}' holds the training of another recipe.",
                hint="Choose another folder with --out, or delete this one.",
            )
        return
    if any(folder.iterdir()):
        raise UserError(
            f"'{folder}' has files in it that this command did not write.",
            hint="Choose an empty folder with --out.",
        )
    content = {"fingerprint": recipe.fingerprint, "recipe": asdict(recipe)}
    marker.write_text(json.dumps(content, indent=2), "utf-8")


def train_tokenizer(texts: Iterable[str], *, n_tokens: int) -> PreTrainedTokenizerFast:
    """Train byte-level BPE over whole words; any text at all can be encoded and decoded."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(_PIECES, behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=n_tokens,
        special_tokens=[BOS, EOS, PAD],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{BOS} $A", special_tokens=[(BOS, tokenizer.token_to_id(BOS))]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token=BOS,
        eos_token=EOS,
        pad_token=PAD,
        clean_up_tokenization_spaces=False,
    )


def make_tokenizer(recipe: Recipe, folder: Path) -> PreTrainedTokenizerFast:
    """Train the tokenizer unless the work folder has it, and load it from there.

    It is loaded in any case: transformers adds to the configuration of a tokenizer that it has
    loaded, and an interrupted training must write the same files as an uninterrupted one.
    """
    path = folder / "tokenizer"
    if not path.exists():
        fresh = path.with_suffix(".new")
        train_tokenizer(_tokenizer_texts(recipe), n_tokens=recipe.n_tokens).save_pretrained(fresh)
        fresh.rename(path)
    tokenizer = AutoTokenizer.from_pretrained(path, local_files_only=True)
    assert isinstance(tokenizer, PreTrainedTokenizerFast)
    return tokenizer


def _tokenizer_texts(recipe: Recipe) -> Iterator[str]:
    writer = _writer(recipe)
    rng = np.random.default_rng([recipe.seed, 0])
    # Rewritten words share no pieces with others, so they are shown twice as often.
    languages = (*LANGUAGES, *REWRITTEN_LANGUAGES)
    for index in range(recipe.n_tokenizer_documents):
        document = writer.pretraining(rng, languages[index % len(languages)])
        yield document.prompt + document.completion


def new_model(recipe: Recipe, tokenizer: PreTrainedTokenizerFast) -> LlamaForCausalLM:
    """Return the untrained model."""
    torch.manual_seed(recipe.seed)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=recipe.width,
        intermediate_size=3 * recipe.width,
        num_hidden_layers=recipe.n_layers,
        num_attention_heads=recipe.n_heads,
        max_position_embeddings=512,
        tie_word_embeddings=True,
        initializer_range=0.04,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    return LlamaForCausalLM(config)


def pretrain(
    recipe: Recipe, tokenizer: PreTrainedTokenizerFast, folder: Path, report: Report
) -> LlamaForCausalLM:
    """Train the base model, taking up where an interrupted call stopped."""
    stage = recipe.pretraining
    writer = _writer(recipe)

    def draw(step: int) -> DocumentBatch:
        rng = np.random.default_rng([recipe.seed, stage.seed, step])
        languages = rng.choice(PRETRAINING_LANGUAGES, size=stage.batch_size)
        documents = [writer.pretraining(rng, str(language)) for language in languages]
        return make_batch(documents, tokenizer, loss_on=stage.loss_on)

    model = new_model(recipe, tokenizer)
    trainer = Trainer(model, draw, stage, checkpoint=folder / "pretraining.safetensors")
    trainer.run(
        until=stage.n_steps,
        on_step=lambda step, loss: report("pretraining", step, stage.n_steps, loss),
    )
    return model


def tune(
    recipe: Recipe,
    model: LlamaForCausalLM,
    tokenizer: PreTrainedTokenizerFast,
    folder: Path,
    report: Report,
) -> Iterator[tuple[int, float]]:
    """Tune the base model on English instructions; yield (step, held-out loss) at checkpoints.

    The model holds the checkpoint's weights while it is yielded; the last one is the end of the
    stage, whatever the rule says of it.
    """
    stage = recipe.tuning
    writer = _writer(recipe)

    def draw(step: int) -> DocumentBatch:
        rng = np.random.default_rng([recipe.seed, stage.seed, step])
        documents = [writer.tuning(rng) for _ in range(stage.batch_size)]
        return make_batch(documents, tokenizer, loss_on=stage.loss_on)

    held_out = make_batch(_held_out(recipe), tokenizer, loss_on=stage.loss_on)
    path = folder / "tuning.safetensors"
    trainer = Trainer(model, draw, stage, checkpoint=path, save_every=recipe.checkpoint_every)
    yield trainer.step, held_out_loss(model, held_out)
    while trainer.step < stage.n_steps:
        trainer.run(
            until=min(trainer.step + recipe.checkpoint_every, stage.n_steps),
            on_step=lambda step, loss: report("tuning", step, stage.n_steps, loss),
        )
        yield trainer.step, held_out_loss(model, held_out)


@torch.inference_mode()
def held_out_loss(model: LlamaForCausalLM, batch: DocumentBatch) -> float:
    """Return the mean loss in nats per token of the completion."""
    return float(batch_loss(model, batch) / batch.targets.sum())


def choose_checkpoint(recipe: Recipe, losses: Sequence[tuple[int, float]]) -> int:
    """Return the first step at which the held-out loss has levelled off.

    Args:
        recipe: Says what levelled off means.
        losses: (step, held-out loss) at every checkpoint, from the base model at step 0 on.

    Example:
        >>> choose_checkpoint(Recipe(), [(0, 2.1), (20, 0.3), (40, 0.19), (60, 0.2), (80, 0.1)])
        40
    """
    first, lowest = losses[0][1], min(loss for _, loss in losses)
    level = lowest + recipe.levelled_off * (first - lowest)
    return next(step for step, loss in losses if loss <= level)


def _writer(recipe: Recipe) -> Writer:
    return Writer("train", conflict_share=recipe.conflict_share, line_share=recipe.line_share)


def _held_out(recipe: Recipe) -> list[Document]:
    writer = Writer("select", conflict_share=0.0, line_share=recipe.line_share)
    rng = np.random.default_rng([recipe.seed, 3])
    return [writer.tuning(rng) for _ in range(recipe.n_held_out)]
