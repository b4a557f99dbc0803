"""Loop of all trainings: a batch is a function of its step, so that resuming is exact."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor, nn

from palimpsest.errors import UserError
from palimpsest.lab.checks import (
    check_choice,
    check_count,
    check_not_negative,
    check_positive,
    check_share,
)
from palimpsest.lab.predictors import Prompt, Transformer
from palimpsest.lab.problem import Batch
from palimpsest.lab.training.gradients import Gradients
from palimpsest.training import (
    OPEN_SCHEDULES,
    OPTIMISERS,
    SCHEDULES,
    Board,
    Clock,
    Cores,
    Interrupts,
    OnProgress,
    Processes,
    Rated,
    divided_cores,
    load_state,
    make_optimisers,
    noticed_interrupts,
    rate_scale,
    save_state,
    saved_step,
    update,
)

STEPS_BETWEEN_EXCESSES = 25
"""The Bayes predictor takes about as long as an update of a small model."""


PRECISIONS = ("float32", "bf16")

ENDS = ("steps", "converged")

TARGETS = ("sampled", "expected")

NOT_OF_UPDATES = ("save_every", "until", "check_every")
"""Settings that no update depends on: how often is saved or looked, and when it ends."""


@dataclass(frozen=True)
class Training:
    """Steps, batches, rates and precision of one training.

    Raises:
        UserError: A number out of range, or an unknown name.

    Example:
        >>> Training(n_steps=100, schedule="cosin")
        Traceback (most recent call last):
        ...
        palimpsest.errors.UserError: schedule is 'cosin'. Did you mean 'cosine'?
        It can be: constant, linear, cosine, trapezoid, inverse-sqrt.
    """

    n_steps: int
    """Updates; the most of them, if it ends when converged."""
    until: str = "steps"
    """``steps``, or ``converged`` to end a pretraining as soon as its model infers as it should."""
    check_every: int = 250
    """Steps between looks at whether it has converged."""
    batch_size: int = 64
    """Prompts in a batch, over all processes."""
    targets: str = "sampled"
    """``sampled`` ys, or ``expected``: what the Bayes predictor says, with the same gradient on
    average and less noise in it."""
    full_every: int = 1
    """Every so many steps the prompts are whole, and in between short, as the first few exemplars
    are what a task is inferred from; one makes all of them whole."""
    n_short_exemplars: int = 8
    """Exemplars of a short prompt."""
    short_batch_size: int = 128
    """Short prompts in a batch."""
    optimiser: str = "muon"
    """``adamw``, or ``muon`` for the matrices of the blocks and AdamW for the rest."""
    learning_rate: float = 3e-3
    """Peak rate of AdamW."""
    muon_learning_rate: float = 0.02
    """Peak rate of Muon."""
    weight_decay: float = 0.0
    """Decoupled, of matrices; zero makes AdamW Adam."""
    betas: tuple[float, float] = (0.9, 0.98)
    """AdamW's averaging of gradients and of their squares."""
    schedule: str = "trapezoid"
    """``constant``, ``linear``, ``cosine``, ``trapezoid`` or ``inverse-sqrt``."""
    n_warmup_steps: int = 50
    """Steps in which the rate rises."""
    average: float = 0.0
    """Share of the steps made so far over which the weights that come out are averaged; zero gives
    the last ones."""
    max_gradient_norm: float = 1.0
    """Longer gradients are shortened to this."""
    precision: str = "float32"
    """``bf16`` computes products in bfloat16; the weights stay float32."""
    compile: bool = False
    """Compile the model: half a minute on a CPU, which long trainings win back."""
    seed: int = 0
    """Of the first weights, and of all batches."""
    save_every: int = 250
    """Steps between checkpoints."""

    def __post_init__(self) -> None:
        for name in ("n_steps", "batch_size", "save_every", "check_every"):
            check_count(name, getattr(self, name))
        for name in ("full_every", "n_short_exemplars", "short_batch_size"):
            check_count(name, getattr(self, name))
        check_not_negative("n_warmup_steps", self.n_warmup_steps)
        for name in ("learning_rate", "muon_learning_rate", "max_gradient_norm"):
            check_positive(name, getattr(self, name))
        check_not_negative("weight_decay", self.weight_decay)
        check_share("average", self.average)
        object.__setattr__(self, "betas", tuple(self.betas))  # a TOML file has a list
        if len(self.betas) != 2 or not all(0 <= beta < 1 for beta in self.betas):
            raise UserError(
                f"betas is {list(self.betas)}; it must be two numbers of at least 0 and below 1.",
                hint="The first averages the gradients, the second their squares: [0.9, 0.98].",
            )
        for name, choices in (
            ("optimiser", OPTIMISERS),
            ("schedule", SCHEDULES),
            ("precision", PRECISIONS),
            ("until", ENDS),
            ("targets", TARGETS),
        ):
            check_choice(name, getattr(self, name), choices)

    @property
    def is_open(self) -> bool:
        """Whether no update depends on ``n_steps``, so that a training can be continued past it."""
        return self.schedule in OPEN_SCHEDULES


