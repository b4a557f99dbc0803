"""vLLM's engine as a source of tokens, shared by the models that have the same weights."""

from __future__ import annotations

import os
from collections.abc import Generator, Sequence
from typing import Any, NamedTuple

from palimpsest.errors import from_extra
from palimpsest.lm.models.sampling import Sampling
from palimpsest.lm.models.vllm.options import VllmOptions

_QUIET = {
    "VLLM_NO_USAGE_STATS": "1",
    "DO_NOT_TRACK": "1",
    # The engine works in this process: it ends with it, and a script needs no main guard.
    "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
    "VLLM_CONFIGURE_LOGGING": "0",
    "VLLM_HOST_IP": "127.0.0.1",
}
"""Environment of vLLM, unless the user says otherwise: nothing is sent anywhere."""

_ON_CPU = {"VLLM_CPU_OMP_THREADS_BIND": "nobind", "VLLM_CPU_KVCACHE_SPACE": "1"}

_RANKS = (8, 16, 32, 64, 128, 256, 320, 512)
"""Largest ranks of an adapter that vLLM can be told."""

_N_LOGPROBS = 100
"""Likeliest tokens that may be asked for at most."""


class Request(NamedTuple):
    """A prompt that is to be continued, or read."""

    name: str
    tokens: Sequence[int]
    n_new: int
    """How many new tokens at most."""
    n_next: int | None = None
    """How many of the likeliest first tokens to tell, if any."""
    n_read: int | None = None
    """How many of the likeliest tokens to tell at each place of the prompt, its own aside."""
    sampling: Sampling | None = None
    """How its tokens are drawn; by default they are the likeliest ones."""


class Heard(NamedTuple):
    """What has come of a request since it was last heard of."""

    name: str
    new: list[int]
    first: dict[int, float]
    """Natural-log probabilities of the likeliest first tokens, where asked for."""
    read: list[dict[int, float]]
    """The same for each token of the prompt, with its own, where asked for; the first has none."""
    ended: bool


class SharedEngine:
    """An engine that is started with the first question and stopped when nobody needs it.

    Args:
        folder: Of the checkpoint.
        tokenizer: Folder of the tokenizer.
        dtype: torch's name of it.
        device: ``cpu`` or ``cuda``.
        options: Of the model that came first.
    """

    def __init__(
        self, folder: str, tokenizer: str, *, dtype: str, device: str, options: VllmOptions
    ) -> None:
        self._folder = folder
        self._tokenizer = tokenizer
        self._dtype = dtype
        self._device = device
        self._options = options
        self._users: dict[int, None] = {}
        self._ranks: dict[str, int] = {}
        self._llm: Any = None

    def join(self, user: object, *, adapter: str | None, rank: int) -> None:
        """Count a model among those that need the engine; its adapter is to be known beforehand."""
        self._users[id(user)] = None
        if adapter is not None:
            self._ranks.setdefault(adapter, rank)

    def leave(self, user: object) -> None:
        """Stop the engine if that was the last model that needs it."""
        self._users.pop(id(user), None)
        if not self._users and self._llm is not None:
            self._llm.llm_engine.engine_core.shutdown()
            self._llm = None

    @property
    def reads_prompts(self) -> bool:
        """Whether it can say how likely a prompt's tokens are.

        On a CPU, vLLM 0.32 dies of that where adapters are enabled, also for the base alone.
        """
        return self._device != "cpu" or not self._ranks

    def run(
        self, requests: Sequence[Request], *, adapter: str | None
    ) -> Generator[Heard, bool | None]:
        """Yield what comes of the requests until they have ended or the caller stops.

        ``send(True)`` ends early the request that was just told of.
        """
        from vllm import SamplingParams
        from vllm.lora.request import LoRARequest
        from vllm.sampling_params import RequestOutputKind

        self.start()
        engine = self._llm.llm_engine
        names = list(self._ranks)
        lora = None
        if adapter is not None:
            lora = LoRARequest(adapter, names.index(adapter) + 1, adapter)
        open_names: dict[str, None] = {}
        for each in requests:
            params = SamplingParams(
                **_drawn(each),
                max_tokens=max(1, each.n_new),
                logprobs=each.n_next,
                prompt_logprobs=each.n_read,
                detokenize=False,
                output_kind=RequestOutputKind.DELTA,
            )
            prompt = {"prompt_token_ids": list(each.tokens)}
            engine.add_request(each.name, prompt, params, lora_request=lora)
            open_names[each.name] = None
        try:
            while open_names:
                for output in engine.step():
                    if output.request_id not in open_names:
                        continue
                    if output.finished:
                        del open_names[output.request_id]
                    stop = yield _progress(output)
                    if stop and output.request_id in open_names:
                        del open_names[output.request_id]
                        engine.abort_request([output.request_id])
        finally:
            if open_names:
                engine.abort_request(list(open_names))

    def start(self) -> None:
        """Load the weights, if they are not there."""
        if self._llm is None:
            self._llm = self._open()

    def _open(self) -> Any:
        for name, value in {**_QUIET, **(_ON_CPU if self._device == "cpu" else {})}.items():
            os.environ.setdefault(name, value)
        with from_extra("Models by vLLM", package="vllm", extra="vllm"):
            from vllm import LLM
        options = self._options
        given = {
            "gpu_memory_utilization": options.gpu_memory_utilization,
            "max_model_len": options.max_model_len,
            "max_num_seqs": options.max_num_seqs,
            "quantization": options.quantization,
        }
        if self._ranks:
            rank = max(self._ranks.values())
            largest = next((each for each in _RANKS if each >= rank), rank)
            given |= {"enable_lora": True, "max_loras": 1, "max_lora_rank": largest}
        return LLM(
            model=self._folder,
            tokenizer=self._tokenizer,
            dtype=self._dtype,
            tensor_parallel_size=options.tensor_parallel_size,
            enforce_eager=options.enforce_eager or self._device == "cpu",
            enable_prefix_caching=True,
            max_logprobs=_N_LOGPROBS,
            seed=0,
            disable_log_stats=True,
            **{name: value for name, value in given.items() if value is not None},
        )


def _drawn(request: Request) -> dict[str, Any]:
    """Return how vLLM is to choose the tokens of a request."""
    how = request.sampling
    if how is None:
        return {"temperature": 0.0}
    seed = how.seed_of(request.tokens)
    return {"temperature": how.temperature, "top_p": how.top_p, "seed": seed}


def _progress(output: Any) -> Heard:
    [answer] = output.outputs
    first = answer.logprobs[0] if answer.logprobs else {}
    return Heard(
        output.request_id,
        list(answer.token_ids),
        {token: each.logprob for token, each in first.items()},
        [
            {token: each.logprob for token, each in (place or {}).items()}
            for place in output.prompt_logprobs or []
        ],
        bool(output.finished),
    )
