"""What hpc_sr offers to Python: sharpen, score, open_product, load_model. In this process alone, on its GPU if any."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from hpc_sr.classical.methods import choose_baselines
from hpc_sr.comm.communicator import Comm, SerialComm
from hpc_sr.comm.launch import pin_device
from hpc_sr.errors import RecipeError
from hpc_sr.evaluate.evaluation import evaluate_products
from hpc_sr.evaluate.protocols.scenes import STAGES, Lineup
from hpc_sr.infer.dataset import sharpened_dataset
from hpc_sr.infer.dataset_image import DatasetImage
from hpc_sr.infer.images import Image, ProductImage
from hpc_sr.infer.method import DEGRADATION
from hpc_sr.infer.options import InferOptions
from hpc_sr.infer.region import Kind, Region, one_region
from hpc_sr.infer.runs import Choice, check_result, infer_image, infer_products, load_models, without_run
from hpc_sr.infer.stack import StackImage
from hpc_sr.sentinel2.safe import Product, open_product
from hpc_sr.tasks import task_by_name
from hpc_sr.weights.trained import Trained, load_trained

if TYPE_CHECKING:
    import xarray

__all__ = ["load_model", "open_product", "score", "sharpen"]

_Path = str | os.PathLike[str]
_Model = _Path | Trained
#: Keywords of sharpen that only a file has.
_OF_FILES = {"dtype": "uint16", "format": "cog", "overwrite": False}


def sharpen(
    product: Any,
    model: _Model | Sequence[_Model] | None = None,
    *,
    method: str | None = None,
    weights: str | None = None,
    degradation: str | None = None,
    bands: str | Sequence[str] = "all",
    region: Sequence[float] | None = None,
    region_map: Sequence[float] | None = None,
    region_px: Sequence[int] | None = None,
    back_project: bool = False,
    self_ensemble: bool = False,
    spread: bool = False,
    any_level: bool = False,
    window_px: int | None = None,
    precision: str = "auto",
    crs: str | None = None,
    out: _Path | None = None,
    dtype: Literal["uint16", "float32"] = "uint16",
    format: Literal["cog", "gtiff"] = "cog",
    overwrite: bool = False,
) -> xarray.Dataset | Path:
    """Return all bands of a product at 10 m as an xarray.Dataset; or write them as the GeoTIFF `out`, return its path.

    `product` is a path (.SAFE folder, zip, MTD_*.xml), what open_product returned, a list of files of bands, or bands
    in xarray as docs/python.md tells (`crs`: their reference system, where they do not tell it themselves).

    `model` is a run directory, an exported folder or what load_model returned, or one of s2x and one of s6x in a
    list. Without one the bands are sharpened by a `method` without training, or by the ready-made `weights` of this
    name (`hpc-sr weights`); by those of the law `degradation` ("mtf" or "wald") if neither is named, and "guided" where
    there are none for the product's level and bands.

    `bands`: "all", "sharpened" or names. `region`: west, south, east, north in degrees; `region_map`: left, bottom,
    right, top in metres; `region_px`: row, column, height, width in 10 m pixels; snapped outwards to 60 m. The other
    keywords are those of `hpc-sr infer`. A Dataset holds reflectance as float32, NaN where nothing was measured.

    `out` without a suffix is a folder, made if it is not there. A file that is there, and the same, is not made again.

    Raises HpcSrError in all its kinds, with a cure: RecipeError for arguments that contradict each other, LevelError,
    RegionError, UnknownBandError, OutputError, MissingComponentError without xarray where no `out` is given.
    """
    of_none = {"method": method, "weights": weights, "degradation": degradation}
    beside = [name for name, value in of_none.items() if value is not None]
    if model is not None and beside:
        raise RecipeError("is given beside a model", where=beside[0], cure="give one of them")
    given = {"dtype": dtype, "format": format, "overwrite": overwrite}
    strange = [name for name, usual in _OF_FILES.items() if given[name] != usual]
    if out is None and strange:
        raise RecipeError("is for files", where=strange[0], cure="give out=, or leave it out")
    options = InferOptions(
        _names(bands),
        dtype if out is not None else "float32",
        format,
        _region(region, region_map, region_px),
        self_ensemble,
        spread,
        back_project,
        any_level,
        overwrite,
        window_px=window_px,
    )
    comm = SerialComm(pin_device(local_rank=0))

    def choosing(comm: Comm) -> Choice:
        return _choice(model, method, weights, degradation, precision, comm)

    if out is None:
        image = _image(product, crs)
        return sharpened_dataset(choosing(comm)(image), image, options)
    out = _path(out, "out")
    check_result(out)  # before minutes are spent on reading
    if isinstance(product, (str, os.PathLike)):  # named after the path, as on the command line
        (path,) = infer_products(choosing, [Path(product)], out, options, comm)
        return path
    return infer_image(choosing(comm), _image(product, crs), out, options, comm)


def load_model(path: _Path) -> Trained:
    """Return the trained network of a run directory, a checkpoint or an exported folder: with its `card`.

    Raises CheckpointError or ArchitectureError naming the file.
    """
    return load_trained(_path(path, "model"))


def score(
    product: _Path | Product,
    model: _Model | None = None,
    *,
    methods: Sequence[str] = ("bicubic",),
    task: str = "s2x",
    degradation: str | None = None,
    protocol: Literal["synthesis", "consistency"] = "synthesis",
    precision: str = "auto",
) -> dict[str, Any]:
    """Return how well methods, and a model if given, sharpen a product: what `hpc-sr evaluate` writes as JSON.

    synthesis: the bands are degraded, sharpened and compared with those that were measured; consistency: the sharpened
    bands are degraded and compared. `score(...)["mean"]` has the scores by method, "ratio_to_bicubic" their ratios.
    `methods`: names, or "all" among them; bicubic always is. `task` ("s2x": 20 m bands, "s6x": 60 m bands) and
    `degradation` ("mtf") are the model's where there is one.
    Raises RecipeError, LevelError, and errors of reading the product.
    """
    if model is not None and degradation is not None:
        raise RecipeError("is given beside a model, which has its own", where="degradation", cure="leave it out")
    if protocol not in tuple(STAGES):
        raise RecipeError(f"unknown protocol {protocol!r}", where="protocol", cure=f"choose of {', '.join(STAGES)}")
    comm = SerialComm(pin_device(local_rank=0))
    networks = () if model is None else tuple(load_models([_run(model)], precision, comm))
    whole = networks[0].task if networks else task_by_name(task)
    law = networks[0].degradation if networks else DEGRADATION if degradation is None else degradation
    if whole.of_images:
        raise RecipeError(f"{whole.name} is for images, not for products", where="task", cure="choose of s2x, s6x")
    lineup = Lineup(whole.only(whole.targets[0]), law, choose_baselines(_several(methods, "methods")), networks)
    opened = product if isinstance(product, Product) else open_product(_path(product, "product"))
    with tempfile.TemporaryDirectory() as folder:
        return evaluate_products(lineup, [opened], protocol, STAGES[protocol], comm, Path(folder))


def _image(product: Any, crs: str | None) -> Image:
    if isinstance(product, Product):
        return ProductImage(product)
    if isinstance(product, (str, os.PathLike)):
        return ProductImage(open_product(Path(product)))
    if isinstance(product, (list, tuple)) and product and all(isinstance(p, (str, os.PathLike)) for p in product):
        return StackImage([Path(path) for path in product])
    return DatasetImage(product, crs)


def _choice(
    model: _Model | Sequence[_Model] | None,
    method: str | None,
    weights: str | None,
    degradation: str | None,
    precision: str,
    comm: Comm,
) -> Choice:
    if model is None:
        return without_run(method, weights, degradation, precision)(comm)
    models = [model] if isinstance(model, (os.PathLike, Trained)) else list(_several(model, "model"))
    if not models:
        raise RecipeError("is empty", where="model", cure="give a run directory, or leave it out")
    predictors = load_models([_run(each) for each in models], precision, comm)
    return lambda image: predictors


def _run(model: _Model) -> Path | Trained:
    return model if isinstance(model, Trained) else _path(model, "model")


def _names(bands: str | Sequence[str]) -> Literal["all", "sharpened"] | tuple[str, ...]:
    names = _several(bands, "bands")
    return names[0] if names in (("all",), ("sharpened",)) else names


def _several(values: Any, where: str) -> tuple[Any, ...]:
    """Return the values of an argument; a text is a single one. Raises RecipeError for what holds none."""
    try:
        return (values,) if isinstance(values, str) else tuple(values)
    except TypeError as error:
        raise RecipeError(f"is a {type(values).__name__}", where=where, cure="give a list or a tuple") from error


def _path(path: Any, where: str) -> Path:
    """Return the path that an argument is. Raises RecipeError for anything else."""
    if not isinstance(path, (str, os.PathLike)):
        raise RecipeError(f"is a {type(path).__name__}", where=where, cure="give a path: a str or a Path")
    return Path(path)


def _region(
    lonlat: Sequence[float] | None, on_map: Sequence[float] | None, pixels: Sequence[int] | None
) -> Region | None:
    def text(numbers: Sequence[float] | None, option: str) -> str | None:
        return None if numbers is None else ",".join(str(number) for number in _several(numbers, option))

    asked: list[tuple[Kind, Sequence[float] | None, str]] = [
        ("lonlat", lonlat, "region"),
        ("map", on_map, "region_map"),
        ("pixels", pixels, "region_px"),
    ]
    return one_region([(kind, text(numbers, option), option) for kind, numbers, option in asked])