@dataclass(frozen=True, kw_only=True)
class Running:
    """How a training is run: nothing here changes what comes out."""

    checkpoint: Path | None = None
    """Where the state is saved; a state found there is taken up."""
    device: str = "auto"
    """``auto`` (a GPU if there is one), ``cpu`` or ``cuda``."""
    on_progress: OnProgress | None = None
    """Told of every step."""
    measure: Callable[[int, Transformer], None] | None = None
    """Given the model at each step of ``measure_at``; told again of steps that an interrupted
    training had made after its last save."""
    measure_at: Collection[int] = ()
    """Updates made; zero is the model before the first."""
    tensorboard: Path | None = None
    """Folder of the logs for TensorBoard."""


class Source(NamedTuple):
    """Where a training has its batches from."""

    draw: Callable[[int], Batch]
    """The batch of a step."""
    bayes: Callable[[int, Batch], Tensor] | None = None
    """The predictions of the Bayes predictor for it, if there is one."""
    targets: Callable[[int, Batch], Tensor] | None = None
    """What the model learns to say, where it is not the ys."""


class Update(NamedTuple):
    """What one update gave."""

    loss: float
    """Mean squared error on the batch, over all processes."""
    predictions: Tensor
    """Of this process's share."""
    interrupted: bool
    """Was Ctrl-C pressed in any of the processes, or one of them told to end?"""


class Average:
    r"""The running mean of a model's weights, over a share s of the steps t made so far.

    .. math:: \bar θ_t = \bar θ_{t-1} + \min(1, 1/(s t)) (θ_t - \bar θ_{t-1})

    A window that grows with the training needs no schedule whose end is known beforehand.

    Args:
        model: In training.
        share: s; with zero the mean is the model itself.
    """

    def __init__(self, model: Transformer, share: float) -> None:
        self._trained, self._share = model, share
        self.kept = copy.deepcopy(model) if share else None
        """What is to be saved; nothing where the model says all."""

    @property
    def model(self) -> Transformer:
        """What comes out of the training so far."""
        return self.kept or self._trained

    @torch.no_grad()
    def add(self, step: int) -> None:
        """Take the weights after an update into the mean."""
        if self.kept is None:
            return
        kept, trained = (
            [weight.detach() for weight in one.parameters()] for one in (self.kept, self._trained)
        )
        torch._foreach_lerp_(kept, trained, min(1.0, 1 / (self._share * step)))

    @contextmanager
    def evaluated(self) -> Iterator[None]:
        """Let the model be asked, and go on training afterwards."""
        self.model.eval()
        with torch.no_grad():
            yield
        self.model.train()


