"""How fast members are made, written and asked: against cp, mergekit, and torch's decomposition.

    python -m benchmarks.families                         # without the peer mergekit
    python -m benchmarks.families --mergekit OTHER/venv   # where mergekit 0.1.5 is installed
    python -m benchmarks.families --quick --only dg-hard  # fewer rounds, one part

Interpolation, disk to disk, of a random pair of about 1 GB for each model, in float32 and in
bfloat16: `cp` copies one of the two files; the peer is mergekit's ``linear``. Each side runs in a
process of its own, whose imports are left out of the time and whose private memory is looked at
while it works. Ours is timed with what it does beyond the peers: numbers checked to be finite, all
files brought to the disk. mergekit wants an environment of its own, as it pins other releases of
transformers.

DG-Hard: matrices of a change with structure and noise, against the published formula by
``torch.linalg.svd``; one at a time, and eight at once, as they come in a model. Ranks and tensors
are asserted to be equal.

Asking: the embedded pair's suite through ten members, by ``evaluate``, against ten times the tuned
model alone.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import safe_open

from palimpsest.families import Family, parse_members
from palimpsest.families.member import LoadedPair
from palimpsest.families.spectral import gram, omega, spectrum_of, threshold
from palimpsest.judging import PLAIN, evaluate, parse_via
from palimpsest.lm.models import LanguageModel, load_model
from palimpsest.lm.suites import load_suite
from palimpsest.records import AnswerStore

ALPHA = 0.3
SHAPES = ((1536, 576), (2048, 640))
PAIRS = {"float32": (torch.float32, 16), "bfloat16": (torch.bfloat16, 36)}
"""dtype and number of layers of a pair whose files have about 1.07 GB each."""

TEN = ["base", "interpolate:0.1,0.25,0.5,0.75,0.9", "lines", "dg-hard", "ties:0.2", "dare:0.5"]

WATCHED = """
import re, sys, threading, time
from pathlib import Path

most = 0
done = threading.Event()

def watch():
    global most
    while not done.wait(0.01):
        text = Path("/proc/self/smaps_rollup").read_text()
        kinds = re.findall(r"Private_(?:Clean|Dirty): +(\\d+) kB", text)
        most = max(most, sum(map(int, kinds)) * 1024)

watcher = threading.Thread(target=watch)

def timed(work):
    watcher.start()
    started = time.perf_counter()
    work()
    seconds = time.perf_counter() - started
    done.set()
    watcher.join()
    print(f"{seconds} {most}")
"""

OURS = (
    WATCHED
    + """
from palimpsest.families import Family
base, tuned, out, alpha = sys.argv[1:]
family = Family(base, tuned)
[member] = family.members([f"interpolate:{alpha}"])
timed(lambda: family.write(member, Path(out)))
"""
)

MERGEKIT = (
    WATCHED
    + """
