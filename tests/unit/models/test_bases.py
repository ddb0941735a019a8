"""Bases and back-projection: their equations, their reach, and what they are in float32 and under autocast."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext

import numpy as np
import pytest
import torch
from torch import nn
from wald_scenes import SCENES, law_of, smooth_noise, wald_pair, worst_of_windows

from hpc_sr.errors import ShapeError
from hpc_sr.models.backproject import BackProjection
from hpc_sr.models.bases import Bicubic, Bilinear, Guided, fit_of
from hpc_sr.models.blocks import bilinear
from hpc_sr.models.filters import bicubic
from hpc_sr.sentinel2.degrade import degrade, kernel, taps_of_bands
from hpc_sr.tasks import BANDS_10M, NETWORK_UNIT, S2X, S6X, Task

TWO = ("B05", "B11")
KINDS = ("bilinear", "bicubic", "guided")
#: Training and use, where the guided base goes other ways.
MODES = pytest.mark.parametrize("mode", [nullcontext, torch.inference_mode], ids=["training", "use"])

Mode = Callable[[], AbstractContextManager[None]]


def base_of(kind: str, scale: int, law: str = "wald", rounds: int = 3, unit: float = NETWORK_UNIT) -> nn.Module:
    taps, guide_taps = (taps_of_bands(kernel(law, scale, bands, "S2A")) for bands in (TWO, BANDS_10M))
    if kind == "guided":
        return Guided(scale, taps, guide_taps, unit, rounds)
    return {"bilinear": Bilinear, "bicubic": Bicubic}[kind](scale)


def consistent(scale: int, law: str = "wald") -> BackProjection:
    return BackProjection(scale, taps_of_bands(kernel(law, scale, TWO, "S2A")))


def pair(scale: int, height: int, width: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return coarse bands and guides in DN, float64, as batches of one."""
    fine = smooth_noise(4, height * scale, width * scale, seed)
    return smooth_noise(2, height, width, seed + 100)[None], fine[None]


@pytest.mark.parametrize("scale", [2, 6])
def test_slopes_are_those_of_the_windows_weighted_covariance(scale):
    """numpy's weighted covariance of one window, with the ridge, solved by itself."""
    guides, coarse = smooth_noise(4, 48, 48, 5), smooth_noise(2, 48, 48, 6)
    fit, row, column = fit_of(scale), 21, 25
    radius = int(4 * fit.sigma_px + 0.5)
    taps = np.exp(-0.5 * (np.arange(-radius, radius + 1) / fit.sigma_px) ** 2)
    window = (..., slice(row - radius, row + radius + 1), slice(column - radius, column + radius + 1))
    samples = torch.cat((guides, coarse))[window].flatten(1).numpy()
    covariance = np.cov(samples, aweights=np.outer(taps, taps).ravel(), ddof=0)
    loaded = covariance[:4, :4] + np.eye(4) * (fit.ridge * np.trace(covariance[:4, :4]) / 4 + 1)
    expected = np.linalg.solve(loaded, covariance[:4, 4:])
    found = base_of("guided", scale, unit=1.0).slopes(coarse[None], guides[None])
    np.testing.assert_allclose([each[0, :, row, column].numpy() for each in found], expected, rtol=1e-9)


def test_interpolations_are_the_projects():
    coarse, guides = pair(2, 12, 18, 1)
    assert torch.equal(base_of("bilinear", 2)(coarse, guides), bilinear(coarse, 2))
    assert torch.equal(base_of("bicubic", 2)(coarse, guides), bicubic(coarse, 2))


