"""From products or stacks of bands to GeoTIFFs, by trained runs or by methods without training."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import lru_cache
from pathlib import Path

from hpc_sr.comm.communicator import Comm, SerialComm
from hpc_sr.comm.launch import pin_device
from hpc_sr.disk import check_path, check_writable
from hpc_sr.errors import OutputError, RecipeError
from hpc_sr.infer.finishing import GEOTIFF_SUFFIXES, check_apart
from hpc_sr.infer.folder import image_in, named_in, product_name, write_each
from hpc_sr.infer.images import Image, ProductImage
from hpc_sr.infer.method import DEGRADATION, UNTRAINED, methods_for
from hpc_sr.infer.options import InferOptions
from hpc_sr.infer.predict import Predictor
from hpc_sr.infer.sharpener import Sharpener
from hpc_sr.infer.stack import StackImage
from hpc_sr.infer.super_resolve import super_resolve
from hpc_sr.logs import logger
from hpc_sr.models.precision import choose_precision
from hpc_sr.sentinel2.safe import open_product
from hpc_sr.weights.ready import USUAL, ready_for
from hpc_sr.weights.trained import Trained, load_trained

#: Returns what sharpens an image.
Choice = Callable[[Image], Sequence[Sharpener]]
#: Makes that ready, on the comm's device, once it is known that a result can be written.
Choosing = Callable[[Comm], Choice]


def by_runs(runs: list[Path], precision: str) -> Choosing:
    """Sharpen every image with the generators of runs."""

    def load(comm: Comm) -> Choice:
        models = load_models(runs, precision, comm)
        return lambda image: models

    return load


def without_run(method: str | None, weights: str | None, degradation: str | None, precision: str) -> Choosing:
    """Sharpen by a method or by ready-made weights, the usual ones if neither is named.

    Raises RecipeError if both are, or a law of degradation beside weights, which have their own.
    """
    for first, other, given in (("method", weights, "weights"), ("weights", degradation, "degradation")):
        if other is not None and {"method": method, "weights": weights}[first] is not None:
            raise RecipeError(f"is given beside {first}", where=given, cure="give one of them")
    return by_method(method, degradation) if method is not None else by_weights(weights, degradation, precision)


def by_method(name: str, degradation: str | None = None) -> Choosing:
    """Sharpen every image with a method without training."""
    law = DEGRADATION if degradation is None else degradation
    return lambda comm: lambda image: methods_for(image, name, law)


def by_weights(name: str | None, degradation: str | None, precision: str) -> Choosing:
    """Sharpen every image with a set of ready-made weights; None: with the usual set for the law of degradation.

    Bands that the set has no network for, at the image's level or for want of a band that it sees, are sharpened by the
    method UNTRAINED; the log says what by. Raises RecipeError if a set that was named has nothing for an image.
    """
    law = DEGRADATION if degradation is None else degradation
    chosen = USUAL.get(law) if name is None else name

    def ready(comm: Comm) -> Choice:
        load = lru_cache(lambda folder: load_models([folder], precision, comm)[0])

        def choose(image: Image) -> Sequence[Sharpener]:
            folders = ready_for(chosen, image.level, image.bands) if chosen is not None else []
            if name is not None and not folders:
                raise RecipeError(
                    f"has no network for the bands of {image.name} ({image.level or 'of a level that is not known'})",
                    where=name,
                    cure="leave --weights out, or give --method guided, which is for every image",
                )
            networks = {network.task.name: network for network in map(load, folders)}
            methods = methods_for(image, UNTRAINED, law)
            using: list[Sharpener] = [networks.get(method.task.name, method) for method in methods]
            by = {f"the ready-made weights {chosen}" if each.step is not None else each.where for each in using}
            logger.info("%s: sharpening with %s; a run or --method chooses", image.name, " and ".join(sorted(by)))
            return using

        return choose

    return ready


def infer_product(run_dir: Path, product: Path, out: Path, precision: str) -> Path:
    """Write a product's super-resolved GeoTIFF with a run's generator; return its path. In this process alone."""
    comm = SerialComm(pin_device(local_rank=0))
    (image,) = infer_products(by_runs([run_dir], precision), [product], out, InferOptions(), comm)
    return image


def infer_products(
    choosing: Choosing, products: list[Path], out: Path, options: InferOptions, comm: Comm
) -> list[Path]:
    """Write one GeoTIFF per product and return their paths. Collective.

    `out` is a file for one product; or else a folder, made if it is not there, whose images are named after the
    products. Ranks share the windows of each product in turn, or take whole products where there are as many as
    ranks: then nobody waits for anybody. One of several products that fails does not keep the others from being done.
    Raises OutputError if `out` is called like a file and there are several.
    """
    if len(products) == 1 and not is_folder(out):
        check_result(out)
        return [infer_image(choosing(comm), ProductImage(open_product(products[0])), out, options, comm)]
    if not is_folder(out) and out.suffix.lower() in GEOTIFF_SUFFIXES:
        cure = "name a folder: without a suffix"
        raise OutputError(f"is the name of one image, there are {len(products)} products", where=out, cure=cure)
    check_apart(out, products)
    with _kept_if_used(out):
        named = named_in(out, [(product_name(product), product) for product in products])
        choice = choosing(comm)

        def write(name: str, product: Path, ranks: Comm) -> Path:
            return infer_image(choice, ProductImage(open_product(product)), image_in(out, name), options, ranks)

        if len(named) == 1:
            return [write(name, product, comm) for name, product in named.items()]
        return write_each(named, write, out, "products", comm)


def infer_stack(
    choosing: Choosing, files: list[Path], out: Path, options: InferOptions, comm: Comm, nodata: float | None = None
) -> Path:
    """Write the GeoTIFF of bands in files; return its path. Collective: ranks share the windows.

    `out` is the file, or a folder as in infer_products; the image is then named after the file with the 10 m bands.
    `nodata` is the value of missing pixels in place of the files' own, NaN if none is missing.
    """
    check_result(out)
    return infer_image(choosing(comm), StackImage(files, nodata), out, options, comm)


def infer_image(choice: Choice, image: Image, out: Path, options: InferOptions, comm: Comm) -> Path:
    """Write the GeoTIFF of an image, `out` or in the folder `out` by the image's name; return its path. Collective."""
    check_result(out)
    if not is_folder(out):
        return super_resolve(choice(image), image, out, options, comm).path
    check_apart(out, image.sources)
    path = image_in(out, image.name)
    with _kept_if_used(out):
        named_in(out, [])
        return super_resolve(choice(image), image, path, options, comm).path