from mergekit.config import MergeConfiguration
from mergekit.merge import run_merge
from mergekit.options import MergeOptions
base, tuned, out, alpha = sys.argv[1:]
config = MergeConfiguration.model_validate({
    "merge_method": "linear",
    "dtype": None,
    "parameters": {"normalize": False},
    "models": [
        {"model": base, "parameters": {"weight": 1 - float(alpha)}},
        {"model": tuned, "parameters": {"weight": float(alpha)}},
    ],
})
options = MergeOptions(copy_tokenizer=True, lazy_unpickle=True, quiet=True, write_model_card=False)
timed(lambda: run_merge(config, out, options))
"""
)


def save_random_pair(folder: Path, dtype: torch.dtype, n_layers: int) -> tuple[Path, Path]:
    """Write a random Llama, and the same with noise on it."""
    from transformers import LlamaConfig, LlamaForCausalLM

    from palimpsest.rosetta import train_tokenizer

    tokenizer = train_tokenizer(["a few words for a tokenizer"] * 5, n_tokens=300)
    tokenizer.add_tokens([f"<{index}>" for index in range(len(tokenizer), 32_000)])
    config = LlamaConfig(
        vocab_size=32_000,
        hidden_size=1024,
        intermediate_size=2816,
        num_hidden_layers=n_layers,
        num_attention_heads=16,
    )
    torch.manual_seed(0)
    network: Any = LlamaForCausalLM(config)
    network = network.to(dtype)
    folders = folder / "base", folder / "tuned"
    for each in folders:
        tokenizer.save_pretrained(each)
        network.save_pretrained(each)
        with torch.no_grad():
            for parameter in network.parameters():
                parameter.add_(torch.randn_like(parameter) * 1e-3)
    return folders


def run(python: str, script: str, *words: object) -> tuple[float, float]:
    """Run a script in a process of its own; return its seconds and the most private bytes."""
    out = Path(str(words[2]))
    shutil.rmtree(out, ignore_errors=True)
    os.sync()
    done = subprocess.run(
        [python, "-c", script, *map(str, words)], check=True, capture_output=True, text=True
    )
    seconds, n_bytes = done.stdout.split()[-2:]
    return float(seconds), float(n_bytes)


def copied(source: Path, target: Path) -> float:
    """Return the seconds that `cp` takes, and remove the copy."""
    target.unlink(missing_ok=True)
    os.sync()
    started = time.perf_counter()
    subprocess.run(["cp", str(source), str(target)], check=True)
    seconds = time.perf_counter() - started
    target.unlink()
    return seconds


def farthest(made: Path, base: Path, tuned: Path) -> float:
    """Return how far a checkpoint is from the formula in float64, at most.

    The unit is 1e-6 for float32, and for bfloat16 one in the last place of the larger of the two
    numbers that are mixed: where they nearly cancel, the result has far smaller units.
    """
    most = 0.0
    with ExitStack() as stack:
        files = [stack.enter_context(safe_open(path, "pt")) for path in (made, base, tuned)]
        names: Sequence[str] = list(files[0].keys())
        for name in names:
            stored = files[0].get_tensor(name)
            found, before, after = (file.get_tensor(name).double() for file in files)
            off = (found - ((1 - ALPHA) * before + ALPHA * after)).abs()
            if stored.dtype == torch.float32:
                most = max(most, float(off.max()) / 1e-6)
            else:  # eight bits of mantissa; by powers of two
                _, exponents = torch.frexp(torch.maximum(before.abs(), after.abs()))
                most = max(most, float((off / 2.0 ** (exponents.double() - 8)).max()))
    return most


def interpolation(rounds: int, mergekit: str | None) -> None:
    """Print the times of interpolating a pair disk to disk."""
    reason = "" if mergekit else " (mergekit left out: name its environment with --mergekit)"
    print(f"interpolation, disk to disk{reason}")
    for name, (dtype, n_layers) in PAIRS.items():
        with tempfile.TemporaryDirectory() as folder:
            base, tuned = save_random_pair(Path(folder), dtype, n_layers)
            shard, out = tuned / "model.safetensors", Path(folder) / "out"
            size = shard.stat().st_size / 1e9
            copies, ours, theirs = [], [], []
            for _ in range(rounds):
                copies.append(copied(shard, Path(folder) / "copy"))
                ours.append(run(sys.executable, OURS, base, tuned, out, ALPHA))
                if mergekit:
                    python = str(Path(mergekit) / "bin" / "python")
                    peer = Path(folder) / "peer"
                    theirs.append(run(python, MERGEKIT, base, tuned, peer, ALPHA))
            unit = "1e-6" if dtype == torch.float32 else "units in the last place"
            far = farthest(out / shard.name, base / shard.name, shard)
            assert far <= 1, f"{far} {unit} from the formula in float64"
            print(f"  {name}: ours is at most {far:.2g} {unit} from the formula in float64")
            if mergekit:
                far = farthest(peer / shard.name, base / shard.name, shard)
                print(f"  {name}: mergekit's, computed in {name}, {far:.2g}")
            cp = statistics.median(copies)
            show(f"{name}, {size:.2f} GB: cp", cp, None)
            show("ours", *medians(ours), cp=cp)
            if theirs:
                seconds, n_bytes = medians(theirs)
                show("mergekit linear", seconds, n_bytes, cp=cp)
                print(f"    ours is {seconds / medians(ours)[0]:.1f} times as fast (goal 7)")
    print()


def medians(runs: Sequence[tuple[float, float]]) -> tuple[float, float]:
    """Return the median seconds, and the most private memory of all runs."""
    return statistics.median(run[0] for run in runs), max(run[1] for run in runs)


def show(what: str, seconds: float, n_bytes: float | None, *, cp: float | None = None) -> None:
    """Print a line."""
    memory = "" if n_bytes is None else f"  {n_bytes / 1e6:6,.0f} MB private"
    ratio = "" if cp is None else f"  {seconds / cp:5.2f} times cp"
    print(f"  {what:32}{seconds:8.2f} s{ratio}{memory}", flush=True)


def published(base: torch.Tensor, tuned: torch.Tensor) -> tuple[torch.Tensor, int]:
    """Return what DG-Hard's formula gives by a full decomposition, and the rank."""
    u, s, v = torch.linalg.svd(tuned - base, full_matrices=False)
    least = omega(min(base.shape) / max(base.shape)) * float(np.median(s.numpy()))
    rank = int((s > least).sum())
    return base + (u[:, :rank] * s[:rank]) @ v[:rank], rank