@dataclass(frozen=True, kw_only=True)
class Loop:
    """One training, from its checkpoint or the start to the last step.

    Example:
        >>> from palimpsest.lab.problem import Problem
        >>> from palimpsest.training import OneProcess
        >>> from palimpsest.lab.predictors import TransformerConfig, new_transformer
        >>> problem = Problem(n_dims=2, n_tasks=2, n_exemplars=4)
        >>> sizes = TransformerConfig(n_dims=2, n_points=5, width=8, n_layers=1, n_heads=2)
        >>> loop = Loop(
        ...     model=new_transformer(sizes, seed=0),
        ...     training=Training(n_steps=2, batch_size=4),
        ...     source=Source(lambda step: problem.batch("mix", 4, seed=0, step=step)),
        ...     processes=OneProcess("cpu"),
        ... )
        >>> loop.run()
        2
    """

    model: Transformer
    """Trained in place."""
    training: Training
    source: Source
    processes: Processes
    running: Running = Running()
    identity: Mapping[str, Any] = field(default_factory=dict)
    """What determines the result; a checkpoint with another identity is refused."""
    of_predictions: Sequence[Callable[[Prompt, Tensor], Tensor]] = ()
    """Terms that are added to the mean squared error: means over prompts."""
    of_weights: Sequence[Callable[[], Tensor]] = ()
    """Terms that depend on the weights alone."""
    is_done: Callable[[int, Transformer], bool] | None = None
    """Asked every ``check_every`` steps whether the training may end; given the updates made and
    what comes out of them."""

    def run(self) -> int:
        """Train to the last step and return its number; the model then holds what comes out.

        Raises:
            UserError: The loss is no number any more, or a file cannot be read or written.
            KeyboardInterrupt: Ctrl-C, once everything is saved.
            Terminated: SIGTERM, likewise.
        """
        self.model.to(self.processes.device).train()
        optimisers = self._optimisers()
        average = Average(self.model, self.training.average)
        step = self._resume(optimisers, average)
        forward = self.processes.joined(self._compiled())
        with (
            divided_cores(self._n_threads) as cores,
            reporting(self, step) as report,
            noticed_interrupts() as interrupts,
        ):
            gradients = Gradients(forward, self.model, cores)
            if step == 0:
                self._measure(0, average, cores)
            is_done = self._is_done(step, average, cores)
            while step < self.training.n_steps and not is_done:
                batch = self.source.draw(step)
                done = self._update(gradients, optimisers, batch, step, interrupts.pressed)
                step += 1
                average.add(step)
                report(step, batch, done)
                self._measure(step, average, cores)
                is_done = self._is_done(step, average, cores)
                self._save(optimisers, average, step, now=done.interrupted or is_done)
                if done.interrupted:
                    raise interrupts.error
        if self._is_noted(interrupts):  # in the last step, or in the look that ended it
            raise interrupts.error
        self.model.load_state_dict(average.model.state_dict())
        self.model.eval()
        return step

    def _update(
        self,
        gradients: Gradients,
        optimisers: Sequence[Rated],
        batch: Batch,
        step: int,
        pressed: bool,
    ) -> Update:
        training = self.training
        prompt = Prompt(self.processes.share(batch.xs), self.processes.share(batch.ys))
        with explained_compiler():
            predictions = gradients.add(
                prompt, self._targets(batch, step), self._objective, autocast=self._autocast
            )
        for term in self.of_weights:
            term().backward()
        loss = (predictions - prompt.ys).square().mean()
        norm = nn.utils.clip_grad_norm_(self.model.parameters(), training.max_gradient_norm)
        # One transfer, and the same decision in every process.
        news = torch.stack((loss, norm, norm.new_tensor(float(pressed))))
        mean_loss, mean_norm, share_pressed = self.processes.mean(news).tolist()
        if not math.isfinite(mean_loss) or not math.isfinite(mean_norm):
            raise self._diverged(step, mean_loss)
        scale = rate_scale(
            training.schedule,
            step,
            n_steps=training.n_steps,
            n_warmup_steps=training.n_warmup_steps,
        )
        gradients.cores.map(lambda rated: update(rated, scale), optimisers)
        return Update(mean_loss, predictions, share_pressed > 0)

    def _is_noted(self, interrupts: Interrupts) -> bool:
        """Tell whether an interrupt came in any of the processes; all of them ask at once."""
        pressed = torch.tensor(float(interrupts.pressed), device=self.processes.device)
        return float(self.processes.mean(pressed)) > 0

    def _targets(self, batch: Batch, step: int) -> Tensor:
        targets = self.source.targets
        found = batch.ys if targets is None else targets(step, batch).to(batch.ys.dtype)
        shared: Tensor = self.processes.share(found)
        return shared

    def _objective(self, prompt: Prompt, targets: Tensor, predictions: Tensor) -> Tensor:
        loss = (predictions - targets).square().mean()
        for term in self.of_predictions:
            loss = loss + term(prompt, predictions)
        return loss

    def _autocast(self) -> AbstractContextManager[object]:
        in_bf16 = self.training.precision == "bf16"
        kind = self.processes.device.type
        return torch.autocast(kind, torch.bfloat16) if in_bf16 else nullcontext()

    @property
    def _n_threads(self) -> int | None:
        """One where something else divides the work: a GPU, other processes, the compiler."""
        alone = self.processes.device.type == "cpu" and self.processes.n == 1
        return None if alone and not self.training.compile else 1

    def excess(self, step: int, batch: Batch, predictions: Tensor) -> float:
        """Return by how much this process's loss is above that of the Bayes predictor."""
        assert self.source.bayes is not None
        ys = self.processes.share(batch.ys).double()
        exact = self.processes.share(self.source.bayes(step, batch))
        gap = (predictions.double() - ys).square() - (exact - ys).square()
        return float(gap.mean())

    def _compiled(self) -> nn.Module:
        if not self.training.compile:
            return self.model
        return cast("nn.Module", torch.compile(self.model))

    def _optimisers(self) -> list[Rated]:
        training = self.training
        return make_optimisers(
            self.model,
            training.optimiser,
            learning_rate=training.learning_rate,
            muon_learning_rate=training.muon_learning_rate,
            weight_decay=training.weight_decay,
            betas=training.betas,
        )

    def _resume(self, optimisers: Sequence[Rated], average: Average) -> int:
        path = self.running.checkpoint
        if path is None:
            return 0
        return load_state(
            path, self.model, optimisers, identity=self.identity, averaged=average.kept
        )

    def _measure(self, step: int, average: Average, cores: Cores) -> None:
        running = self.running
        if self.processes.rank == 0 and running.measure and step in running.measure_at:
            with average.evaluated(), cores.undivided():
                running.measure(step, average.model)

    def _is_done(self, step: int, average: Average, cores: Cores) -> bool:
        if self.is_done is None or step == 0 or step % self.training.check_every:
            return False
        with average.evaluated(), cores.undivided():
            return self.is_done(step, average.model)

    def _save(self, optimisers: Sequence[Rated], average: Average, step: int, *, now: bool) -> None:
        path = self.running.checkpoint
        due = step % self.training.save_every == 0 or step == self.training.n_steps
        if path is None or not (due or now):
            return
        # An update by an enormous rate can spoil the weights after a loss that was fine.
        if not all(bool(weight.isfinite().all()) for weight in self.model.parameters()):
            raise self._diverged(step, math.nan)
        if self.processes.rank == 0:
            save_state(
                path,
                self.model,
                optimisers,
                step=step,
                identity=self.identity,
                averaged=average.kept,
            )
        self.processes.wait()

    def _diverged(self, step: int, loss: float) -> UserError:
        path = self.running.checkpoint
        kept = "Nothing was saved before."
        if path is not None and path.exists():
            kept = f"The last good state, of step {saved_step(path)}, is kept in '{path}'."
        return UserError(
            f"The training diverged at step {step}: the loss is {loss:g} or its gradient is not "
            f"finite. {kept}",
            hint="Try a lower learning_rate (or muon_learning_rate), or a longer warm-up.",
        )


