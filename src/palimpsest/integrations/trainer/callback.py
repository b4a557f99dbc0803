"""Callback of a Trainer: when to measure, what is done with it, and how the training goes on."""

from __future__ import annotations

import logging
import uuid
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import torch
from transformers import PreTrainedTokenizerBase, Trainer, TrainerCallback

from palimpsest.errors import UserError
from palimpsest.families import Target, load_target
from palimpsest.integrations.trainer.network import on_first_rank, undisturbed, unwrapped
from palimpsest.integrations.trainer.pace import Pace
from palimpsest.integrations.trainer.proposal import (
    Proposal,
    Scores,
    ask_shares,
    command_for,
    propose,
    start_digest,
    weights_at_start,
)
from palimpsest.integrations.trainer.record import TrainingRecord, parse_probes, reached, scalars
from palimpsest.lm.models import LanguageModel, load_model, parse_model_spec
from palimpsest.lm.models.huggingface import InMemoryModel
from palimpsest.lm.suites import Suite
from palimpsest.records import Measurement

if TYPE_CHECKING:
    from transformers import TrainerControl, TrainerState, TrainingArguments

_LOG = logging.getLogger("palimpsest.trainer")


class _Outcome(NamedTuple):
    """What a measurement leads to, the same in every process."""

    logs: dict[str, float]
    stop: str | None
    """The reason to stop the training."""


