"""Small tables of rows in every form that the suite ``nli`` reads."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from palimpsest.lm.suites.templates import LABELS

Rows = Sequence[Mapping[str, Any]]

EN = [
    {"premise": "Snow fell all night.", "hypothesis": "It snowed.", "label": 0},
    {"premise": "Ann called Bob.", "hypothesis": "It snowed.", "label": 1},
    {"premise": "It rained, warm and hard.", "hypothesis": "It snowed.", "label": 2},
    {"premise": "Bob has gone to the sea.", "hypothesis": "Bob travels.", "label": 0},
]
FR = [
    {"premise": "La neige est tombée toute la nuit.", "hypothesis": "Il a neigé.", "label": 0},
    {"premise": "Anne a appelé Bob.", "hypothesis": "Il a neigé.", "label": 1},
    {"premise": "Il a plu à verse.", "hypothesis": "Il a neigé.", "label": 2},
    {"premise": "Bob est parti à la mer.", "hypothesis": "Bob voyage.", "label": 0},
]
BOTH = {"en": EN, "fr": FR}


def with_words(rows: Rows) -> list[dict[str, Any]]:
    """Return the rows with labels as words."""
    return [{**row, "label": LABELS[row["label"]]} for row in rows]


def translated(*, as_lists: bool) -> list[dict[str, Any]]:
    """Return rows that hold every language, as the hub's configuration ``all_languages``."""

    def hypothesis(en: Any, fr: Any) -> Any:
        if as_lists:
            return {"language": ["fr", "en"], "translation": [fr, en]}
        return {"fr": fr, "en": en}

    return [
        {
            "premise": {"en": en["premise"], "fr": fr["premise"]},
            "hypothesis": hypothesis(en["hypothesis"], fr["hypothesis"]),
            "label": en["label"],
        }
        for en, fr in zip(EN, FR, strict=True)
    ]


def write_tsv(path: Path, rows: Rows) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = ["\t".join(rows[0]), *("\t".join(map(str, row.values())) for row in rows)]
    path.write_text("".join(f"{line}\n" for line in lines), "utf-8")
    return path


def write_jsonl(path: Path, rows: Rows) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{json.dumps(row)}\n" for row in rows), "utf-8")
    return path


def write_parquet(path: Path, rows: Rows) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist([dict(row) for row in rows]), path)
    return path


def write_saved(folder: Path, rows: Rows, *, n_files: int = 1, **state: Any) -> Path:
    """Write what ``Dataset.save_to_disk`` of datasets 5.2.0 writes, checked against it."""
    folder.mkdir(parents=True, exist_ok=True)
    table = pa.Table.from_pylist([dict(row) for row in rows])
    names = [f"data-{i:05d}-of-{n_files:05d}.arrow" for i in range(n_files)]
    size = -(-len(rows) // n_files)
    for i, name in enumerate(names):
        with pa.ipc.new_stream(folder / name, table.schema) as stream:
            stream.write_table(table.slice(i * size, size))
    about: dict[str, Any] = {
        "_data_files": [{"filename": name} for name in names],
        "_fingerprint": "a4a8187daac79109",
        "_format_columns": None,
        "_format_kwargs": {},
        "_format_type": None,
        "_output_all_columns": False,
        "_split": None,
    }
    (folder / "state.json").write_text(json.dumps(about | state))
    (folder / "dataset_info.json").write_text("{}")
    return folder


def write_saved_splits(folder: Path, splits: Mapping[str, Rows]) -> Path:
    """Write what ``DatasetDict.save_to_disk`` writes."""
    for split, rows in splits.items():
        write_saved(folder / split, rows)
    (folder / "dataset_dict.json").write_text(json.dumps({"splits": list(splits)}))
    return folder


def write_folder(folder: Path, rows: Mapping[str, Rows] = BOTH) -> Path:
    """Write one TSV file a language."""
    for language, mine in rows.items():
        write_tsv(folder / f"{language}.tsv", mine)
    return folder
