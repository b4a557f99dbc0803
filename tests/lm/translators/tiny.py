"""Tiny translation checkpoints that know a few sentences by heart, made in a few seconds."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import sentencepiece
import torch
from tokenizers import Tokenizer, models, pre_tokenizers, trainers
from torch.nn.utils.rnn import pad_sequence
from transformers import (
    M2M100Config,
    M2M100ForConditionalGeneration,
    M2M100Tokenizer,
    MarianConfig,
    MarianMTModel,
    MarianTokenizer,
    NllbTokenizer,
)

SENTENCES: Mapping[str, tuple[str, ...]] = {
    "en": ("The cat sleeps.", "She eats an apple.", "Where is the river?", "We sing today."),
    "es": ("El gato duerme.", "Ella come una manzana.", "¿Dónde está el río?", "Hoy cantamos."),
    "fr": ("Le chat dort.", "Elle mange une pomme.", "Où est la rivière ?", "Nous chantons."),
}
NLLB_CODES = {"en": "eng_Latn", "es": "spa_Latn", "fr": "fra_Latn"}
_SIZE: dict[str, Any] = {
    "d_model": 48,
    "encoder_layers": 1,
    "decoder_layers": 1,
    "encoder_attention_heads": 2,
    "decoder_attention_heads": 2,
    "encoder_ffn_dim": 96,
    "decoder_ffn_dim": 96,
    "max_position_embeddings": 48,
    "dropout": 0.0,
    "attention_dropout": 0.0,
    "activation_dropout": 0.0,
    "encoder_layerdrop": 0.0,
    "decoder_layerdrop": 0.0,
}
_ALL = [text for texts in SENTENCES.values() for text in texts]


def save_marian(folder: Path, source: str, target: str) -> Path:
    """A Marian model of one direction."""
    folder.mkdir(parents=True)
    pieces: dict[str, int] = {"</s>": 0, "<unk>": 1}
    for side, language in (("source", source), ("target", target)):
        vocabulary = _sentencepiece(SENTENCES[language])
        (folder / f"{side}.spm").write_bytes(vocabulary)
        processor = sentencepiece.SentencePieceProcessor(model_proto=vocabulary)
        for number in range(processor.get_piece_size()):
            pieces.setdefault(processor.id_to_piece(number), len(pieces))
    pieces["<pad>"] = len(pieces)
    (folder / "vocab.json").write_text(json.dumps(pieces), "utf-8")
    tokenizer = MarianTokenizer(
        str(folder / "source.spm"),
        str(folder / "target.spm"),
        str(folder / "vocab.json"),
        source_lang=source,
        target_lang=target,
    )
    config = MarianConfig(
        **_SIZE,
        vocab_size=len(pieces),
        pad_token_id=pieces["<pad>"],
        eos_token_id=0,
        decoder_start_token_id=pieces["<pad>"],
        forced_eos_token_id=0,
    )
    rows = tokenizer(list(SENTENCES[source]))["input_ids"]
    answers = tokenizer(text_target=list(SENTENCES[target]))["input_ids"]
    torch.manual_seed(0)
    model = MarianMTModel(config)
    _learn(model, rows, answers, pad=pieces["<pad>"])
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def save_nllb(folder: Path) -> Path:
    """A model with NLLB's codes, from each of three languages into the others."""
    base = Tokenizer(models.BPE(unk_token="<unk>"))
    base.pre_tokenizer = pre_tokenizers.Metaspace()
    special = ["<s>", "<pad>", "</s>", "<unk>"]
    trainer = trainers.BpeTrainer(vocab_size=220, special_tokens=special, show_progress=False)
    base.train_from_iterator(_ALL, trainer)
    learned: Any = json.loads(base.to_str())["model"]
    merges: Any = list(map(tuple, learned["merges"]))
    tokenizer = NllbTokenizer(
        vocab=learned["vocab"],
        merges=merges,
        additional_special_tokens=list(NLLB_CODES.values()),
    )
    return _save_m2m(folder, tokenizer, NLLB_CODES)


def save_m2m100(folder: Path) -> Path:
    """A model with M2M100's codes, from each of three languages into the others."""
    folder.mkdir(parents=True)
    model = _sentencepiece(_ALL)
    (folder / "sentencepiece.bpe.model").write_bytes(model)
    processor = sentencepiece.SentencePieceProcessor(model_proto=model)
    pieces = {piece: number for number, piece in enumerate(("<s>", "<pad>", "</s>", "<unk>"))}
    for number in range(processor.get_piece_size()):
        pieces.setdefault(processor.id_to_piece(number), len(pieces))
    (folder / "vocab.json").write_text(json.dumps(pieces), "utf-8")
    tokenizer = M2M100Tokenizer(
        str(folder / "vocab.json"), str(folder / "sentencepiece.bpe.model"), src_lang="en"
    )
    return _save_m2m(folder, tokenizer, {code: f"__{code}__" for code in SENTENCES})


def _save_m2m(folder: Path, tokenizer: Any, codes: Mapping[str, str]) -> Path:
    ids = {language: tokenizer.convert_tokens_to_ids(code) for language, code in codes.items()}
    config = M2M100Config(
        **_SIZE,
        vocab_size=max(*tokenizer.get_vocab().values(), *ids.values()) + 1,
        pad_token_id=1,
        bos_token_id=0,
        eos_token_id=2,
        decoder_start_token_id=2,
    )
    rows: list[list[int]] = []
    answers: list[list[int]] = []
    # As in the published models, on both sides: the language, the text, the end.
    spelled = {language: _spell(tokenizer, codes, language) for language in codes}
    for source in codes:
        for target in codes:
            if target != source:
                rows += spelled[source]
                answers += spelled[target]
    assert {row[0] for row in rows} == set(ids.values())
    tokenizer.src_lang = codes["en"].strip("_")
    torch.manual_seed(0)
    model = M2M100ForConditionalGeneration(config)
    _learn(model, rows, answers, pad=1)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def _sentencepiece(lines: tuple[str, ...] | list[str]) -> bytes:
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(list(lines)),
        model_writer=model,
        vocab_size=70,
        hard_vocab_limit=False,
        minloglevel=3,
    )
    return model.getvalue()


def _spell(tokenizer: Any, codes: Mapping[str, str], language: str) -> list[list[int]]:
    tokenizer.src_lang = codes[language].strip("_")
    rows: list[list[int]] = tokenizer(list(SENTENCES[language]))["input_ids"]
    return rows


def _learn(model: Any, rows: list[list[int]], answers: list[list[int]], *, pad: int) -> None:
    inputs = pad_sequence([torch.tensor(row) for row in rows], True, pad)
    labels = pad_sequence([torch.tensor(row) for row in answers], True, -100)
    optimizer = torch.optim.AdamW(model.parameters(), lr=5e-3)
    model.train()
    for _ in range(400):
        loss = model(input_ids=inputs, attention_mask=inputs != pad, labels=labels).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if loss.item() < 0.02:
            break
    model.eval()
