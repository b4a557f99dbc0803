"""Ask a network in the middle of its training, and leave everything as it was."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from torch import nn


@contextmanager
def undisturbed(network: nn.Module) -> Iterator[None]:
    """Put a network into evaluation mode, and every module and generator back afterwards.

    Modes are set one by one and not by ``network.eval()``: a module may have a mode of its own,
    such as a frozen one, and some merge weights when they are told.

    Kept are the states of Python's, NumPy's and torch's generators, on the CPU and on every
    accelerator that holds a part of the network. Gradients are not touched, since nothing inside
    computes any.
    """
    modes = [(module, module.training) for module in network.modules()]
    with _same_randomness(network):
        try:
            for module, _ in modes:
                module.training = False
            yield
        finally:
            for module, training in modes:
                module.training = training


@contextmanager
def _same_randomness(network: nn.Module) -> Iterator[None]:
    python, numpy_ = random.getstate(), np.random.get_state()  # noqa: NPY002 - others use it
    try:
        with _same_torch(network):
            yield
    finally:
        random.setstate(python)
        np.random.set_state(numpy_)  # noqa: NPY002


@contextmanager
def _same_torch(network: nn.Module) -> Iterator[None]:
    devices = {parameter.device for parameter in network.parameters()}
    kinds = {device.type for device in devices} - {"cpu", "meta"}
    if kinds <= {"mps"}:  # which fork_rng does not know
        state = torch.mps.get_rng_state() if kinds else None
        try:
            with torch.random.fork_rng(devices=[]):
                yield
        finally:
            if state is not None:
                torch.mps.set_rng_state(state)
        return
    (kind,) = kinds  # one kind of accelerator a process, perhaps several of that kind
    indices = [device.index or 0 for device in devices if device.type == kind]
    with torch.random.fork_rng(devices=indices, device_type=kind):
        yield