@pytest.mark.parametrize("law", ["wald", "mtf"])
@pytest.mark.parametrize("scale", [2, 6])
def test_a_corrected_estimate_is_consistent(scale, law):
    coarse, guides = pair(scale, 24, 30, 2)
    corrected = consistent(scale, law)(base_of("guided", scale, law, rounds=0, unit=1.0)(coarse, guides), coarse)
    known = kernel(law, scale, TWO, "S2A")
    np.testing.assert_allclose(degrade(corrected[0].numpy(), known), coarse[0].numpy(), rtol=0, atol=1e-5)
    torch.testing.assert_close(consistent(scale, law)(corrected, coarse), corrected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("law", ["wald", "mtf"])
@pytest.mark.parametrize("scale", [2, 6])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("project", [False, True])
@MODES
def test_windows_with_their_reach_equal_the_whole(kind, scale, law, project, mode: Mode):
    """float64: 1e-5 DN is what the inverse leaves out. float32: the rounding of 5000 DN through all steps."""
    coarse, guides = pair(scale, 60, 54, 7)
    base, projection = base_of(kind, scale, law, rounds=int(project)), consistent(scale, law)
    assert base.reach_px % scale == projection.reach_px % scale == 0
    for dtype, accepted_dn in ((torch.float64, 1e-5 if project else 1e-9), (torch.float32, 0.05)):

        def sharpen(coarse: torch.Tensor, guides: torch.Tensor, dtype: torch.dtype = dtype) -> torch.Tensor:
            layers = [(x / NETWORK_UNIT).to(dtype)[None] for x in (coarse, guides)]
            with mode():
                made = base(*layers)
            return (projection(made, layers[0]) if project else made)[0] * NETWORK_UNIT

        reach = base.reach_px + project * projection.reach_px
        assert worst_of_windows(sharpen, coarse[0], guides[0], scale, reach) < accepted_dn
        if dtype == torch.float64 and not project:
            assert worst_of_windows(sharpen, coarse[0], guides[0], scale, base.reach_px - scale) > accepted_dn


@pytest.mark.parametrize("task", [S2X, S6X])
@pytest.mark.parametrize("degradation", ["wald", "mtf"])
def test_float32_is_float64_on_real_scenes(shared_data, task: Task, degradation):
    """0.1 DN is lost by nobody; 1e-3 is what we have, and 0.2 in the brightest pixel. In training and in use."""
    laws = [taps_of_bands(law_of(layer, task.scale, degradation)) for layer in (task.target.coarse, task.inputs[0])]
    base, projection = Guided(task.scale, *laws, NETWORK_UNIT), BackProjection(task.scale, laws[0])
    for scene in SCENES:
        layers = wald_pair(shared_data, scene, task, degradation)
        exact = [layers[name][None] / NETWORK_UNIT for name in (task.target.coarse.name, "x10")]
        single, wanted = [x.float() for x in exact], base(*exact)
        wanted_projected = projection(wanted, exact[0])
        made = base(*single)
        with torch.inference_mode():
            used = base(*single)
        for found, told in (
            (made, wanted),
            (used, wanted),
            (projection(made, single[0]), wanted_projected),
            (projection(used, single[0]), wanted_projected),
        ):
            assert found.dtype == torch.float32
            missed_dn = (found - told) * NETWORK_UNIT
            assert missed_dn.square().mean().sqrt() < 1e-3 and missed_dn.abs().max() < 0.2, scene


@MODES
def test_flat_bright_ground_stays_flat(mode: Mode):
    """In float32 a difference of means of squares would be off by more than the 1 DN^2 that holds slopes back."""
    noise = torch.Generator().manual_seed(0)
    guides = 18_000 + torch.randn(1, 4, 48, 48, generator=noise, dtype=torch.float64)
    coarse = 18_000 + torch.randn(1, 2, 24, 24, generator=noise, dtype=torch.float64)
    exact = base_of("guided", 2)(coarse / NETWORK_UNIT, guides / NETWORK_UNIT)
    with mode():
        single = base_of("guided", 2)((coarse / NETWORK_UNIT).float(), (guides / NETWORK_UNIT).float())
    assert ((single - exact).abs().max() * NETWORK_UNIT) < 0.02


@pytest.mark.parametrize("kind", KINDS)
@MODES
def test_autocast_the_layout_of_memory_and_the_batch_change_nothing(kind, mode: Mode):
    base, projection = base_of(kind, 2), consistent(2)
    coarse, guides = ((x / NETWORK_UNIT).float() for x in pair(2, 18, 24, 3))
    with mode():
        plain = projection(base(coarse, guides), coarse)
        with torch.autocast("cpu", torch.bfloat16):
            cast = projection(base(coarse, guides), coarse)
        assert cast.dtype == torch.float32 and torch.equal(cast, plain)
        last = [x.contiguous(memory_format=torch.channels_last) for x in (coarse, guides)]
        torch.testing.assert_close(projection(base(*last), last[0]), plain, rtol=0, atol=1e-5)
        half = projection(base(coarse, guides).bfloat16(), coarse)
        assert half.dtype == torch.float32
        two = base(*(torch.cat((x, x.flip(-2))) for x in (coarse, guides)))
        torch.testing.assert_close(two[:1], base(coarse, guides), rtol=0, atol=1e-5)
        torch.testing.assert_close(two[1:].flip(-2), base(coarse, guides), rtol=0, atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("scale", [2, 6])
def test_gradients_are_those_of_finite_differences(kind, scale):
    """Along random directions: the whole Jacobian takes a minute and shows no more."""
    base, projection = base_of(kind, scale, rounds=1, unit=1.0), consistent(scale)
    noise = torch.Generator().manual_seed(0)
    coarse, guides = (
        torch.rand(1, *shape, generator=noise, dtype=torch.float64) for shape in ((2, 2, 2), (4, 2 * scale, 2 * scale))
    )
    some = torch.rand(guides.shape, generator=noise, dtype=torch.float64)

    def along(coarse: torch.Tensor, strength: torch.Tensor) -> torch.Tensor:
        return base(coarse, guides + strength * some)

    coarse.requires_grad_()
    strength = torch.rand(1, 4, 1, 1, generator=noise, dtype=torch.float64, requires_grad=True)
    if kind == "guided":
        torch.autograd.gradcheck(along, (coarse, strength), fast_mode=True)
    torch.autograd.gradcheck(lambda coarse: projection(base(coarse, guides), coarse), coarse, fast_mode=True)


@pytest.mark.parametrize("make", [lambda: base_of("guided", 6, "mtf"), lambda: consistent(6, "mtf")])
def test_facts_are_no_weights_and_need_no_storage(make):
    plain = make()
    assert not plain.state_dict() and not list(plain.parameters())
    with torch.device("meta"):
        built = make()
        coarse, fine = torch.empty(2, 2, 4, 4), torch.empty(2, 2 if isinstance(built, BackProjection) else 4, 24, 24)
        arguments = (fine, coarse) if isinstance(built, BackProjection) else (coarse, fine)
        assert built(*arguments).shape == (2, 2, 24, 24)
    assert built.reach_px == plain.reach_px


@pytest.mark.parametrize("scale", [2, 3, 4, 6])
def test_a_window_of_the_bilinear_base_is_the_whole_images_to_the_bit(scale: int) -> None:
    coarse = smooth_noise(2, 72, 54, 3)[None].float()
    whole = bilinear(coarse, scale)
    expected = nn.functional.interpolate(coarse.double(), scale_factor=scale, mode="bilinear", align_corners=False)
    torch.testing.assert_close(whole, expected.float(), rtol=1e-6, atol=0)
    for row, column in ((1, 2), (23, 11), (41, 31)):
        window = bilinear(coarse[..., row : row + 12, column : column + 9], scale)
        inside = whole[..., row * scale : (row + 12) * scale, column * scale : (column + 9) * scale]
        assert torch.equal(window[..., scale:-scale, scale:-scale], inside[..., scale:-scale, scale:-scale])
    flat = torch.full((1, 1, 3, 3), 0.1)
    assert torch.equal(bilinear(flat, scale), torch.full((1, 1, 3 * scale, 3 * scale), 0.1))


@pytest.mark.parametrize("task", [S2X, S6X], ids=lambda task: task.name)
def test_in_use_it_is_what_it_is_in_training(task: Task) -> None:
    """In inference mode everything is done on phases: only rounding differs, and not in float64."""
    scale, bands = task.scale, task.target.bands
    laws = (taps_of_bands(kernel("mtf", scale, names, "S2A")) for names in (bands, BANDS_10M))
    base, noise = Guided(scale, *laws, dn_per_unit=1.0), torch.Generator().manual_seed(3)
    coarse = 3000 + 500 * torch.randn(1, len(bands), 20, 15, generator=noise, dtype=torch.float64)
    guides = 3000 + 500 * torch.randn(1, 4, 20 * scale, 15 * scale, generator=noise, dtype=torch.float64)
    in_training = base(coarse, guides)
    with torch.inference_mode():
        assert (base(coarse, guides) - in_training).abs().max() < 1e-8
        assert (base(coarse.float(), guides.float()) - in_training).abs().max() < 0.5  # of 500 DN of white noise
        for misfit in ((coarse, guides[..., 1:]), (coarse, guides[:, :3])):
            with pytest.raises(ShapeError):
                base(*misfit)
