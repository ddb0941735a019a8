"""TransENet: its tokens, its layers and its decoders, by loops."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from made_networks import network
from torch import nn

from hpc_sr.errors import RecipeError, ShapeError
from hpc_sr.models.options import parse_model
from hpc_sr.models.transenet import TransENet, _Attention, _DecoderLayer, _EncoderLayer, _joined, _tokens
from hpc_sr.tasks import task_by_name

SMALL = {"width": 4, "blocks": 1, "embedding": 8, "layers": 2}


def transenet(scale: int, patch_px: int) -> TransENet:
    generator = network(
        parse_model({"family": "transenet", **SMALL}, "a test"), task_by_name(f"sisr_x{scale}"), patch_px
    )
    assert isinstance(generator, TransENet)
    return generator.double()


def slow_tokens(x: torch.Tensor) -> torch.Tensor:
    """Return the tokens (N, 64 C) of a window (C, H, W)."""
    _, height, width = x.shape
    tokens = [
        torch.stack([x[:, top + row, left + column] for row in range(8) for column in range(8)]).flatten()
        for top in range(0, height, 8)
        for left in range(0, width, 8)
    ]
    return torch.stack(tokens)


def slow_attention(part: _Attention, x: torch.Tensor, seen: torch.Tensor) -> torch.Tensor:
    query, key, value = x @ part.query.weight.T, seen @ part.key.weight.T, seen @ part.value.weight.T
    mixed = torch.empty_like(query)
    for head in range(6):
        channels = slice(32 * head, 32 * head + 32)
        for token in range(len(x)):
            alike = torch.exp((key[:, channels] @ query[token, channels]) / math.sqrt(x.shape[1]))
            mixed[token, channels] = (alike / alike.sum()) @ value[:, channels]
    return part.out(mixed)


def normed(norm: nn.LayerNorm, x: torch.Tensor) -> torch.Tensor:
    centred = x - x.mean(1, keepdim=True)
    return centred / (centred.square().mean(1, keepdim=True) + 1e-5).sqrt() * norm.weight + norm.bias


def slow_layer(part: _EncoderLayer | _DecoderLayer, x: torch.Tensor, made: torch.Tensor | None = None) -> torch.Tensor:
    inner = normed(part.first_norm, x)
    x = x + slow_attention(part.attention, inner, inner)
    if made is not None:
        x = x + slow_attention(part.across, normed(part.across_norm, x), normed(part.across_norm, made))
    first, _, last = part.feed
    inner = first(normed(part.second_norm, x))
    return x + last(inner * (1 + torch.erf(inner / math.sqrt(2))) / 2)


def test_tokens_are_patches_of_each_window() -> None:
    x = torch.randn(2, 3, 32, 48)
    tokens = _tokens(x, 16)
    assert tokens.shape == (2 * 2 * 3, 4, 64 * 3)
    for number, window in enumerate((b, top, left) for b in range(2) for top in (0, 16) for left in (0, 16, 32)):
        b, top, left = window
        assert torch.equal(tokens[number], slow_tokens(x[b, :, top : top + 16, left : left + 16]))
    assert torch.equal(_joined(tokens, x.shape, 16), x)
    assert torch.equal(_tokens(x, 48)[1], slow_tokens(x[1]))


@pytest.mark.parametrize("scale", [2, 3])
def test_the_enlarged_map_asks_the_last_stage_first_within_its_window(scale: int) -> None:
    generator = transenet(scale, 8 * scale)
    picture = torch.rand(1, 3, 16, 16, dtype=torch.float64)
    with torch.no_grad():
        features, maps = generator.first(picture - generator.mean), []
        for stage in generator.stages:
            (block,) = stage
            features = features + block.second(block.first(features).clamp(min=0))
            maps.append(features)
        maps.append(generator.upsample(features))
        wide = torch.empty(1, 4, 16 * scale, 16 * scale, dtype=torch.float64)
        for top in (0, 8):
            for left in (0, 8):
                places = [[slice(at * by, (at + 8) * by) for at in (top, left)] for by in (1, 1, 1, scale)]
                encoded = []
                for number, (seen, place) in enumerate(zip(maps, places, strict=True)):
                    tokens = slow_tokens(generator.narrow[number](seen)[0][(slice(None), *place)])
                    tokens = F.linear(tokens, generator.embed[number].weight, generator.embed[number].bias)
                    for layer in generator.encoders[number]:
                        tokens = slow_layer(layer, tokens)
                    encoded.append(tokens)
                asking = encoded[3]
                for number in (2, 1, 0):
                    asking = slow_layer(generator.decoders[number], asking, encoded[number])
                values = generator.values(asking).unflatten(1, (8, 8, -1)).unflatten(0, (scale, scale))
                patch = values.permute(4, 0, 2, 1, 3).reshape(1, -1, 8 * scale, 8 * scale)
                wide[(..., *places[3])] = generator.wide(patch)
        expected = generator.last(wide) + generator.mean
        torch.testing.assert_close(generator.picture(picture), expected)


def test_a_window_is_a_patch_and_a_patch_is_of_whole_tokens() -> None:
    generator = transenet(2, 32)
    assert generator.reach is not None and generator.reach.window_px == generator.multiple_px == 32
    assert generator.finer(torch.rand(1, 3, 8, 16, dtype=torch.float64)).shape == (1, 3, 16, 32)
    with pytest.raises(ShapeError, match="12 x 8 px is no multiple of 8 px"):
        generator.finer(torch.rand(1, 3, 12, 8, dtype=torch.float64))
    with pytest.raises(ShapeError, match="24 x 32 px is no multiple of 16 px"):
        generator.finer(torch.rand(1, 3, 24, 32, dtype=torch.float64))
    with pytest.raises(RecipeError, match="family transenet needs patches of multiples of 24 px, the store has 60 px"):
        transenet(3, 60)
