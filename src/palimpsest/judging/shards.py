"""Shards: a diagnosis in parts, each answered somewhere by itself, and put together afterwards."""

from __future__ import annotations

import itertools
import re
import time
from array import array
from collections import defaultdict
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple, Self

from palimpsest.errors import UserError
from palimpsest.judging.conclude import Elsewhere, open_run
from palimpsest.judging.diagnosis import DiagnosisProgress, ask_models, diagnose
from palimpsest.judging.foreign import running_or_asking
from palimpsest.judging.pairing import ROLES
from palimpsest.judging.subject import configuration, known_beforehand, prepare_diagnosis
from palimpsest.judging.unasked import RecordedModel, Unasked
from palimpsest.judging.workers import Workers, computed
from palimpsest.lm.suites import Suite
from palimpsest.records import AnswerRow, AnswerStore, Results, RunFolder, columns_of

_WRITTEN = re.compile(r"(\d+)/(\d+)")


@dataclass(frozen=True)
class Shard:
    """One of ``n`` parts of a suite, counted from 1.

    Example:
        >>> Shard.parse("3/16")
        Shard(number=3, n=16)
    """

    number: int
    n: int

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read ``i/n``.

        Raises:
            UserError: It is something else, or there is no such part.
        """
        match = _WRITTEN.fullmatch(text.strip())
        shard = cls(*map(int, match.groups())) if match else cls(0, 0)
        if not 1 <= shard.number <= shard.n:
            raise UserError(
                f"The shard is '{text}'; expected i/n, from 1/n to n/n.",
                hint='In a SLURM array from 1 to 16: --shard "$SLURM_ARRAY_TASK_ID/16"',
            )
        return shard

    def of(self, suite: Suite) -> Suite:
        """Return the part of a suite: every n-th source example of each cell, all its versions.

        Raises:
            UserError: Nothing is left: there are fewer examples than parts.
        """
        places: dict[str, dict[str, int]] = defaultdict(dict)
        for example in suite.examples:
            mine = places[example.cell]
            mine.setdefault(example.source_id, len(mine))
        kept = tuple(
            example
            for example in suite.examples
            if places[example.cell][example.source_id] % self.n == self.number - 1
        )
        if not kept:
            raise UserError(
                f"Shard {self} of '{suite.name}' has no examples: no cell has {self.number}.",
                hint="Make fewer shards.",
            )
        return replace(suite, examples=kept)

    def __str__(self) -> str:
        return f"{self.number}/{self.n}"


class ShardAnswers(NamedTuple):
    """What became of a shard's questions."""

    n_answers: int
    """Of examples that have all of theirs, those of earlier sittings among them."""

    n_left_out: int
    """Source examples to which an answer is lacking."""

    notes: Sequence[str]
    """What to say of these, and of whatever else a reader must know."""


def answer_shard(
    shard: Shard,
    arguments: Mapping[str, Any],
    *,
    out: Path | str,
    workers: Workers | None = None,
    command: str = "palimpsest.judging.answer_shard(…)",
    progress: DiagnosisProgress | None = None,
    notify: Callable[[Sequence[str]], None] | None = None,
) -> ShardAnswers:
    """Let both models answer a part of the examples; nothing is concluded from it.

    What :func:`merge` must know of the models is recorded, so that it opens none. Cells that the
    base cannot do are asked as well: what it cannot do is known of the whole only.

    Args:
        shard: Which part.
        arguments: Of :func:`.diagnose`, those that a command line can write.
        out: The run folder of this part alone.
        workers: As for :func:`.diagnose`.
        command: Recorded as the way to repeat it.
        progress: Called after every answer.
        notify: Called once, before anything is asked, with warnings.

    Raises:
        UserError: As for :func:`.diagnose`, or a part without examples.
    """
    _refuse_others_than(_OF_SHARDS, arguments)
    asked: dict[str, Any] = {name: arguments.get(name) for name in _ASKED}
    whole_plan = prepare_diagnosis(**asked)
    plan = whole_plan._replace(suite=replace(shard.of(whole_plan.suite), skips_floor=False))
    method = {"seed": arguments.get("seed", 0), "n_resamples": arguments.get("n_resamples", 10_000)}
    started = time.monotonic()
    with open_run(out, command, **method, started=started) as run:
        recorded = {
            **configuration(whole_plan),
            "arguments": dict(arguments),
            "shard": str(shard),
        }
        run.record(**recorded, finished=False)
        known = known_beforehand(whole_plan)
        if notify is not None:
            notify(known)
        answered = ask_models(
            plan,
            run.store,
            arguments.get("whole", "sample"),
            None,
            workers or Workers(),
            progress,
        )
        run.store.record_run(answered.rows)
        facts = {role: dict(model.describe()) for role, model in plan.models.items()}
        run.record(
            **recorded,
            known_beforehand=known,
            facts=facts,
            notes=answered.notes,
            seconds=run.seconds_in_all(),
            finished=True,
        )
        n_left_out = len(plan.suite.in_language(plan.suite.source_language)) - len(
            {source for (source,) in columns_of(answered.rows, "source_id")}
        )
        return ShardAnswers(len(answered.rows), n_left_out, answered.notes)


