"""From a run and a product to a GeoTIFF."""

from __future__ import annotations

from pathlib import Path

from hpc_sr.comm.launch import pin_device
from hpc_sr.infer.predict import Predictor
from hpc_sr.infer.tile import super_resolve
from hpc_sr.logs import check_writable
from hpc_sr.models.precision import choose_precision
from hpc_sr.sentinel2.safe import open_product
from hpc_sr.weights import load_generator


def infer_product(run_dir: Path, product: Path, out: Path, precision: str) -> Path:
    """Write a product's super-resolved GeoTIFF with a run's generator; return its path."""
    check_writable(out)
    generator, card = load_generator(run_dir)
    device = pin_device(local_rank=0)
    predictor = Predictor.of(generator, device, choose_precision(precision, device))
    return super_resolve(predictor, card, open_product(product), out)
