from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import GPT2Config, GPT2Model

from palimpsest.errors import UserError
from palimpsest.lab.predictors.published import PublishedTransformer
from palimpsest.lab.predictors.transformer import Transformer, TransformerConfig, new_transformer
from palimpsest.lab.problem.problem import Problem

PROBLEM = Problem(n_dims=3, n_tasks=4, n_exemplars=6)
SIZES = TransformerConfig(n_dims=3, n_points=7, width=16, n_layers=2, n_heads=4)
BOTH = ("fast", "published")


def _model(architecture: str, seed: int = 0) -> Transformer:
    model = new_transformer(replace(SIZES, architecture=architecture), seed=seed)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():  # no weight stays at zero, where faults would hide
        for weight in model.parameters():
            weight.add_(torch.randn(weight.shape, generator=generator), alpha=0.2)
    return model


@pytest.mark.parametrize("architecture", BOTH)
def test_a_prediction_does_not_depend_on_its_own_y_nor_on_later_points(architecture: str) -> None:
    model, batch = _model(architecture), PROBLEM.batch("mix", 5, seed=1)
    before = model(batch.xs, batch.ys)
    for k in range(PROBLEM.n_points):
        xs, ys = batch.xs.clone(), batch.ys.clone()
        xs[:, k + 1 :] += 1.0
        ys[:, k:] -= 3.0
        after = model(xs, ys)
        # The same sums in the same order, but for how the kernels block them.
        torch.testing.assert_close(after[:, : k + 1], before[:, : k + 1], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("architecture", BOTH)
def test_a_prediction_depends_on_every_point_before_it(architecture: str) -> None:
    model, batch = _model(architecture), PROBLEM.batch("mix", 5, seed=1)
    before = model(batch.xs, batch.ys)[:, -1]
    for k in range(PROBLEM.n_points):
        xs, ys = batch.xs.clone(), batch.ys.clone()
        xs[:, k] += 1.0
        assert not torch.allclose(model(xs, ys)[:, -1], before), f"x_{k}"
        ys[:, k] -= 3.0
        is_last = k == PROBLEM.n_points - 1
        assert torch.allclose(model(batch.xs, ys)[:, -1], before) == is_last, f"y_{k}"


@pytest.mark.parametrize("architecture", BOTH)
def test_fewer_points_than_the_model_has_give_the_same_predictions(architecture: str) -> None:
    model, batch = _model(architecture), PROBLEM.batch("mix", 5, seed=1)
    whole = model(batch.xs, batch.ys)
    short = model(batch.xs[:, :4], batch.ys[:, :4])
    torch.testing.assert_close(short, whole[:, :4], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("architecture", BOTH)
def test_the_seed_alone_decides_the_first_weights_and_nothing_else_is_drawn(
    architecture: str,
) -> None:
    config = replace(SIZES, architecture=architecture)
    torch.manual_seed(5)
    a = new_transformer(config, seed=3)
    drawn = torch.rand(2)
    torch.manual_seed(5)
    assert torch.equal(torch.rand(2), drawn)
    b, other = new_transformer(config, seed=3), new_transformer(config, seed=4)
    pairs = list(zip(a.parameters(), b.parameters(), strict=True))
    assert all(torch.equal(one, two) for one, two in pairs)
    assert not all(
        torch.equal(one, two) for one, two in zip(a.parameters(), other.parameters(), strict=True)
    )


GPT2_NAMES = {
    "norm_1": "ln_1",
    "query_key_value": "attn.c_attn",
    "mix": "attn.c_proj",
    "norm_2": "ln_2",
    "up": "mlp.c_fc",
    "down": "mlp.c_proj",
}


@torch.no_grad()
def _load_gpt2(model: PublishedTransformer, weights: Mapping[str, Tensor]) -> None:
    """Take over the weights of a ``GPT2Model``, all but its token embedding."""
    state = {"positions": weights["wpe.weight"]}
    state |= {f"norm.{kind}": weights[f"ln_f.{kind}"] for kind in ("weight", "bias")}
    for index in range(model.config.n_layers):
        for ours, theirs in GPT2_NAMES.items():
            for kind in ("weight", "bias"):
                tensor = weights[f"h.{index}.{theirs}.{kind}"]
                # GPT-2 keeps its matrices as (inputs, outputs).
                turned = tensor.T if tensor.ndim == 2 else tensor
                state[f"blocks.{index}.{ours}.{kind}"] = turned
    own = dict(model.named_parameters())
    for name, tensor in state.items():
        own[name].copy_(tensor)


def test_the_published_transformer_equals_hugging_faces_gpt2_at_the_same_weights() -> None:
    model = _model("published")
    assert isinstance(model, PublishedTransformer)
    torch.manual_seed(0)
    gpt2 = GPT2Model(
        GPT2Config(
            vocab_size=1,
            n_positions=2 * SIZES.n_points,
            n_embd=SIZES.width,
            n_layer=SIZES.n_layers,
            n_head=SIZES.n_heads,
            resid_pdrop=0.0,
            embd_pdrop=0.0,
            attn_pdrop=0.0,
        )
    )
    with torch.no_grad():
        for weight in gpt2.parameters():
            weight.add_(torch.randn_like(weight), alpha=0.2)
    _load_gpt2(model, gpt2.state_dict())

    # As in the code of Garg et al.: x and (y, 0, …, 0) in turn, answers read at each x.
    batch = PROBLEM.batch("mix", 5, seed=1)
    y_vectors = torch.zeros_like(batch.xs)
    y_vectors[:, :, 0] = batch.ys
    tokens = torch.stack((batch.xs, y_vectors), 2).reshape(5, 2 * PROBLEM.n_points, 3)
    states = gpt2(inputs_embeds=model.read_in(tokens)).last_hidden_state
    expected = model.read_out(states)[:, ::2, 0]
    # float32 sums of at most 64 terms, in another order.
    torch.testing.assert_close(model(batch.xs, batch.ys), expected, rtol=1e-4, atol=1e-5)

    loss = (model(batch.xs, batch.ys) - batch.ys).square().mean()
    reference = (expected - batch.ys).square().mean()
    (ours,) = torch.autograd.grad(loss, model.get_parameter("blocks.0.up.weight"))
    (theirs,) = torch.autograd.grad(reference, gpt2.get_parameter("h.0.mlp.c_fc.weight"))
    torch.testing.assert_close(ours, theirs.T, rtol=1e-3, atol=1e-5)


def test_the_published_transformer_starts_as_gpt2_does() -> None:
    config = TransformerConfig(
        n_dims=3, n_points=7, width=256, n_layers=2, n_heads=8, architecture="published"
    )
    model = new_transformer(config, seed=0)
    weights = {name: weight.detach() for name, weight in model.named_parameters()}
    # GPT2Config.initializer_range; by 1/√(2·layers) for what is added to the residual stream.
    assert float(weights["blocks.0.up.weight"].std()) == pytest.approx(0.02, rel=0.02)
    assert float(weights["blocks.0.down.weight"].std()) == pytest.approx(0.01, rel=0.02)
    assert float(weights["blocks.0.norm_1.weight"].min()) == 1.0
    assert float(weights["blocks.0.up.bias"].abs().max()) == 0.0


def test_the_fast_transformer_has_no_biases_and_half_the_tokens() -> None:
    names = [name for name, _ in _model("fast").named_parameters()]
    assert not [name for name in names if "bias" in name or "norm" in name]
    assert _model("fast").get_parameter("positions").shape[0] == SIZES.n_points
    assert _model("published").get_parameter("positions").shape[0] == 2 * SIZES.n_points


@pytest.mark.parametrize("architecture", BOTH)
def test_numbers_of_another_type_are_predicted_in_the_models_own(architecture: str) -> None:
    batch = PROBLEM.batch("mix", 2, seed=1, dtype=torch.float64)
    assert _model(architecture)(batch.xs, batch.ys).dtype == torch.float32


def test_prompts_that_do_not_fit_are_explained() -> None:
    model = _model("fast")
    with pytest.raises(UserError, match=r"have 8 exemplars; the model has positions for 6"):
        model(torch.zeros(1, 9, 3), torch.zeros(1, 9))
    with pytest.raises(UserError, match="have 4 dimensions; the model reads 3"):
        model(torch.zeros(1, 5, 4), torch.zeros(1, 5))


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"n_dims": 0}, "n_dims is 0"),
        ({"n_layers": -1}, "n_layers is -1"),
        ({"n_heads": 3}, "3 heads do not divide a width of 16"),
        ({"architecture": "fasst"}, "Did you mean 'fast'"),
    ],
)
def test_sizes_that_cannot_be_are_refused(wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        replace(SIZES, **wrong)