_ASKED = ("base", "tuned", "suite", "via", "limit", "scorer", "samples")

_OF_SHARDS = frozenset({*_ASKED, "whole", "min_fidelity", "seed", "n_resamples"})
"""Arguments of a diagnosis that can be answered in shards."""

_OF_ONE_SHARD = (
    "command", "shard", "finished", "known_beforehand", "facts", "notes", "seconds",
)  # fmt: skip


def _refuse_others_than(allowed: Collection[str], arguments: Mapping[str, Any]) -> None:
    others = sorted(set(arguments) - set(allowed))
    if others:
        raise UserError(
            f"A diagnosis with {' and '.join(map(repr, others))} cannot be answered in shards.",
            hint="Leave it out, or ask the whole suite in one run.",
        )


def merge(
    folders: Sequence[Path | str],
    out: Path | str,
    *,
    trust: bool = False,
    command: str = "palimpsest.judging.merge(…)",
) -> Results:
    """Put all shards of a diagnosis together, and conclude as one run would.

    No model is opened or asked: what the shards recorded of theirs stands for them, so that it
    takes neither their files nor a device, address or key. The suite is read and conjugated anew.

    Args:
        folders: Those of :func:`answer_shard`, in any order; a part may be there twice.
        out: The run folder of the whole: a new one, or one that shards were merged into.
        trust: Whether the shards may name a suite, a scorer or ways of asking that run code, or
            ask a translator or a judge: their folders say which, and might be somebody else's.
        command: Recorded as the way to repeat it.

    Raises:
        UserError: Folders that are no shards, not finished, of different diagnoses, or disagree
            about an answer; a shard is missing, or names what runs code or asks others without
            ``trust``; or the folder of the whole has answers of something else.
    """
    shards = [RunFolder.find(folder) for folder in folders]
    config = _common(shards)
    _refuse_others_than(_OF_SHARDS, config["arguments"])
    if not trust:
        _refuse_foreign(config["arguments"])
    whole = _folder_of_whole(out, shards)
    with AnswerStore(whole.answers) as store:
        _refuse_others(store, whole)
        whole.write_json(_MERGED, [str(shard.path) for shard in shards])
        _add_without_conflict(store, shards)
    return diagnose(
        **{**config["arguments"], **_recorded_models(shards)},
        out=out,
        workers=Unasked(),
        elsewhere=_known(shards),
        command=command,
    )


_MERGED = "merged.json"
"""In a folder that shards are merged into: which."""


def _folder_of_whole(out: Path | str, shards: Sequence[RunFolder]) -> RunFolder:
    """Open the folder that shards are merged into.

    Raises:
        UserError: It is one of them, or cannot be written.
    """
    for shard in shards:
        if shard.path.resolve() == Path(out).expanduser().resolve():
            raise UserError(
                f"'{out}' is one of the shards.", hint="Choose another folder with --out."
            )
    return RunFolder.create(out)


