"""From trained runs, and products or stacks of bands, to GeoTIFFs."""

from __future__ import annotations

from pathlib import Path

from hpc_sr.comm.communicator import Comm, SerialComm
from hpc_sr.comm.launch import pin_device
from hpc_sr.disk import check_writable
from hpc_sr.errors import OutputError
from hpc_sr.infer.finishing import GEOTIFF_SUFFIXES, check_apart
from hpc_sr.infer.folder import named_in, product_name, write_each
from hpc_sr.infer.images import ProductImage
from hpc_sr.infer.options import InferOptions
from hpc_sr.infer.predict import Predictor
from hpc_sr.infer.stack import StackImage
from hpc_sr.infer.super_resolve import super_resolve
from hpc_sr.models.precision import choose_precision
from hpc_sr.sentinel2.safe import open_product
from hpc_sr.weights.trained import load_trained


def infer_product(run_dir: Path, product: Path, out: Path, precision: str) -> Path:
    """Write a product's super-resolved GeoTIFF with a run's generator; return its path. In this process alone."""
    comm = SerialComm(pin_device(local_rank=0))
    (image,) = infer_products([run_dir], [product], out, precision, InferOptions(), comm)
    return image


def infer_products(
    runs: list[Path], products: list[Path], out: Path, precision: str, options: InferOptions, comm: Comm
) -> list[Path]:
    """Write one GeoTIFF per product with the runs' generators and return their paths. Collective.

    `out` is the file for one product, the folder for several, whose images are named after them.
    Ranks share the windows of each product in turn, or take whole products where there are as many as ranks: then
    nobody waits for anybody. One of several products that fails does not keep the others from being done.
    """
    if len(products) == 1 and not out.is_dir():
        _check_geotiff(out)
        models = load_models(runs, precision, comm)
        return [super_resolve(models, ProductImage(open_product(products[0])), out, options, comm).path]
    check_apart(out, products)
    named = named_in(out, [(product_name(product), product) for product in products])
    models = load_models(runs, precision, comm)

    def write(name: str, product: Path, ranks: Comm) -> Path:
        return super_resolve(models, ProductImage(open_product(product)), out / f"{name}.tif", options, ranks).path

    return write_each(named, write, out, "products", comm)


def infer_stack(
    runs: list[Path],
    files: list[Path],
    out: Path,
    precision: str,
    options: InferOptions,
    comm: Comm,
    nodata: float | None = None,
) -> Path:
    """Write the GeoTIFF of bands in files; return its path. Collective: ranks share the windows.

    `nodata` is the value of missing pixels in place of the files' own, NaN if none is missing.
    """
    _check_geotiff(out)
    return super_resolve(load_models(runs, precision, comm), StackImage(files, nodata), out, options, comm).path


def _check_geotiff(out: Path) -> None:
    """Raise OutputError, before anything is read, unless a GeoTIFF of this name can be written."""
    check_writable(out)
    if out.suffix.lower() not in GEOTIFF_SUFFIXES:
        raise OutputError("is no GeoTIFF by its name", where=out, cure="name a .tif, or make the folder first")


def load_models(runs: list[Path], precision: str, comm: Comm) -> list[Predictor]:
    """Return the generators of runs, checkpoint folders or exported folders, on the comm's device."""
    chosen = choose_precision(precision, comm.device)
    return [Predictor.of(load_trained(run), comm.device, chosen) for run in runs]
