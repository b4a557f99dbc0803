"""Members made from files: on several cores, in little memory, whatever the pieces."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from tests.families.pairs import save_pair

from palimpsest.families import Family
from palimpsest.families.member import SMALL_SIDE, LoadedPair
from palimpsest.families.mixing import mix_all, mixed
from palimpsest.families.one_core import one_blas_core
from palimpsest.families.spectral import SpectralDenoising, gram, spectrum_of


@pytest.mark.slow
@pytest.mark.parametrize("spec", ["interpolate:0.3", "dare:0.5", "ties:0.4", "dg-hard|lines:0.2"])
def test_several_cores_make_the_same_tensors(spec: str, tmp_path: Path) -> None:
    family = Family(*map(str, save_pair(tmp_path)))
    [member] = family.members([spec])
    tensors = family.tensors(member)
    expected = {
        (name, first): rows.clone() for name, first, rows in mixed(member, tensors, family.config)
    }
    found = {}

    def put(matched: object, first: int, rows: torch.Tensor) -> None:
        found[matched.name, first] = rows.clone()  # type: ignore[attr-defined]

    mix_all(member, tensors, family.config, put, n_threads=3)
    assert found.keys() == expected.keys()
    for key, rows in found.items():
        assert torch.equal(rows, expected[key]), key


def test_an_error_in_one_thread_ends_the_others(tmp_path: Path) -> None:
    family = Family(*map(str, save_pair(tmp_path)))
    [member] = family.members(["interpolate:0.3"])
    n_put = 0

    def put(matched: object, first: int, rows: torch.Tensor) -> None:
        nonlocal n_put
        n_put += 1
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        mix_all(member, family.tensors(member), family.config, put, n_threads=2)
    assert n_put <= 2


def test_scipy_computes_on_one_core_inside_and_as_before_outside() -> None:
    from palimpsest.families.one_core import _openblas

    library = _openblas()
    if library is None:
        pytest.skip("scipy was built with another library than OpenBLAS")
    before = library.scipy_openblas_get_num_threads()
    with one_blas_core():
        with one_blas_core():
            assert library.scipy_openblas_get_num_threads() == 1
        assert library.scipy_openblas_get_num_threads() == 1
    assert library.scipy_openblas_get_num_threads() == before


@pytest.mark.slow
def test_clustered_singular_values_get_orthogonal_vectors() -> None:
    # Equal singular values are what inverse iteration is bad at.
    generator = torch.Generator().manual_seed(0)
    q, _ = torch.linalg.qr(torch.randn(200, 200, generator=generator, dtype=torch.float64))
    values = torch.cat([torch.full((60,), 5.0), torch.linspace(0.9, 1.1, 140)]).double()
    change = (q * values) @ torch.linalg.qr(torch.randn(200, 200, dtype=torch.float64))[0]
    spectrum = spectrum_of(gram(LoadedPair("x", torch.zeros(200, 200), change.float(), {})))
    vectors = spectrum.above(2.5).double()
    assert vectors.shape == (200, 60)
    torch.testing.assert_close(vectors.T @ vectors, torch.eye(60).double(), atol=1e-6, rtol=0)


def test_the_time_of_the_spectral_member_is_told_beforehand() -> None:
    member = SpectralDenoising()
    small, large = (member.expected_seconds([(n, n)] * 10) for n in (256, 4096))
    assert 0 < small < large
    assert member.expected_seconds([(5,), (10, 10)]) == 0


MEMORY = """
import re, sys, threading
from pathlib import Path
from palimpsest.families import Family

def private():
    text = Path("/proc/self/smaps_rollup").read_text()
    return sum(int(n) for n in re.findall(r"Private_(?:Clean|Dirty): +(\\d+) kB", text)) * 1024

base, tuned, spec, out = sys.argv[1:]
family = Family(base, tuned)
[member] = family.members([spec])
family.write(family.members(["only:norms|" + spec])[0], Path(out + "-warm"))
before, most = private(), 0
done = threading.Event()

def watch():
    global most
    while not done.wait(0.002):
        most = max(most, private())

watcher = threading.Thread(target=watch)
watcher.start()
family.write(member, Path(out))
done.set()
watcher.join()
print(most - before)
"""


@pytest.mark.slow
@pytest.mark.parametrize("spec", ["interpolate:0.5", "ties:0.2", "dare:0.5", "dg-hard"])
def test_memory_does_not_grow_with_the_model(spec: str, tmp_path: Path) -> None:
    # The largest tensor has 160 MB; in float32, three copies of it would break the bound.
    base, tuned = save_pair(tmp_path)
    for seed, folder in enumerate((base, tuned)):
        generator = torch.Generator().manual_seed(seed)
        from safetensors.torch import load_file

        weights = load_file(folder / "model.safetensors")
        large = torch.randn(160_000, 500, generator=generator).bfloat16()
        weights["model.layers.0.mlp.adapter.weight"] = large
        weights |= {
            f"model.layers.0.mlp.other_{n}.weight": large[: 2000 * 20].clone() for n in range(4)
        }
        save_file(weights, folder / "model.safetensors", {"format": "pt"})
    largest = 160_000 * 500 * 2
    done = subprocess.run(
        [sys.executable, "-c", MEMORY, str(base), str(tuned), spec, str(tmp_path / "out")],
        check=True, capture_output=True, text=True, timeout=600,
    )  # fmt: skip
    assert int(done.stdout) < 2 * largest + 200e6
    if spec == "interpolate:0.5":  # a few buffers
        assert int(done.stdout) < 40e6


def test_a_matrix_larger_than_the_limit_has_all_cores() -> None:
    from palimpsest.families.mixing import _is_large
    from palimpsest.lm.models.huggingface import StoredTensor

    def of(*shape: int) -> object:
        place = StoredTensor("x", shape, torch.float32, Path("x"), 0)
        return type("Matched", (), {"place": place})()

    assert _is_large(of(SMALL_SIDE + 1, 5000))  # type: ignore[arg-type]
    assert not _is_large(of(SMALL_SIDE, 500_000))  # type: ignore[arg-type]
    assert not _is_large(of(500_000))  # type: ignore[arg-type]
