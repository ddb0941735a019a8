"""The autoencoder of EnlightenGAN: its sizes and layers, how far it looks, and variances that are those of its maps."""

from __future__ import annotations

import pytest
import torch
from made_networks import network
from torch import nn

from hpc_sr.errors import RecipeError
from hpc_sr.export.graphs import capture
from hpc_sr.export.onnx_file import output_names
from hpc_sr.models.autoencoder import PLACES, Autoencoder, Encoder
from hpc_sr.models.build import build_generator, count_parameters
from hpc_sr.models.facts import Facts
from hpc_sr.models.options import parse_model
from hpc_sr.models.vgg import places
from hpc_sr.tasks import AUTOENCODE, TASKS, Units

OPTIONS = parse_model({"family": "autoencoder", "width": 2}, "a test")


def small() -> Autoencoder:
    found = network(OPTIONS, AUTOENCODE, Facts(32, Units.of("8 bit")))
    assert isinstance(found, Autoencoder)
    return found


def measured(rank: int = 0, ranks: int = 1) -> tuple[Encoder, list[torch.Tensor]]:
    """Return an encoder whose variances are those of six pictures, and the pictures; of ranks the sums are faked."""
    encoder, pictures = small().encoder, [*torch.rand(6, 1, 3, 48, 32, generator=torch.Generator().manual_seed(3))]
    shares = [pictures[k::ranks] for k in range(ranks)]
    heard: list = []
    for share in shares:  # what each rank would put in
        encoder.measure(iter(share), lambda sums: heard.append(sums) or sums)
    encoder.measure(iter(shares[rank]), lambda sums: sum(heard))
    return encoder, pictures


def test_it_has_the_published_size_and_vgg19s_layers() -> None:
    with torch.device("meta"):  # sizes need no numbers
        generator = build_generator(parse_model({"family": "autoencoder"}, "a test"), AUTOENCODE, Facts(384))
        assert isinstance(generator, Autoencoder)
        made = generator(torch.rand(1, 3, 48, 32)).targets[0]
    assert made.shape == (1, 3, 48, 32)
    parts = [count_parameters(part) for part in (generator.encoder, generator.decoder)]
    assert (*parts, count_parameters(generator)) == (20_024_384, 20_023_875, 40_048_259)
    layers = list(generator.encoder.layers)
    found = {k: tuple(layer.weight.shape) for k, layer in enumerate(layers) if isinstance(layer, nn.Conv2d)}
    assert found == {place.number: place.shape for place in places(19).values()} and len(layers) == 36
    kinds = [isinstance(layers[place], nn.ReLU) for place in PLACES.values()]
    assert tuple(PLACES.values()) == (3, 8, 17, 34) and kinds == [True, True, True, False]
    assert not isinstance(list(generator.decoder)[-1], nn.ReLU)


def test_one_step_reaches_all_of_it() -> None:
    generator = small().train()
    generator(torch.rand(2, 3, 32, 48)).targets[0].square().mean().backward()
    assert [name for name, p in generator.named_parameters() if p.grad is None] == []


def test_it_looks_as_far_as_it_says() -> None:
    """Along a row: the fifth of a grid's sixteen places looks the farthest, its neighbours a little less far."""
    generator = small().double()
    for parameter in generator.parameters():  # nothing is cut off by a ReLU, and nothing cancels
        parameter.data.abs_().clamp_(min=0.01)
    reach = generator.reach
    farthest = {}
    for place in (0, 3, 4, 5, 11):
        picture = torch.rand(1, 3, 16, 2 * generator.halo_px + 16, dtype=torch.float64, requires_grad=True)
        generator(picture).targets[0][..., generator.halo_px + place].sum().backward()
        seen = (picture.grad[0] != 0).any(0).any(0).nonzero() - generator.halo_px - place
        farthest[place] = int(seen.abs().max())
    assert max(farthest.values()) == farthest[4] == reach.before_px + reach.after_px
    assert generator.halo_px == 272 and generator.multiple_px == 16


def test_variances_are_those_of_all_values_of_a_layer_on_any_number_of_ranks() -> None:
    encoder, pictures = measured()
    for place, found in zip(PLACES.values(), encoder.variances, strict=True):
        values = torch.cat([encoder.layers[: place + 1](picture).flatten() for picture in pictures]).double()
        assert float(found) == pytest.approx(float(values.detach().var(correction=0)), rel=1e-5)
    others = [measured(rank, 2)[0].variances for rank in (0, 1)]
    torch.testing.assert_close(others, [encoder.variances] * 2, rtol=1e-6, atol=0)


def test_features_are_divided_by_their_deviations() -> None:
    encoder, pictures = measured()
    seen = torch.cat(pictures)
    assert [float(one.detach().var(correction=0)) for one in encoder.features(seen, PLACES)] == pytest.approx(
        [1] * 4, rel=1e-4
    )
    some = encoder.features(seen, ("conv5_4", "relu1_2"))
    assert [one.shape[-1] for one in some] == [32, 2] and float(some[1].detach().min()) < 0


def test_its_pictures_need_no_size_of_their_own_in_a_graph() -> None:
    generator = small()
    run = capture(generator).module()
    picture = 255 * torch.rand(1, 3, 64, 48)
    torch.testing.assert_close(run(picture), generator.estimate(picture)[0], rtol=1e-4, atol=1e-2)


def test_a_graphs_result_is_told_from_its_input() -> None:
    assert output_names(AUTOENCODE) == ["target_estimate"]
    assert output_names(TASKS["s26x"]) == ["target20", "target60"]


def test_what_it_is_not_for_is_refused() -> None:
    with pytest.raises(RecipeError, match="family autoencoder is for x1, task sisr_x4 is x4"):
        build_generator(OPTIONS, TASKS["sisr_x4"], Facts(32))
    with pytest.raises(RecipeError, match="multiple of 16 px, the store has 40 px"):
        build_generator(OPTIONS, AUTOENCODE, Facts(40))
    with pytest.raises(RecipeError, match="family rrdb is for x4, task autoencode is x1"):
        build_generator(parse_model({"family": "rrdb"}, "a test"), AUTOENCODE, Facts(32))
