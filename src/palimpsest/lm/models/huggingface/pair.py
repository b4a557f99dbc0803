"""Differences between base and tuned model besides their weights, and what follows from them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Literal, NamedTuple

from palimpsest.errors import UserError
from palimpsest.lm.models.huggingface.checkpoint import read_json
from palimpsest.lm.models.protocol import LanguageModel, WritesPrompts
from palimpsest.lm.prompts import Message, Prompt

if TYPE_CHECKING:
    from palimpsest.lm.models.huggingface.causal import CausalModel
    from palimpsest.lm.models.huggingface.model import HuggingFaceModel

_PROBE = "Repeat: 12 + 7 = 19. Où est le garçon? ¿Qué? Größe. \n\tdef f(x): 😀 שלום 日本"
_SHOWN = 3
_MARK = "qwxz"
"""An answer that no template writes by itself."""

Severity = Literal["fine", "note", "no verdict", "unknown"]
"""What a finding does to a verdict: nothing; to be known; it must not be trusted; not looked at."""


class Finding(NamedTuple):
    """One thing that was looked at in a pair."""

    check: str
    """What was looked at."""

    severity: Severity
    """What it does to a verdict."""

    found: str
    """What there is, a clause that begins with a capital letter and has no full stop."""

    meaning: str
    """What follows for a verdict, and what to do; without a capital, and with no mark at its end
    unless it asks."""

    @property
    def sentence(self) -> str:
        """Both in one sentence."""
        return f"{self.found}: {self.meaning}{'' if self.meaning.endswith('?') else '.'}"


def check_pair(
    base: LanguageModel, tuned: LanguageModel, prompts: Sequence[Prompt] = ()
) -> list[Finding]:
    """Return all that a reader of the comparison has to know besides the weights.

    Different vocabularies do not forbid it: prompts and answers are text. No finding means that
    nothing but the weights seems to differ. No weights are loaded.

    Args:
        base: The model before tuning.
        tuned: The model after tuning.
        prompts: What they will be asked; by default plain text.
    """
    if base.fingerprint == tuned.fingerprint:
        found = f"Base '{base.spec}' and tuned '{tuned.spec}' are the same model"
        meaning = "every difference will be zero; was an adapter forgotten (adapter=FOLDER)?"
        return [Finding("models", "no verdict", found, meaning)]
    from palimpsest.lm.models.huggingface.model import HuggingFaceModel  # loads torch

    if not (isinstance(base, HuggingFaceModel) and isinstance(tuned, HuggingFaceModel)):
        return []
    return [
        *_vocabularies(base.tokenizer.get_vocab(), tuned.tokenizer.get_vocab()),
        *_segmentation(base.tokenizer.encode(_PROBE), tuned.tokenizer.encode(_PROBE)),
        *_special_tokens(base, tuned),
        *_facts(base, tuned),
        *_templates(base, tuned, prompts or ("text",)),
        *_starts_and_ends(base, tuned),
    ]


def check_templates(models: Mapping[str, LanguageModel], prompts: Sequence[Prompt]) -> None:
    """Let every model's template write one prompt of each sequence of roles.

    So a template that is missing or refuses the messages ends a run before anything is asked.

    Raises:
        UserError: There is none, or it cannot write the messages.
    """
    shapes = {_roles(prompt): prompt for prompt in reversed(prompts)}
    for model in models.values():
        if isinstance(model, WritesPrompts):
            for prompt in shapes.values():
                model.written(prompt)


def _roles(prompt: Prompt) -> tuple[str, ...]:
    return () if isinstance(prompt, str) else tuple(message.role for message in prompt)


def _vocabularies(base: dict[str, int], tuned: dict[str, int]) -> list[Finding]:
    if base == tuned:
        return []
    parts = []
    for where, one, other in (("base", base, tuned), ("tuned", tuned, base)):
        own = sorted((token for token in one if token not in other), key=one.__getitem__)
        if own:
            shown = ", ".join(map(repr, own[:_SHOWN])) + (", …" if len(own) > _SHOWN else "")
            parts.append(f"{len(own):,} only in {where}: {shown}")
    moved = sum(1 for token, index in base.items() if tuned.get(token, index) != index)
    if moved:
        parts.append(f"{moved:,} with another number")
    found = (
        f"The vocabularies differ (base {len(base):,} tokens, tuned {len(tuned):,}; "
        f"{'; '.join(parts)})"
    )
    meaning = (
        "prompts and answers are text, so accuracies stay comparable; log-likelihoods are not "
        "comparable between the two models, and the limit on new tokens can cut their answers at "
        "different places"
    )
    return [Finding("tokenizer", "note", found, meaning)]


def _segmentation(base: list[int], tuned: list[int]) -> list[Finding]:
    if len(base) == len(tuned):
        return []
    found = (
        f"The tokenizers divide the same text differently ({len(base)} tokens for base, "
        f"{len(tuned)} for tuned, start token included)"
    )
    meaning = "the same prompt takes a different share of the two contexts"
    return [Finding("tokenizer", "note", found, meaning)]


def _special_tokens(base: HuggingFaceModel, tuned: HuggingFaceModel) -> list[Finding]:
    findings = []
    for kind in ("bos", "eos", "unk"):
        one, other = (getattr(each.tokenizer, f"{kind}_token") for each in (base, tuned))
        if one != other:
            found = f"The {kind} token differs (base {one!r}, tuned {other!r})"
            meaning = "check that each has the tokenizer that it was trained with"
            findings.append(Finding("special tokens", "note", found, meaning))
    return findings


def _facts(base: HuggingFaceModel, tuned: HuggingFaceModel) -> list[Finding]:
    rounding = "rounding alone can change some answers; give both the same"
    another = "check that this is the model that the tuned one was made from"
    consequences: dict[str, tuple[Severity, str]] = {
        "architecture": ("no verdict", another),
        "parameters": ("note", another),
        "dtype": (
            "note",
            f"{rounding} dtype= option",
        ),
        "device": (
            "note",
            f"{rounding} device= option",
        ),
        "context": ("note", "a long prompt can fit into one and not into the other"),
    }
    of_base, of_tuned = base.describe(), tuned.describe()
    findings = []
    for fact, (severity, consequence) in consequences.items():
        if of_base[fact] != of_tuned[fact]:
            found = f"The {fact} differs (base {of_base[fact]}, tuned {of_tuned[fact]})"
            findings.append(Finding(fact, severity, found, consequence))
    return findings


def _templates(
    base: HuggingFaceModel, tuned: HuggingFaceModel, prompts: Sequence[Prompt]
) -> list[Finding]:
    models = {"base": base, "tuned": tuned}
    has_messages = any(not isinstance(prompt, str) for prompt in prompts)
    used = {
        role: model.form is True or (has_messages and model.form is None)
        for role, model in models.items()
    }
    has = {role: bool(model.tokenizer.chat_template) for role, model in models.items()}
    findings = []
    unused = [role for role in models if has[role] and not used[role]]
    if used["base"] != used["tuned"]:
        role, other = ("base", "tuned") if used["base"] else ("tuned", "base")
        found = f"Only {role} reads the prompts in its chat template, {other} reads plain text"
        meaning = (
            "the two read different texts, which is right if only one was tuned for chat; "
            f"otherwise write --{other}-form chat or --{role}-form plain"
        )
        findings.append(Finding("chat template", "note", found, meaning))
    elif unused:
        whose = "Both models have" if len(unused) == 2 else f"The {unused[0]} model has"
        found = f"{whose} a chat template that is not used for these prompts"
        options = " ".join(f"--{role}-form chat" for role in unused)
        meaning = (
            f"a model that was tuned in it may only answer in it; if so, write {options} "
            "(chat=true behind the model)"
        )
        findings.append(Finding("chat template", "note", found, meaning))
    one, other_template = base.tokenizer.chat_template, tuned.tokenizer.chat_template
    if all(used.values()) and one != other_template:
        found = "The chat templates differ"
        meaning = "the same messages become different texts"
        findings.append(Finding("chat template", "note", found, meaning))
    return findings


def _starts_and_ends(base: HuggingFaceModel, tuned: HuggingFaceModel) -> list[Finding]:
    findings = []
    ends = {"base": end_tokens(base), "tuned": end_tokens(tuned)}
    if ends["base"] != ends["tuned"]:
        shown = {role: _tokens(model, ends[role]) for role, model in
                 (("base", base), ("tuned", tuned))}  # fmt: skip
        found = f"The end tokens differ (base {shown['base']}, tuned {shown['tuned']})"
        meaning = "answers may end at different places"
        findings.append(Finding("end tokens", "note", found, meaning))
    for role, model in (("base", base), ("tuned", tuned)):
        if model.form is not False and model.tokenizer.chat_template:
            findings += _in_template(role, model, ends[role])
    return findings


def _in_template(role: str, model: HuggingFaceModel, ends: frozenset[int]) -> list[Finding]:
    """Look at the start tokens that a template leads to, and at how it ends an answer."""
    findings = []
    try:
        [sent] = model.encode([(Message("user", "x"),)])
        answered = model.written((Message("user", "x"), Message("assistant", _MARK)))
    except UserError:  # told where it is used
        return []
    bos = model.tokenizer.bos_token_id
    if bos is not None and sent[:2] == [bos, bos]:
        found = f"The chat template of {role} puts two start tokens before a prompt"
        meaning = "most models were trained with one; take it out of the template, or out of both"
        findings.append(Finding("start token", "note", found, meaning))
    after = model.tokenizer(answered.rpartition(_MARK)[2], add_special_tokens=False)["input_ids"]
    marks = {*model.tokenizer.all_special_ids, *model.tokenizer.get_added_vocab().values()}
    end = next((token for token in after if token in marks), None)
    if end is not None and end not in ends:
        found = (
            f"The chat template of {role} ends an answer with {_tokens(model, {end})}, at which "
            "the model does not stop"
        )
        meaning = (
            "its answers run on to the token limit; add the token to eos_token_id in "
            "generation_config.json if it was trained with it"
        )
        findings.append(Finding("end tokens", "note", found, meaning))
    return findings


def end_tokens(model: HuggingFaceModel) -> frozenset[int]:
    """Return the tokens that end an answer, as the files say it, without loading weights."""
    path = model.checkpoint.folder / "generation_config.json"
    found = read_json(path).get("eos_token_id") if path.is_file() else None
    if found is None and not path.is_file():
        found = getattr(model.config.get_text_config(decoder=True), "eos_token_id", None)
    if found is None:
        found = model.tokenizer.eos_token_id
    tokens = found if isinstance(found, list) else [found]
    return frozenset(token for token in tokens if isinstance(token, int))


def _tokens(model: CausalModel, ids: frozenset[int] | set[int]) -> str:
    texts = model.tokenizer.convert_ids_to_tokens(sorted(ids))
    return ", ".join(map(repr, texts)) or "none"
