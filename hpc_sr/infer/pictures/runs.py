"""From a run of an image task and pictures, or products' 10 m bands, to finer pictures."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from hpc_sr.comm.communicator import Comm
from hpc_sr.config import load_yaml
from hpc_sr.errors import CheckpointError, HpcSrError, RecipeError
from hpc_sr.infer.finishing import check_apart
from hpc_sr.infer.folder import named_in, product_name, write_each
from hpc_sr.infer.pictures.files import lost_in_png
from hpc_sr.infer.pictures.products import PRODUCT_BANDS, product_picture
from hpc_sr.infer.pictures.reading import Picture, open_picture
from hpc_sr.infer.pictures.upscale import UpscaleOptions, check_model, check_reference, upscale
from hpc_sr.infer.predict import Predictor
from hpc_sr.infer.runs import load_models
from hpc_sr.logs import logger
from hpc_sr.sentinel2.safe import open_product
from hpc_sr.shards.schema import read_manifest
from hpc_sr.tasks import task_by_name
from hpc_sr.weights.card import Card, check_level, read_card
from hpc_sr.weights.folder import find_checkpoint

#: What files of products are called, or their archives; pictures are PNG, JPEG and GeoTIFF.
_OF_PRODUCTS = (".zip", ".xml")


def is_of_images(run: Path) -> bool:
    """Return whether a run's generator up-scales pictures. False if it cannot be read: loading it tells why."""
    try:
        card = read_card(find_checkpoint(run))
    except CheckpointError:
        return False
    return task_by_name(card.task).of_images


def infer_pictures(
    runs: list[Path],
    images: list[Path],
    products: list[Path],
    references: list[Path],
    out: Path,
    precision: str,
    options: UpscaleOptions,
    any_level: bool,
    comm: Comm,
) -> list[Path]:
    """Write pictures, or products' 10 m bands, `scale` times finer with a run's generator; return their paths.

    `references` are as many, in the same order, files or products, for a run of a task refsr_*; else none.
    `out` is the file for one, the folder for several, which are named after them: PNG and JPEG become PNG, what has
    a georeference or nodata a GeoTIFF. Ranks share the tiles of each in turn, or take whole pictures where there are
    as many as ranks. One of several that fails does not keep the others from being done. Collective.
    """
    if len(runs) != 1:
        raise RecipeError(f"{len(runs)} runs are given, pictures take one", cure="give one run of a task sisr_*")
    (model,) = load_models(runs, precision, comm)
    check_model(model)
    check_reference(model, bool(references))
    if references and len(references) != len(images) + len(products):
        raise RecipeError(
            f"{len(references)} are given for {len(images) + len(products)} pictures",
            where="--reference",
            cure="give one for each, in the same order",
        )
    seen = trained_on(runs[0], model.card)
    if seen.units is None:
        logger.warning("%s does not tell what its training pictures held: pictures are taken as they are", runs[0])
    sources: list[tuple[Path, Callable[[], Picture]]] = [
        *((path, lambda path=path: open_picture(path, seen.bands, seen.units)) for path in images),
        *((path, lambda path=path: _product(path, model, seen, any_level)) for path in products),
    ]
    beside = dict(zip((path for path, _ in sources), references, strict=False))

    def reference_of(path: Path) -> Picture | None:
        return _reference(beside[path], seen) if path in beside else None

    if len(sources) == 1 and not out.is_dir():
        path, opener = sources[0]
        return [upscale(model, opener(), out, options, comm, reference_of(path))]
    pictures = [*((path.stem, path) for path in images), *((product_name(path), path) for path in products)]
    check_apart(out, [*(path for path, _ in sources), *references])
    named, openers = named_in(out, pictures), dict(sources)

    def write(_: str, path: Path, ranks: Comm) -> Path:
        picture = openers[path]()
        suffix = ".tif" if lost_in_png(picture) else ".png"
        return upscale(model, picture, out / f"{picture.name}{suffix}", options, ranks, reference_of(path))

    return write_each(named, write, out, "pictures", comm)


@dataclass(frozen=True)
class Seen:
    """What a network was trained on: the store's units, None if nobody knows, and R, G, B, N in its own order."""

    units: str | None
    bands: tuple[str, ...]


def trained_on(run: Path, card: Card) -> Seen:
    """Return what the store of a run held, as far as it can still be asked."""
    bands = task_by_name(card.task).target.bands
    try:
        manifest = read_manifest(load_yaml(run / "recipe.yaml").get("store", ""))
    except HpcSrError:
        return Seen(card.facts.units.stored or None, bands)
    settings = manifest.settings
    if not settings.get("products"):
        return Seen(manifest.units, bands)
    colours = {band: colour for colour, band in PRODUCT_BANDS.items()}
    return Seen(manifest.units, tuple(colours[band] for band in settings["bands"]))


def _reference(path: Path, seen: Seen) -> Picture:
    if path.is_dir() or path.suffix.lower() in _OF_PRODUCTS:
        return product_picture(open_product(path), seen.bands, seen.units)
    return open_picture(path, seen.bands, seen.units)


def _product(path: Path, model: Predictor, seen: Seen, any_level: bool) -> Picture:
    product = open_product(path)
    card = model.card
    if not card.level:
        logger.warning("%s was trained on pictures, %s is a product", model.trained.where, product.name)
    elif any_level and card.level != product.level:
        logger.warning("%s is %s, %s was trained on %s", product.name, product.level, model.trained.where, card.level)
    else:
        check_level(card, product.level, product.name)
    return product_picture(product, seen.bands, seen.units)