class ForgettingCallback(TrainerCallback):
    """Measures during a training what it makes a model forget, and what of it is only hidden.

    Every so often the model is asked a small, fixed sample of a suite, plainly and under
    conjugations, and compared with the base model: the model as it is when the training starts,
    or another. The figures go through ``trainer.log`` to whatever the Trainer reports to, and as
    one line a measurement into ``measurements.jsonl``, where a resumed training goes on. Weights
    come out the same to the bit as without the callback.

    In a distributed training the first process measures, and the others wait for it. What is wrong
    at the start ends the training with an error; a later measurement that fails is left out, with
    the reason in the log.

    Args:
        trainer: A Trainer of transformers or of TRL; the callback is added to it with
            ``trainer.add_callback``.
        suite: A suite or its spec, or several: ``icl-vs-if``, ``nli:xnli``, ``jsonl:mine.jsonl``.
        via: Conjugations beside the plain prompts; by default ``leet`` and ``pig-latin``.
        every: Steps between measurements, or ``"save"`` for one at each checkpoint. The start and
            the end are measured in any case.
        limit: At most so many source examples a cell of a suite; fewer are faster and less certain.
        base: A model to compare with instead, such as ``hf:ID``, or an object.
        target: What is tuned for, a suite or ``text:FILE``. With it the end of the training tries
            shares of its change, from the answers that there are and a few more, proposes the one
            that keeps most, and logs the command that measures and writes it. This takes about six
            more measurements, and copies of the trained weights.
        stop_at_forgetting: Stop the training when the accuracy on a suite has surely fallen by so
            much: when the lower end of the interval of its forgetting reaches this fraction.
        max_share: Seconds of measuring for each second of training, at most. Measurements that
            would exceed it are left out, and those that are made are spread over the training.
            ``None`` measures whenever ``every`` says so.
        chat: Whether plain prompts are sent as one user message through the chat template.
        tokenizer: By default the Trainer's ``processing_class``.
        folder: Where the measurements and all answers are kept; by default ``forgetting`` in the
            ``output_dir`` of the training.
        seed: Seed of the bootstrap.
        n_resamples: Bootstrap resamples of each interval.

    Raises:
        UserError: A suite, conjugation, model or option that cannot be used.
    """

    def __init__(
        self,
        trainer: Trainer,
        suite: str | Suite | Sequence[str | Suite],
        *,
        via: Sequence[str] | None = None,
        every: int | Literal["save"] = 100,
        limit: int | None = 25,
        base: str | LanguageModel | None = None,
        target: str | None = None,
        stop_at_forgetting: float | None = None,
        max_share: float | None = 0.05,
        chat: bool = False,
        tokenizer: PreTrainedTokenizerBase | None = None,
        folder: Path | str | None = None,
        seed: int = 0,
        n_resamples: int = 10_000,
    ) -> None:
        _check(trainer, every, stop_at_forgetting)
        if isinstance(base, str):
            parse_model_spec(base)
        self._trainer = trainer
        self._every = every
        self._base = base
        self._limit = stop_at_forgetting
        self._max_share = max_share
        self._chat = chat
        self._tokenizer = _tokenizer(trainer, tokenizer)
        self._record = TrainingRecord(
            Path(folder or Path(trainer.args.output_dir or ".") / "forgetting"),
            parse_probes(suite, via, limit=limit),
            seed=seed,
            n_resamples=n_resamples,
        )
        self._target = None if target is None else load_target(target, limit=limit)
        # A checkpoint that is resumed is loaded later: by then these weights are gone.
        self._start = None if target is None else _weights_before(trainer)
        self.proposal: Proposal | None = None
        self._pace = Pace(max_share)
        self._session = ""
        self._last = -1
        self._said = False

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        """Measure the base, or take up what was measured before an interruption."""
        self._pace = Pace(self._max_share)
        self._session = uuid.uuid4().hex[:16]  # from the system, not from a seeded generator
        self._said = False
        if self._target is not None and state.is_world_process_zero:
            self._remember_start(resumed=state.global_step > 0)
        with self._asking(state) as model:
            rows, outcome = on_first_rank(self._trainer, lambda: self._begin(model, state))
            self._publish(outcome, control)
        self._last = rows[-1].step if rows else state.global_step
        if rows:
            self._pace.resume(
                measuring_seconds=rows[-1].measuring_seconds + self._pace.measuring_seconds,
                training_seconds=rows[-1].training_seconds,
                cost_seconds=rows[-1].measuring_seconds / len({row.step for row in rows}),
            )

    def _remember_start(self, *, resumed: bool) -> None:
        """Keep the weights of the start, or see whether those of this process were the start's."""
        if not resumed:
            self._start = weights_at_start(unwrapped(self._trainer))
            self._record.keep_start(start_digest(self._start))
        elif self._start is not None and not self._record.began_with(start_digest(self._start)):
            self._start = None

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        """Measure if it is time."""
        if state.global_step >= state.max_steps:
            self._measure(state, control)
        elif self._is_due(state, control):
            self._measure_if_affordable(state, control)

    def on_save(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        """Measure a checkpoint that was decided on after the step, as the best so far."""
        if self._every == "save":
            self._measure_if_affordable(state, control)

    def on_epoch_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        """Measure the end of a training that something has stopped early."""
        if control.should_training_stop or state.global_step >= state.max_steps:
            self._measure(state, control)
        elif self._every == "save" and self._is_due(state, control):
            self._measure_if_affordable(state, control)

    def on_train_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        """Propose an interpolation, if a target was named, and say what measuring has cost."""
        if self._target is not None:
            self._propose(self._target, state)
        if not state.is_world_process_zero:
            return
        over = self._max_share is not None and self._pace.share > self._max_share
        _LOG.log(
            logging.WARNING if over else logging.INFO,
            "Measuring took %.1f s, %.1f %% of the %.1f s of training; the limit is %s.",
            self._pace.measuring_seconds,
            100 * self._pace.share,
            self._pace.training_seconds,
            "none" if self._max_share is None else f"{100 * self._max_share:g} %",
        )

    def _propose(self, target: Target, state: TrainerState) -> None:
        """Try shares of the change; what fails is logged, and ends nothing."""
        step, network = state.global_step, unwrapped(self._trainer)

        def tried() -> Proposal | None:
            start = self._start
            if start is None:
                _LOG.warning(
                    "The training was resumed, and the model that this Trainer was made with is "
                    "not the one that it began with: its first weights are gone, none is tried."
                )
                return None
            return propose(ask_shares(network, start, lambda share: self._scores(share, step)))

        try:
            with self._pace.measuring(), undisturbed(network):
                self.proposal = on_first_rank(self._trainer, tried)
        except UserError as error:
            _LOG.warning("No interpolation is proposed: %s", error.message)
        except Exception:
            _LOG.exception("No interpolation could be tried; the training is not affected.")
        self._start = None
        if state.is_world_process_zero:
            found = self.proposal
            command = command_for(
                self._trainer,
                self._base if isinstance(self._base, str) else None,
                self._record.suites,
                target.suite.name,
                step=step,
                share=None if found is None else found.share,
            )
            said = "" if found is None else f"{found.sentence()} "
            _LOG.warning("%sTo measure members and write the best: %s", said, command)

    def _scores(self, share: float, step: int) -> Scores:
        """Ask the network as it is, which has this share of its change."""
        assert self._target is not None
        names = {0.0: f"training-{self._session}-0", 1.0: f"training-{self._session}-{step}"}
        model = InMemoryModel(
            unwrapped(self._trainer),
            self._tokenizer,
            name=f"{share:.0%} of the change of the training",
            fingerprint=names.get(share, f"training-{self._session}-{step}-share-{share:g}"),
            chat=self._chat or None,
        )
        with closing(model):
            return Scores(*self._record.plain_scores(model, self._target))

    def _is_due(self, state: TrainerState, control: TrainerControl) -> bool:
        if isinstance(self._every, int):
            return state.global_step % self._every == 0
        return control.should_save

    def _measure_if_affordable(self, state: TrainerState, control: TrainerControl) -> None:
        if self._last != state.global_step and on_first_rank(
            self._trainer, lambda: self._affordable(state)
        ):
            self._measure(state, control)

    def _affordable(self, state: TrainerState) -> bool:
        step, n_steps = state.global_step, state.max_steps
        spacing = self._pace.spacing(step=step, n_steps=n_steps, last=self._last)
        affordable = step - self._last >= spacing
        if not affordable and not self._said:
            self._said = True
            _LOG.warning(
                "Measuring takes %.2f s and a step %.3f s: to stay at %.1f %% of the training "
                "time, %s.",
                self._pace.cost_seconds,
                self._pace.training_seconds / step,
                100 * (self._max_share or 0),
                "only the start and the end are measured"
                if spacing > n_steps
                else f"about every {spacing:.0f} steps are measured",
            )
        return affordable

    def _measure(self, state: TrainerState, control: TrainerControl) -> None:
        if self._last == state.global_step:
            return
        with self._asking(state) as model:
            outcome = on_first_rank(self._trainer, lambda: self._compare_if_possible(model, state))
            self._publish(outcome, control)
        self._last = state.global_step

    @contextmanager
    def _asking(self, state: TrainerState) -> Iterator[InMemoryModel]:
        """Lend the model that is trained for questions, and count the time."""
        network = unwrapped(self._trainer)
        if network.device.type != "cpu":
            torch.accelerator.synchronize(network.device)  # what still computes is training
        step = state.global_step
        with self._pace.measuring(), undisturbed(network):
            model = InMemoryModel(
                network,
                self._tokenizer,
                name=f"step {step} of the training",
                fingerprint=f"training-{self._session}-{step}",
                chat=self._chat or None,
            )
            with closing(model):
                yield model

    def _begin(
        self, model: InMemoryModel, state: TrainerState
    ) -> tuple[list[Measurement], _Outcome | None]:
        """Return what was measured before an interruption, else what a first measurement says."""
        with ExitStack() as stack:
            base = self._base
            if isinstance(base, str):
                base = stack.enter_context(closing(load_model(base)))
            if state.global_step == 0:
                self._record.start(base or model, model)
            elif rows := self._record.resume(base, model, step=state.global_step):
                return rows, None
        return [], self._compare(model, state)

    def _compare(self, model: InMemoryModel, state: TrainerState) -> _Outcome:
        analyses = self._record.measure(
            model, step=state.global_step, epoch=state.epoch, pace=self._pace
        )
        logs: dict[str, float] = {}
        for name, analysis in analyses.items():
            logs |= scalars(analysis, prefix=f"{name}/" if len(analyses) > 1 else "")
        if state.global_step:
            logs["measuring_share"] = self._pace.share
        stop = None if self._limit is None else reached(analyses, self._limit)
        return _Outcome(logs, stop)

    def _compare_if_possible(self, model: InMemoryModel, state: TrainerState) -> _Outcome | None:
        """Compare, but let no failure to measure end a training that is under way."""
        try:
            return self._compare(model, state)
        except Exception:
            _LOG.exception(
                "Step %d could not be measured; the training goes on.", state.global_step
            )
            return None

    def _publish(self, outcome: _Outcome | None, control: TrainerControl) -> None:
        """Log the figures, in every process and while the network is in evaluation mode.

        TRL's trainers add to a log the means of their own metrics since the last one, and forget
        these; in evaluation mode they leave those of the training alone.
        """
        if outcome is None:
            return
        due = control.should_log
        self._trainer.log(dict(outcome.logs))
        control.should_log = due  # which logging has reset
        if outcome.stop is not None:
            control.should_training_stop = True
            _LOG.warning("Palimpsest stops the training: %s.", outcome.stop)


def _weights_before(trainer: Trainer) -> dict[str, torch.Tensor] | None:
    """Return the weights that a Trainer was made with; none if they cannot be those of a start."""
    try:
        return weights_at_start(unwrapped(trainer))
    except UserError:  # said when a training starts with it
        return None


def _check(trainer: object, every: object, stop_at_forgetting: float | None) -> None:
    if not isinstance(trainer, Trainer):
        raise UserError(
            f"ForgettingCallback was given a {type(trainer).__name__} instead of a Trainer.",
            hint="Make the Trainer first: trainer.add_callback(ForgettingCallback(trainer, …))",
        )
    if every != "save" and not (isinstance(every, int) and every > 0):
        raise UserError(
            f"The callback is to measure every {every!r} steps.",
            hint='Give a whole number above zero, or "save" for every checkpoint.',
        )
    if stop_at_forgetting is not None and not 0 < stop_at_forgetting < 1:
        raise UserError(
            f"stop_at_forgetting is {stop_at_forgetting}; expected a fraction between 0 and 1.",
            hint="Write 0.2 for a fall of 20 points.",
        )


def _tokenizer(
    trainer: Trainer, tokenizer: PreTrainedTokenizerBase | None
) -> PreTrainedTokenizerBase:
    found = trainer.processing_class if tokenizer is None else tokenizer
    found = getattr(found, "tokenizer", found)  # of a processor for images and text
    if not isinstance(found, PreTrainedTokenizerBase):
        raise UserError(
            "The Trainer has no tokenizer, so there is nothing to write prompts with.",
            hint="Give the Trainer processing_class=, or the callback tokenizer=.",
        )
    return found
