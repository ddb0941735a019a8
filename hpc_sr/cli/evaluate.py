"""`hpc-sr evaluate`: networks and methods scored."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from hpc_sr.cli.arguments import Precision


def evaluate(
    runs: Annotated[
        list[Path] | None, typer.Argument(metavar="RUN_DIR", help="Trained networks; none: methods alone.")
    ] = None,
    product: Annotated[list[Path] | None, typer.Option(metavar="SAFE ...", help="Products to evaluate on.")] = None,
    image: Annotated[
        list[Path] | None,
        typer.Option(metavar="FILE ...", help="Pictures, or folders of them, of high resolution, for --table sisr."),
    ] = None,
    store: Annotated[Path | None, typer.Option(metavar="DIR", help="A patch store to evaluate on instead.")] = None,
    protocol: Annotated[
        Literal["synthesis", "consistency", "both"],
        typer.Option(
            metavar="PROTOCOL",
            help="synthesis: against the measured bands; consistency: degraded again, against the input; both.",
        ),
    ] = "synthesis",
    method: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME ...",
            help="Methods without training beside bicubic: nearest, bilinear, guided, atprk, supreme, all.",
        ),
    ] = None,
    truth: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="An image of 10 m to compare the estimate from native bands with."),
    ] = None,
    prediction: Annotated[
        list[Path] | None,
        typer.Option(metavar="FILE ...", help="GeoTIFF or .npy that somebody else made, scored against --truth."),
    ] = None,
    unit: Annotated[
        Literal["tags", "dn", "reflectance"],
        typer.Option(help="What --truth and --prediction hold: by scale and offset tags, reflectance x 10 000, or 1."),
    ] = "tags",
    truth_unit: Annotated[
        Literal["tags", "dn", "reflectance"] | None, typer.Option(help="What --truth holds, if not the same.")
    ] = None,
    mask: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Pixels of --truth that count are not 0 here.")
    ] = None,
    task: Annotated[str, typer.Option(help="Without a run: s2x (20 m bands) or s6x (60 m bands).")] = "s2x",
    degradation: Annotated[str, typer.Option(help="Without a run: mtf or wald.")] = "mtf",
    niqe: Annotated[
        Path | None, typer.Option(metavar="FILE", help="A model of good images for NIQE, .npz or .mat.")
    ] = None,
    niqe_white: Annotated[
        float, typer.Option(metavar="N", min=1, help="The stored value that is white to a model that does not say.")
    ] = 10_000,
    lpips: Annotated[
        tuple[Path, Path] | None,
        typer.Option(metavar="VGG LINEAR", help="Weights for LPIPS 0.1, VGG16 and linear: .pth, .safetensors."),
    ] = None,
    ma: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE.csv",
            help="For --table sisr with --niqe: scores of Ma et al. made elsewhere, in columns method, picture and "
            "score. They make the perceptual index, PI = ((10 - Ma) + NIQE) / 2.",
        ),
    ] = None,
    table: Annotated[
        Literal["thesis", "adversarial", "sisr"] | None,
        typer.Option(
            help="Score runs under both protocols. thesis: its tables, its numbers beside ours. adversarial: what a "
            "critic costs and gives, and what back-projection gives back. sisr: networks for single pictures, on "
            "--image or --store."
        ),
    ] = None,
    reference: Annotated[
        Literal["own", "zeros", "other"],
        typer.Option(
            help="For --table sisr on a store with references: what networks get of them. own: what belongs to a "
            "patch; zeros; other: that of another patch. How well a network does with a useless one."
        ),
    ] = "own",
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR", help="Where scores without a run or of ready-made weights, or tables, go [evaluation]."
        ),
    ] = None,
    json_file: Annotated[Path | None, typer.Option("--json", metavar="FILE", help="Write the scores here too.")] = None,
    precision: Precision = "auto",
) -> None:
    """Score trained networks and methods without training on products, a store, or against a truth.

    Default: bicubic and the run, on the products that its recipe held out, or on its store's split if they are gone.
    Of a product that the run has seen but for blocks (split.by: block) those blocks alone are scored.

    RMSE, SRE, SAM, ERGAS, PSNR, bPSNR, SSIM, UIQ, Q, correlation, bias, GSM, on request NIQE and LPIPS; per band,
    scene and class of the ground (L2A); 95 % intervals over scenes; in reflectance x 10 000.

    Scores, and panels for
    `hpc-sr report`, go to RUN_DIR/evaluate. Works under any launcher: ranks share products and windows. Killed and
    run again, it goes on after the last scene.

      hpc-sr evaluate runs/s2x --product A.SAFE B.SAFE --protocol both --method all

      hpc-sr evaluate --table thesis runs/s2x runs/s6x runs/s2x_l2a

      hpc-sr evaluate --table adversarial runs/s2x runs/gan_2x_hinge --niqe good.npz

      hpc-sr evaluate --table sisr runs/srresnet runs/efdn --image Set5

      hpc-sr evaluate --table sisr runs/srgan --image Set5 --niqe good.npz --ma scores.csv

      hpc-sr evaluate --table sisr runs/rrsgan runs/rrdb --store stores/rrssrd --reference zeros

      hpc-sr evaluate --method all --task s6x --product A.SAFE

      hpc-sr evaluate --prediction theirs.tif --truth truth.tif
    """
    from hpc_sr.comm.signals import end_on_signals

    end_on_signals()  # before anything large is loaded
    from hpc_sr.classical.methods import choose_baselines
    from hpc_sr.cli.scores import Request, evaluate_external, score
    from hpc_sr.comm.launch import connected
    from hpc_sr.comm.options import CommOptions
    from hpc_sr.disk import check_writable
    from hpc_sr.errors import RecipeError
    from hpc_sr.infer.finishing import check_apart
    from hpc_sr.logs import setup_logging

    chosen = ("synthesis", "consistency") if protocol == "both" else (protocol,)
    request = Request(
        tuple(product or ()),
        store,
        chosen,
        choose_baselines(method or []),
        truth,
        mask,
        unit,
        truth_unit,
        precision,
        niqe,
        niqe_white,
        lpips,
        json_file,
        reference,
        ma,
    )
    if image and table != "sisr":
        raise RecipeError("is for --table sisr", where="--image", cure="add it, or give products with --product")
    if reference != "own" and (table != "sisr" or store is None):
        raise RecipeError("is for --table sisr with --store", where="--reference", cure="add them, or leave it out")
    if ma is not None and (table != "sisr" or niqe is None):
        raise RecipeError("is for --table sisr with --niqe", where="--ma", cure="add them, or leave it out")
    if json_file is not None:
        check_writable(json_file)  # before hours are spent on what would go there
        check_apart(json_file, [path for path in (truth, mask, ma, *(prediction or ()), *(product or ())) if path])
    # A rank may wait for another one's last product, which takes as long as it takes.
    with connected(CommOptions(stall_s=7200)) as comm:
        setup_logging(comm.rank, comm.world_size)
        if prediction:
            evaluate_external(tuple(prediction), out or Path("evaluation"), request, comm)
        elif table == "adversarial":
            from hpc_sr.cli.adversarial import tabulate_adversarial

            tabulate_adversarial(tuple(runs or ()), out or Path("evaluation"), request, comm)
        elif table == "sisr":
            from hpc_sr.cli.pictures import tabulate_pictures

            tabulate_pictures(tuple(runs or ()), tuple(image or ()), out or Path("evaluation"), request, comm)
        elif table:
            from hpc_sr.cli.thesis import tabulate

            tabulate(tuple(runs or ()), out or Path("evaluation"), request, comm)
        else:
            score(tuple(runs or ()), task, degradation, out or Path("evaluation"), request, comm)