def is_folder(out: Path) -> bool:
    """Return whether a result goes into a folder of this name: one that is there, or a name without a suffix.

    Raises OutputError for a name that nothing can have.
    """
    check_path(out)
    return out.is_dir() or (not out.suffix and not out.exists())


def load_models(runs: Sequence[Path | Trained], precision: str, comm: Comm) -> list[Predictor]:
    """Return the generators of runs, checkpoint or exported folders, or loaded ones, on the comm's device."""
    chosen = choose_precision(precision, comm.device)
    trained = [run if isinstance(run, Trained) else load_trained(run) for run in runs]
    return [Predictor.of(each, comm.device, chosen) for each in trained]


def check_result(out: Path) -> None:
    """Raise OutputError, before anything is read, unless a GeoTIFF of this name, or in this folder, can be written."""
    if is_folder(out):
        return
    check_writable(out)
    if out.suffix.lower() not in GEOTIFF_SUFFIXES:
        raise OutputError("is no GeoTIFF by its name", where=out, cure="name a .tif; without a suffix it is a folder")


@contextmanager
def _kept_if_used(folder: Path) -> Iterator[None]:
    """Remove a folder that the block has made if the block fails before anything is in it."""
    was_there = folder.exists()
    try:
        yield
    except BaseException:
        if not was_there:
            with suppress(OSError):
                folder.rmdir()
        raise