def _refuse_others(store: AnswerStore, whole: RunFolder) -> None:
    """Refuse a folder with answers that no merging has brought.

    Raises:
        UserError: It has some.
    """
    if len(store) and not (whole.path / _MERGED).exists():
        raise UserError(
            f"'{whole.path}' has {len(store):,} answers of another run.",
            hint="Choose a new folder with --out, so that the whole has those of its shards alone.",
        )


def _refuse_foreign(arguments: Mapping[str, Any]) -> None:
    """Refuse what only a person may ask for, where files ask for it."""
    asked = running_or_asking(arguments)
    if asked:
        raise UserError(
            f"The shards ask for {' and '.join(asked)}, which may run code or ask others.",
            hint="If they are your own, add --trust.",
        )


def _recorded_models(shards: Sequence[RunFolder]) -> dict[str, RecordedModel]:
    """Return what stands for the models that the shards asked, by role."""
    config = shards[0].config
    return {
        role: RecordedModel(
            config["models"][role],
            config["fingerprints"][role],
            _facts(shards, role),
            scores=config["by_likelihood"],
        )
        for role in ROLES
    }


def _facts(shards: Sequence[RunFolder], role: str) -> dict[str, str]:
    """Return what a model said of itself; of shards that differ, as in their GPU, all there is."""
    found: dict[str, dict[str, None]] = defaultdict(dict)
    for shard in shards:
        for name, fact in _facts_of(shard.config, role).items():
            found[name][fact] = None
    return {name: "; ".join(facts) for name, facts in found.items()}


def _known(shards: Sequence[RunFolder]) -> Elsewhere:
    """Return what the shards tell of their answers: of a part that is there twice, once.

    What one of the two lacks, the other may have: then nothing is said of it.
    """
    parts: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for shard in shards:
        parts[shard.config["shard"]].append(shard.config)
    known = [each for one in parts.values() for each in one[0].get("known_beforehand", ())]
    notes = [
        f"Shard {name}: {note}"
        for name, same in parts.items()
        if all(config.get("notes") for config in same)
        for note in same[0]["notes"]
    ]
    took: list[float | None] = [same[0].get("seconds") for same in parts.values()]
    seconds = [each for each in took if each is not None]
    return Elsewhere(
        warnings=[*dict.fromkeys(known), *notes],
        seconds=sum(seconds) if len(seconds) == len(took) else None,
    )


def _common(shards: Sequence[RunFolder]) -> dict[str, Any]:
    """Return the configuration that all shards share."""
    configs = {shard.path: shard.config for shard in shards}
    for path, config in configs.items():
        if not config:
            raise UserError(
                f"The run in '{path}' ended before it had begun.",
                hint="Run its command again: palimpsest diagnose … --shard i/n --out DIR",
            )
        if "shard" not in config:
            raise UserError(
                f"'{path}' is no shard: its run asked the whole suite.",
                hint="Shards are made by: palimpsest diagnose … --shard i/n --out DIR",
            )
        if not config["finished"]:
            raise UserError(
                f"Shard {config['shard']} in '{path}' is not finished.",
                hint=f"Continue it with: {config['command']}",
            )
    (first, common), *others = configs.items()
    for path, config in others:
        _refuse_another_model(first, common, path, config)
        for key, one, other in _differences(common, config):
            raise UserError(
                f"The shards are of different diagnoses: '{key}' is {one!r} in '{first}' and "
                f"{other!r} in '{path}'.",
                hint="Merge those of one diagnosis alone.",
            )
    present = [Shard.parse(config["shard"]) for config in configs.values()]
    n = present[0].n
    if {each.n for each in present} != {n}:
        raise UserError(
            "The shards are parts of different size: " + ", ".join(sorted(map(str, present))) + ".",
            hint="All must have been made with the same n of --shard i/n.",
        )
    missing = sorted(set(range(1, n + 1)) - {each.number for each in present})
    if missing:
        raise UserError(
            f"Of {n} shards {len(missing)} are missing: {', '.join(f'{i}/{n}' for i in missing)}.",
            hint="Make them with the same command and --shard i/n, then merge again.",
        )
    return common


