"""Laws that every member in the registry keeps."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import pytest
import torch

from palimpsest.families import MEMBERS, Member, MemberChain, parse_members

CONFIG = {"num_hidden_layers": 4}
NAMES = [
    "model.embed_tokens.weight",
    "model.layers.0.self_attn.q_proj.weight",
    "model.layers.2.mlp.down_proj.weight",
    "model.layers.3.input_layernorm.weight",
    "model.norm.weight",
    "lm_head.weight",
]
KINDS = [MEMBERS.get(name) for name in MEMBERS]
ALL_OF_IT = [kind.everything for kind in KINDS if kind.everything]
CHAINS = ["dg-hard|interpolate:0.7", "ties:0.5|only:mlp", "only:attention|lines:0.5|dare:0.9"]
EVERY = [*(spec for kind in KINDS for spec in kind.examples), *CHAINS]


def member_of(spec: str) -> Member:
    [member] = parse_members([spec])
    return member


def pair_of(
    name: str = NAMES[1], shape: tuple[int, ...] = (48, 64)
) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(len(name))
    base = torch.randn(shape, generator=generator)
    change = 0.1 * torch.randn(shape, generator=generator)
    if len(shape) == 2:  # something besides noise
        rows, columns = (torch.randn(size, 2, generator=generator) for size in shape)
        change += rows @ columns.T
    return base, base + change


@dataclass(frozen=True)
class InPieces:
    """A pair that is given a few rows at a time."""

    name: str
    base: torch.Tensor
    tuned: torch.Tensor
    n_together: int
    config: Mapping[str, Any]

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(self.base.shape)

    def pieces(self) -> Iterator[tuple[int, torch.Tensor, torch.Tensor]]:
        for first in range(0, len(self.base), self.n_together):
            rows = slice(first, first + self.n_together)
            yield first, self.base[rows].clone(), self.tuned[rows].clone()


def test_every_kind_of_member_is_held_to_the_laws() -> None:
    for name, kind in zip(MEMBERS, KINDS, strict=True):
        assert kind.name == name
        assert bool(kind.examples) == (name not in ("checkpoints", "healing"))  # need a folder
        assert {member_of(spec).name for spec in kind.examples} <= {name}


@pytest.mark.parametrize("spec", EVERY)
def test_without_a_change_there_is_the_base(spec: str) -> None:
    base, _ = pair_of()
    assert torch.equal(member_of(spec).tensor(base, base, NAMES[1], CONFIG), base)


@pytest.mark.parametrize("spec", ALL_OF_IT)
@pytest.mark.parametrize("name", NAMES)
def test_all_of_the_change_gives_the_tuned_model_to_the_bit(spec: str, name: str) -> None:
    base, tuned = pair_of(name)
    assert torch.equal(member_of(spec).tensor(base, tuned, name, CONFIG), tuned)


@pytest.mark.parametrize("spec", EVERY)
def test_what_is_given_stays_as_it_is(spec: str) -> None:
    base, tuned = pair_of()
    before = base.clone(), tuned.clone()
    member_of(spec).tensor(base, tuned, NAMES[1], CONFIG)
    assert torch.equal(base, before[0])
    assert torch.equal(tuned, before[1])


@pytest.mark.parametrize("spec", EVERY)
@pytest.mark.parametrize("shape", [(48, 64), (64, 48), (60,)])
@pytest.mark.parametrize("n_together", [1, 7])
def test_pieces_of_any_size_give_the_same_tensor(
    spec: str, shape: tuple[int, ...], n_together: int
) -> None:
    base, tuned = pair_of(shape=shape)
    member = member_of(spec)
    pair = InPieces(NAMES[1], base, tuned, n_together, CONFIG)
    rows = member.rows(pair)
    parts = [rows(before, after, first) for first, before, after in pair.pieces()]
    whole = member.tensor(base, tuned, NAMES[1], CONFIG)
    if "dg-hard" in spec:  # products in float32, summed in another order
        torch.testing.assert_close(torch.cat(parts), whole, atol=1e-6, rtol=0)
    else:
        assert torch.equal(torch.cat(parts), whole)


@pytest.mark.parametrize("spec", EVERY)
def test_a_member_is_named_by_its_spec(spec: str) -> None:
    member = member_of(spec)
    assert member_of(member.spec) == member
    assert member_of(f" {spec.replace('|', ' | ')} ") == member


@pytest.mark.parametrize("spec", EVERY)
def test_a_member_says_what_it_does_and_who_proposed_it(spec: str) -> None:
    member = member_of(spec)
    assert member.title
    assert "W = " in member.formula or "W_ij = " in member.formula
    assert member.source
    names = {link.name for link in getattr(member, "links", [member])}
    assert ("arXiv" in member.source) == bool(names - {"base", "tuned", "only"})


def test_no_two_members_have_the_same_identity() -> None:
    found = [str(member_of(spec).identity()) for spec in EVERY]
    assert len(set(found)) == len(found)


@pytest.mark.parametrize("spec", EVERY)
def test_a_member_that_scales_multiplies_the_change_by_one_number(spec: str) -> None:
    member = member_of(spec)
    spreads = []
    for name in NAMES[1:3]:
        _, change = pair_of(name)
        zero = torch.zeros_like(change)
        once, twice = (member.tensor(zero, n * change, name, CONFIG) for n in (1, 2))
        shares = once / change
        spreads.append(float(shares.std()))
        if member.scales:
            torch.testing.assert_close(twice, 2 * once)
    # The number may be rounded otherwise in each place, by a few units in the last.
    assert (max(spreads) < 1e-6) == member.scales


@pytest.mark.parametrize("spec", EVERY)
@pytest.mark.parametrize("whole", ["lines:1", "interpolate:1", "ties:1"])
def test_a_link_that_keeps_everything_changes_nothing(spec: str, whole: str) -> None:
    base, tuned = pair_of()
    member = member_of(spec)
    expected = member.tensor(base, tuned, NAMES[1], CONFIG)
    for links in ((member, member_of(whole)), (member_of(whole), member)):
        made = MemberChain(links).tensor(base, tuned, NAMES[1], CONFIG)
        assert torch.equal(made, expected)


def test_chains_are_associative_and_shares_multiply() -> None:
    base, tuned = pair_of()
    links = [member_of(spec) for spec in ("ties:0.5", "interpolate:0.6", "interpolate:0.5")]
    made = [
        chain.tensor(base, tuned, NAMES[1], CONFIG)
        for chain in (
            MemberChain(tuple(links)),
            MemberChain((MemberChain(tuple(links[:2])), links[2])),
            MemberChain((links[0], MemberChain(tuple(links[1:])))),
        )
    ]
    for one, other in pairwise(made):
        assert torch.equal(one, other)
    short = member_of("ties:0.5|interpolate:0.3").tensor(base, tuned, NAMES[1], CONFIG)
    torch.testing.assert_close(made[0], short, atol=1e-6, rtol=0)  # rounded once more


def test_parts_of_the_change_add_up_to_all_of_it() -> None:
    for name in NAMES:
        base, tuned = pair_of(name)
        parts = [member_of(f"only:{part}") for part in ("attention", "mlp", "norms", "embeddings")]
        made = [part.tensor(base, tuned, name, CONFIG) for part in parts]
        assert sum(torch.equal(each, tuned) for each in made) == 1
        assert sum(torch.equal(each, base) for each in made) == len(parts) - 1
