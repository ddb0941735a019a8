"""`hpc-sr infer`: GeoTIFFs of products, and finer pictures."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from hpc_sr.cli.arguments import Precision

if TYPE_CHECKING:
    from hpc_sr.infer.options import InferOptions
    from hpc_sr.infer.pictures.upscale import UpscaleOptions

#: Ranks wait for the slowest one's windows; where nothing was measured there is nothing to predict.
_PATIENCE_S = 24 * 3600.0


def infer(
    paths: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="RUN|PRODUCT",
            help="Products: .SAFE folders, their MTD_*.xml or zips. Before them run directories or exported folders, "
            "one of each task at most; without one ready-made weights are used.",
        ),
    ] = None,
    out: Annotated[
        Path,
        typer.Option(
            metavar="PATH",
            help="The GeoTIFF to write (.tif); or a folder, made if it is not there, for NAME.tif of each product.",
        ),
    ] = Path("sharpened"),
    method: Annotated[
        Literal["guided", "supreme", "atprk", "bicubic", "bilinear", "nearest"] | None,
        typer.Option(
            metavar="NAME",
            help="Instead of a run: a method without training, for products of any level and for --stack: guided, "
            "supreme, atprk, bicubic, bilinear, nearest.",
        ),
    ] = None,
    weights: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Instead of a run: the ready-made weights that `hpc-sr weights` lists so."),
    ] = None,
    degradation: Annotated[
        Literal["mtf", "wald"] | None,
        typer.Option(
            help="Without a run: how coarse bands are taken to follow from fine ones; mtf: by the instrument's optics; "
            "wald: as published tables do. [mtf]"
        ),
    ] = None,
    product: Annotated[
        list[Path] | None, typer.Option(metavar="SAFE ...", help="Products, instead of after the runs.")
    ] = None,
    stack: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="FILE ...",
            help="Instead of a product: GeoTIFF or JPEG 2000 files of its 10 m, 20 m and 60 m bands, many bands or one "
            "a file.",
        ),
    ] = None,
    nodata: Annotated[
        float | None,
        typer.Option(
            metavar="VALUE",
            help="With --stack: the value of missing pixels, in place of the files' own; nan: none is missing.",
        ),
    ] = None,
    image: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="PICTURE ...", help="For a run of a task sisr_* or refsr_*: PNG, JPEG or GeoTIFF of 8 or 16 bits."
        ),
    ] = None,
    reference: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="FILE ...",
            help="For a run of a task refsr_*: of each picture one that shows the same ground in the result's pixels, "
            "of another day: as many times as large, or a georeferenced file or product, which is warped there.",
        ),
    ] = None,
    tile: Annotated[
        int | None, typer.Option(metavar="PX", help="Pictures: side of the tiles, in low-resolution pixels; 96.")
    ] = None,
    overlap: Annotated[
        int | None, typer.Option(metavar="PX", help="Pictures: how far neighbouring tiles overlap; 24.")
    ] = None,
    bands: Annotated[
        Literal["all", "sharpened"], typer.Option(help="All that there is at 10 m, or only what was sharpened.")
    ] = "all",
    dtype: Annotated[
        Literal["uint16", "float32"],
        typer.Option(help="uint16: DN in the source's own convention; float32: reflectance, nodata is NaN."),
    ] = "uint16",
    format: Annotated[
        Literal["cog", "gtiff"], typer.Option(help="Cloud-optimised with overviews, or plain tiled GeoTIFF.")
    ] = "cog",
    region: Annotated[
        str | None,
        typer.Option(
            metavar="W,S,E,N", help="Only this part, in degrees; west > east: across 180. Snapped outwards to 60 m."
        ),
    ] = None,
    region_map: Annotated[
        str | None, typer.Option(metavar="L,B,R,T", help="Only this part, in metres of the product's own system.")
    ] = None,
    region_px: Annotated[
        str | None, typer.Option(metavar="ROW,COL,HEIGHT,WIDTH", help="Only this part, in 10 m pixels.")
    ] = None,
    self_ensemble: Annotated[
        bool, typer.Option("--self-ensemble", help="Mean over the eight symmetries of a square: 8 times the time.")
    ] = False,
    spread: Annotated[
        bool, typer.Option("--spread", help="With --self-ensemble: their standard deviation as further bands.")
    ] = False,
    back_project: Annotated[
        bool, typer.Option("--back-project", help="Make the result, degraded again, equal the measured bands.")
    ] = False,
    any_level: Annotated[
        bool, typer.Option("--any-level", help="Warn instead of refusing where model and product differ in level.")
    ] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace what is there.")] = False,
    check: Annotated[
        bool, typer.Option("--check", help="Degrade the result and tell how far it is from the measured bands.")
    ] = False,
    window_px: Annotated[
        int | None,
        typer.Option(
            metavar="PX",
            min=1,
            help="Side of what is kept of a window: larger ones read less twice and take memory; "
            "up to 480, as 2 GiB allow, on a GPU 960.",
        ),
    ] = None,
    overview: Annotated[
        bool,
        typer.Option(help="A picture of at most 1024 px beside the GeoTIFF: NAME.png, true colour where it can be."),
    ] = True,
    precision: Precision = "auto",
) -> None:
    """Write a product's bands at 10 m as a GeoTIFF; beside it a style for QGIS, a picture and a STAC item.

      hpc-sr infer X.SAFE

    sharpens all bands with ready-made weights for the product's level, into sharpened/NAME.tif, or by the method guided
    where there are none for its bands, and says by which; --method or --weights chooses. With networks of your own
    two runs, one of s2x and one of s6x, give all twelve bands.

    Measured 10 m bands keep their DN, sharpened ones follow the same convention: georeference, nodata, scale and
    offset are the product's. Memory is bounded whatever the product's size. Killed and run again, it goes on. Works
    under any launcher: ranks share the windows, or the products where there are as many.

    A run of a task sisr_* makes pictures (--image), or a product's 10 m bands (--product), 2, 3 or 4 times finer: a
    GeoTIFF, or a PNG if --out ends so and nothing is lost. A run of a task refsr_* needs a --reference for each.
    """
    from hpc_sr.comm.signals import end_on_signals

    end_on_signals()  # before anything large is loaded
    from hpc_sr.comm.launch import connected
    from hpc_sr.comm.options import CommOptions
    from hpc_sr.disk import check_writable
    from hpc_sr.errors import RecipeError
    from hpc_sr.infer.options import InferOptions
    from hpc_sr.infer.pictures.runs import infer_pictures, is_of_images
    from hpc_sr.infer.region import one_region
    from hpc_sr.infer.runs import by_runs, infer_products, infer_stack, is_folder, without_run
    from hpc_sr.logs import setup_logging

    options = InferOptions(
        bands,
        dtype,
        format,
        one_region(
            (("lonlat", region, "--region"), ("map", region_map, "--region-map"), ("pixels", region_px, "--region-px"))
        ),
        self_ensemble,
        spread,
        back_project,
        any_level,
        overwrite,
        check,
        window_px,
        overview,
    )
    products = product or []
    given = [name for name, source in (("--product", products), ("--stack", stack), ("--image", image)) if source]
    if len(given) > 1:
        raise RecipeError("are given both", where=" and ".join(given), cure="give one of them")
    if nodata is not None and not stack:
        raise RecipeError("goes with --stack: products say what is missing", where="--nodata", cure="leave it out")
    runs, positional = _runs_and_products(paths or [], expecting=not given)
    if positional and given:
        raise RecipeError(f"is a product, beside {given[0]}", where=positional[0], cure="give all products in one way")
    products = products or positional
    of_none = {"--method": method, "--weights": weights, "--degradation": degradation}
    beside = [name for name, value in of_none.items() if value is not None]
    if runs and beside:
        raise RecipeError(f"is given beside a run, {runs[0]}", where=beside[0], cure="give one of them")
    if image and not runs:
        raise RecipeError("needs a run of a task sisr_*", where="--image", cure="give the run before it")
    of_pictures = bool(image) or (bool(products) and any(is_of_images(run) for run in runs))
    if reference and not of_pictures:
        raise RecipeError("is for runs of a task refsr_*", where="--reference", cure="leave it out")
    if len(products) == 1 and not is_folder(out):
        check_writable(out)  # before minutes are spent on reading
    choosing = by_runs(runs, precision) if runs else without_run(method, weights, degradation, precision)
    upscaling = _upscaling(options, tile, overlap, of_pictures)
    with connected(CommOptions(stall_s=_PATIENCE_S)) as comm:
        setup_logging(comm.rank, comm.world_size)
        if of_pictures:
            images = infer_pictures(
                runs, image or [], products, reference or [], out, precision, upscaling, any_level, comm
            )
        elif stack:
            images = [infer_stack(choosing, stack, out, options, comm, nodata)]
        else:
            images = infer_products(choosing, products, out, options, comm)
        if comm.rank == 0:
            for path in images:
                typer.echo(str(path))


def _runs_and_products(paths: list[Path], expecting: bool) -> tuple[list[Path], list[Path]]:
    """Return which paths are runs and which are products, by what lies there.

    Of paths that are neither the last is taken for a product if none is there and one is expected: reading it tells
    what is wrong. Raises RecipeError if one is expected and there is none.
    """
    from hpc_sr.errors import RecipeError
    from hpc_sr.sentinel2.locating import may_be_product
    from hpc_sr.weights.folder import is_run

    products = [path for path in paths if may_be_product(path)]
    runs = [path for path in paths if path not in products]
    if expecting and not products:
        if not runs:
            raise RecipeError("there is nothing to sharpen", cure="give a product: a .SAFE folder or a .zip of one")
        if is_run(runs[-1]):
            raise RecipeError(
                "is a run, and there is no product", where=runs[-1], cure="give the product after the runs"
            )
        products = [runs.pop()]
    for path in runs:
        if os.path.isdir(path) and not is_run(path):  # False of too long a name
            raise RecipeError(
                "is no product, and holds no checkpoint",
                where=path,
                cure="give a .SAFE folder or a .zip of one; or a run directory or exported folder that has a card.json",
            )
    return runs, products


def _upscaling(options: InferOptions, tile: int | None, overlap: int | None, of_pictures: bool) -> UpscaleOptions:
    """Return the options that pictures have. Raises RecipeError for those that only they, or only products, have."""
    from hpc_sr.errors import RecipeError
    from hpc_sr.infer.pictures.upscale import UpscaleOptions

    told = {"--tile": tile is not None, "--overlap": overlap is not None}
    if of_pictures:
        told = {
            "--bands": options.bands != "all",
            "--dtype": options.dtype != "uint16",
            "--region": options.region is not None,
            "--self-ensemble": options.ensemble,
            "--spread": options.spread,
            "--back-project": options.back_project,
            "--check": options.check,
            "--window-px": options.window_px is not None,
            "--no-overview": not options.overview,
        }
    foreign = [name for name, is_told in told.items() if is_told]
    if foreign:
        whose = "products and runs of s2x and s6x" if of_pictures else "runs of a task sisr_*"
        raise RecipeError(f"is for {whose}", where=foreign[0], cure="leave it out")
    usual = UpscaleOptions()
    return UpscaleOptions(
        usual.tile_px if tile is None else tile,
        usual.overlap_px if overlap is None else overlap,
        options.format,
        options.overwrite,
    )
