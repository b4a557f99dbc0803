"""What a computation could take at best on this machine: a roofline, an operation at a time.

Every operation of PyTorch in a call is counted: its floating-point operations where it is a matrix
product, and the bytes that it reads and writes. At best it takes the longer of the two, by the rate
of a large product and by that of a copy of as many bytes, both measured here. Operations are taken
to come one after the other, and what exponentials cost is left out: no call is faster but one that
fuses them.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry, sdpa_backward_flop_count, sdpa_flop_count

_SIZES = [2**power for power in range(12, 28, 2)]


@dataclass
class Machine:
    """What this machine does at best, on all threads that PyTorch has."""

    operations: float
    """Floating-point operations a second of a large product in float32."""
    sizes: list[int] = field(default_factory=list)
    """Bytes that a copy reads and writes."""
    rates: list[float] = field(default_factory=list)
    """Bytes a second of copies of those sizes."""

    def seconds(self, operations: float, n_bytes: float) -> float:
        """Return what an operation takes at best."""
        if not n_bytes:
            return operations / self.operations
        rate = float(np.interp(np.log2(n_bytes), np.log2(self.sizes), self.rates))
        return max(operations / self.operations, n_bytes / rate)


def machine() -> Machine:
    """Measure the machine: about a second."""
    a, b = torch.randn(2, 3072, 3072)
    found = Machine(2 * 3072**3 / _best(lambda: a @ b, 5))
    for size in _SIZES:
        source = torch.randn(size // 8)
        target = torch.empty_like(source)
        found.sizes.append(size)
        found.rates.append(size / _best(lambda s=source, t=target: t.copy_(s), 20))  # type: ignore[misc]
    return found


def at_best(run: Callable[[], object], on: Machine) -> float:
    """Return the seconds that a call takes at best; it is made once, untimed."""
    counted = _Counted(on)
    n_threads = torch.get_num_threads()
    torch.set_num_threads(1)  # else it might give parts to threads, where nothing is counted
    try:
        with counted:
            run()
    finally:
        torch.set_num_threads(n_threads)
    return counted.seconds


class _Counted(TorchDispatchMode):
    """Adds up what each operation takes at best."""

    def __init__(self, on: Machine) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._on, self.seconds = on, 0.0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        found = func(*args, **kwargs)
        if not func.is_view:
            operations = _operations(func.overloadpacket, args, kwargs, found)
            n_bytes = sum(map(_bytes_of, tree_leaves((args, kwargs, found))))
            self.seconds += self._on.seconds(operations, n_bytes)
        return found


def _operations(packet: Any, args: Any, kwargs: Any, found: Any) -> float:
    """Return the floating-point operations of a matrix product or of attention; else none."""
    if packet == torch.ops.aten._scaled_dot_product_flash_attention_for_cpu:
        return float(sdpa_flop_count(*(one.shape for one in args[:3])))
    if packet == torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward:
        return float(sdpa_backward_flop_count(*(one.shape for one in args[:4])))
    counts = flop_registry.get(packet)
    return float(counts(*args, **kwargs, out_val=found)) if counts else 0.0


def _bytes_of(value: object) -> int:
    return value.numel() * value.element_size() if isinstance(value, Tensor) else 0


def _best(run: Callable[[], object], n_times: int) -> float:
    run()
    taken = []
    for _ in range(n_times):
        start = time.perf_counter()
        run()
        taken.append(time.perf_counter() - start)
    return min(taken)
