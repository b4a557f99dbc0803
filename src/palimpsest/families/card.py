"""The model card of a member that is written: what was done, to which models, measured how."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from palimpsest import __version__

if TYPE_CHECKING:
    from palimpsest.families.family import Family
    from palimpsest.families.member import Member
    from palimpsest.lm.models.huggingface import HuggingFaceModel

_SAFE = str.maketrans({"|": "\\|", "\n": " "})


def model_card(family: Family, member: Member, *, name: str, measured: str = "") -> str:
    """Return the text of a member's ``README.md``.

    Folders are named by their last part alone: the card is made to be given away.

    Args:
        family: Of the member.
        member: As it is written.
        name: Of the folder.
        measured: What was measured of it, in Markdown.
    """
    library = "peft" if family.is_adapter and member.scales else "transformers"
    facts = {
        "base": f"{_shown(family.base)}, fingerprint `{family.base.fingerprint}`",
        "tuned": f"{_shown(family.tuned)}, fingerprint `{family.tuned.fingerprint}`",
        "member": f"`{member.spec}`: {member.title}",
        "formula": member.formula,
        "source": member.source,
        "made by": f"Palimpsest {__version__}",
    }
    notes = (*family.notes, *member.notes(family))
    rows = [f"| {key} | {value.translate(_SAFE)} |" for key, value in facts.items()]
    parts = [
        f"---\nlibrary_name: {library}\nbase_model: {_name(family.base)}\n"
        "tags:\n- palimpsest\n- merge\n---",
        f"# {name}",
        f"Made of the weights of a base and of a tuned model, {_how(member)}. Arithmetic is in "
        "float32, tensors are stored in the dtype of the tuned model's.",
        "\n".join(["| | |", "|---|---|", *rows]),
        *(["## Measured", measured.strip()] if measured.strip() else []),
        *(["## Notes", "\n".join(f"- {note}" for note in notes)] if notes else []),
        "The terms of use are those of the two models.",
    ]
    return "\n\n".join(parts) + "\n"


def _how(member: Member) -> str:
    if not member.is_trained:
        return "without training"
    return "with what a short training on text of the base has added to the tuned model"


def _shown(model: HuggingFaceModel) -> str:
    adapter = model.adapter
    return f"`{_name(model)}`" + (f" with the adapter `{_last(adapter.name)}`" if adapter else "")


def _name(model: HuggingFaceModel) -> str:
    checkpoint = model.checkpoint
    return _last(checkpoint.name) if checkpoint.revision == "local" else checkpoint.name


def _last(name: str) -> str:
    return Path(name).expanduser().absolute().name