def random_change(shape: tuple[int, int], seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return a matrix, and the same with a change of decaying spectrum and noise."""
    generator = torch.Generator().manual_seed(seed)
    base = 0.02 * torch.randn(shape, generator=generator)
    n = min(shape) // 3
    rows, columns = (torch.randn(size, n, generator=generator) for size in shape)
    change = 1e-4 * torch.randn(shape, generator=generator)
    change += 2e-5 * (rows * torch.logspace(0, -1, n)) @ columns.T
    return base, base + change


def best(work: Callable[[], object], rounds: int) -> float:
    """Return the median of the seconds of some rounds."""
    found = []
    for _ in range(rounds):
        started = time.perf_counter()
        work()
        found.append(time.perf_counter() - started)
    return statistics.median(found)


def decompositions(rounds: int) -> None:
    """Print the times of DG-Hard's arithmetic."""
    from concurrent.futures import ThreadPoolExecutor

    from palimpsest.lm.models.huggingface import one_core_threads

    [member] = parse_members(["dg-hard"])
    print("dg-hard, against torch.linalg.svd")
    n_threads = torch.get_num_threads()
    for shape in SHAPES:
        matrices = [random_change(shape, seed) for seed in range(8)]
        for base, tuned in matrices:
            expected, rank = published(base, tuned)
            made = member.tensor(base, tuned)
            spectrum = spectrum_of(gram(LoadedPair("", base, tuned, {})))
            kept = spectrum.above(threshold(spectrum.values, shape)).shape[1]
            assert kept == rank, f"{kept} singular values kept, and {rank} by the formula"
            assert float((made - expected).abs().max()) < 1e-5
        theirs = best(lambda: published(*matrices[0]), rounds)  # noqa: B023
        ours = best(lambda: member.tensor(*matrices[0]), rounds)  # noqa: B023

        def eight(pool: ThreadPoolExecutor) -> None:
            list(pool.map(lambda pair: member.tensor(*pair), matrices))  # noqa: B023

        with one_core_threads(n_threads) as pool:
            at_once = best(lambda: eight(pool), rounds) / len(matrices)
        print(
            f"  {shape[0]} × {shape[1]}, {rank} of {min(shape)} kept: svd {1e3 * theirs:.0f} ms, "
            f"ours {1e3 * ours:.0f} ms ({theirs / ours:.1f} times as fast; goal 2), of eight on "
            f"{n_threads} cores {1e3 * at_once:.0f} ms each ({theirs / at_once:.1f} times)",
            flush=True,
        )
    print()


def asking(rounds: int, n: int) -> None:
    """Print the times of asking ten members and one model ten times."""
    suite = load_suite(f"rosetta:n={n}")
    vias = [parse_via(PLAIN, suite)]
    shares = []
    for _ in range(rounds):
        family = Family("rosetta:base", "rosetta:tuned")
        members = family.members(TEN)
        assert len(members) == 10
        together = sum(timed_answers(family.model(each), suite, vias) for each in members)
        tuned = load_model("rosetta:tuned")
        alone = timed_answers(tuned, suite, vias)
        shares.append(together / (10 * alone))
        loads = family.n_loaded
    print(f"asking ten members of Rosetta, {len(suite.examples)} questions each")
    print(
        f"  {statistics.median(shares):.2f} times ten times one model's asking "
        f"({min(shares):.2f} to {max(shares):.2f}; goal 1.3); transformers' network loaded "
        f"{loads} times, as the fused form serves it"
    )


def timed_answers(model: LanguageModel, suite: Any, vias: Any) -> float:
    """Return the seconds of asking a model everything, weights and all."""
    with tempfile.TemporaryDirectory() as folder:
        store = AnswerStore(Path(folder) / "answers.sqlite")
        started = time.perf_counter()
        evaluate(model, suite, vias, store=store, role="tuned")
        seconds = time.perf_counter() - started
        store.close()
        return seconds


def main() -> None:
    """Print all tables."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="one round of each")
    parser.add_argument("--only", choices=["interpolation", "dg-hard", "asking"])
    parser.add_argument("--mergekit", metavar="VENV", help="where mergekit 0.1.5 is installed")
    options = parser.parse_args()
    rounds = 1 if options.quick else 5
    print(
        json.dumps(
            {
                "torch": torch.__version__,
                "threads": torch.get_num_threads(),
                "load": round(os.getloadavg()[0], 1),
            }
        )
    )
    parts: dict[str, Callable[[], None]] = {
        "interpolation": lambda: interpolation(rounds, options.mergekit),
        "dg-hard": lambda: decompositions(2 * rounds + 1),
        "asking": lambda: asking(rounds, 20 if options.quick else 100),
    }
    for name, part in parts.items():
        if options.only in (None, name):
            part()


if __name__ == "__main__":
    main()