def _refuse_another_model(
    first: Path, one: Mapping[str, Any], second: Path, other: Mapping[str, Any]
) -> None:
    """Refuse shards that were asked of other weights, or computed otherwise.

    Raises:
        UserError: They were, though the same models were named.
    """
    for role in ROLES:
        spec, expected = one["models"][role], one["fingerprints"][role]
        found = other["fingerprints"][role]
        if other["models"][role] == spec and found != expected:
            raise UserError(
                f"The shard in '{second}' asked another {role} model under '{spec}' than that in "
                f"'{first}': its fingerprint is {found}{computed(_facts_of(other, role))}, "
                f"expected {expected}{computed(_facts_of(one, role))}.",
                hint="Were files and releases (palimpsest, transformers) the same, and all on a "
                "GPU, or none? device=… and dtype=… behind the model keep both as they are. "
                "Answer one of the two anew, in a new folder.",
            )


def _facts_of(config: Mapping[str, Any], role: str) -> Mapping[str, str]:
    """Return what a shard's model said of itself; nothing where that was not recorded."""
    found: Mapping[str, str] = config.get("facts", {}).get(role, {})
    return found


def _differences(
    one: Mapping[str, Any], other: Mapping[str, Any]
) -> Iterator[tuple[str, Any, Any]]:
    """Yield in what two shards' configurations differ, what was asked for before what that is."""
    for name in sorted({*one["arguments"], *other["arguments"]}):
        mine, theirs = one["arguments"].get(name), other["arguments"].get(name)
        if mine != theirs:
            yield name, mine, theirs
    for key in sorted({*one, *other} - {*_OF_ONE_SHARD, "arguments"}):
        if one.get(key) != other.get(key):
            yield key, one.get(key), other.get(key)


def _add_without_conflict(store: AnswerStore, shards: Sequence[RunFolder]) -> None:
    """Add the rows of one shard after the other, some thousand at a time.

    Raises:
        UserError: Two of them have another answer to the same question, or the store has
            answers that are of none.
    """
    from_shard = array("l")  # by place: 0, or from which shard the answer there is, from 1 on
    for number, shard in enumerate(shards, start=1):
        with closing(AnswerStore(shard.answers, read_only=True)) as read:
            rows = iter(read.run_answers())
            while block := list(itertools.islice(rows, _N_TOGETHER)):
                mine = {row.key: row for row in block}
                for place, old in _at_the_same_keys(store, block):
                    new = mine[old.key]
                    earlier = from_shard[place] if place < len(from_shard) else 0
                    if earlier and (old.raw, old.outcome) != (new.raw, new.outcome):
                        raise _conflict(shards[earlier - 1].path, old, shard.path, new)
                store.add(block)
                for place, _ in _at_the_same_keys(store, block):
                    from_shard.extend([0] * (place + 1 - len(from_shard)))
                    from_shard[place] = number
    n_others = len(store) - sum(map(bool, from_shard))
    if n_others:
        raise UserError(
            f"'{store.path.parent}' has {n_others:,} answers that none of the shards has, from "
            "merging others.",
            hint="Choose a new folder with --out.",
        )


_N_TOGETHER = 2000
"""Answers of a shard that are in memory together."""


def _at_the_same_keys(
    store: AnswerStore, rows: Sequence[AnswerRow]
) -> Iterator[tuple[int, AnswerRow]]:
    """Yield the answers of a store that have the keys of these, with their places."""
    keys = {row.key for row in rows}
    for model, suite in {(key.model, key.suite) for key in keys}:
        sources = list({key.source_id for key in keys if (key.model, key.suite) == (model, suite)})
        for place, row in store.keyed(model=model, suite=suite, sources=sources):
            if row.key in keys:
                yield place, row


def _conflict(first: Path, old: AnswerRow, second: Path, new: AnswerRow) -> UserError:
    return UserError(
        f"'{first}' and '{second}' have different answers of the {new.role} model "
        f"to '{new.key.source_id}' under '{new.via}': {old.raw!r} and {new.raw!r}.",
        hint="Which of the two is of the newest run? Merge without the other.",
    )