@contextmanager
def explained_compiler() -> Iterator[None]:
    """Turn an error of PyTorch's compiler into a :class:`UserError`."""
    try:
        yield
    except RuntimeError as error:
        if not type(error).__module__.startswith(("torch._dynamo", "torch._inductor")):
            raise
        raise UserError(
            f"The model could not be compiled: {str(error).splitlines()[0]}",
            hint="Install a C++ compiler such as g++, or train without 'compile'.",
        ) from error


@contextmanager
def reporting(loop: Loop, step: int) -> Iterator[Callable[[int, Batch, Update], None]]:
    """Give what tells the progress bar and TensorBoard of every update, in the first process."""
    running = loop.running
    wanted = loop.processes.rank == 0 and (running.on_progress or running.tensorboard)
    board = Board(running.tensorboard, step=step) if wanted and running.tensorboard else None
    clock = Clock(loop.training.n_steps)
    excess: float | None = None

    def report(step: int, batch: Batch, done: Update) -> None:
        nonlocal excess
        if not wanted:
            return
        if loop.source.bayes is not None and step % STEPS_BETWEEN_EXCESSES == 1:
            excess = loop.excess(step - 1, batch, done.predictions)
        progress = clock.progress(step, done.loss, excess)
        if running.on_progress is not None:
            running.on_progress(progress)
        if board is not None:
            board.write(progress)

    try:
        yield report
    finally:
        if board is not None:
            board.close()
