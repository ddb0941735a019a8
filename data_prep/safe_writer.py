"""Scenes become a SAFE product: lossless JPEG2000 bands, masks and XML, laid out as in real ones."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import rasterio
import rasterio.features
import rasterio.shutil
from rasterio.transform import Affine

from data_prep.mgrs import tile as tile_by_name
from data_prep.safe_masks import CLASS_LAYERS, NODATA_DN, QUALITY_LAYERS, Marks
from data_prep.safe_xml import Label, granule_xml, manifest_xml, mask_gml, product_xml
from hpc_sr.disk import flush_to_disk, is_there, partial_of, sweep_partials
from hpc_sr.errors import OutputError, ShapeError
from hpc_sr.sentinel2.bands import BANDS
from hpc_sr.sentinel2.local_rasters import RASTER_ERRORS
from hpc_sr.sentinel2.masks import FULL_SCALE_DN

#: The bands of a scene: all that see the ground.
SCENE_BANDS = tuple(name for name in BANDS if name != "B10")

#: Edge of a JPEG2000 tile per GSD, as in real products.
_BLOCK_PX = {10: 1024, 20: 640, 60: 192}
_LOSSLESS = {"QUALITY": "100", "REVERSIBLE": "YES", "YCBCR420": "NO", "YCC": "NO"}
_CACHE_MB = 256


@dataclass(frozen=True)
class Scene:
    """Digital numbers of one place: (H, W) uint16 of each of SCENE_BANDS at its native GSD.

    DN are reflectance x 10 000 without radiometric offset; 0 is nodata, 65535 saturated.
    Raises ShapeError if the three grids do not nest or a band is missing.
    """

    dn: Mapping[str, np.ndarray]

    def __post_init__(self) -> None:
        if set(self.dn) != set(SCENE_BANDS):
            raise ShapeError(f"a scene of {', '.join(self.dn)}", cure=f"give the bands {', '.join(SCENE_BANDS)}")
        for name, dn in self.dn.items():
            rows, columns = (side * BANDS[name].gsd_m // 10 for side in dn.shape)
            if (rows, columns) != self.shape_10m or dn.dtype != np.uint16 or not dn.size:
                found, fine = f"{dn.shape[0]} x {dn.shape[1]} {dn.dtype}", "{} x {} px".format(*self.shape_10m)
                raise ShapeError(
                    f"{name} is {found} at {BANDS[name].gsd_m} m and does not nest in {fine} at 10 m",
                    cure="give uint16 grids of sizes 6 : 3 : 1 over the same ground",
                )

    @property
    def shape_10m(self) -> tuple[int, int]:
        return self.dn["B02"].shape


def write_product(
    out_dir: str | Path,
    scene: Scene,
    *,
    level: str = "L1C",
    baseline: str = "05.09",
    satellite: str = "S2A",
    tile: str = "33UUB",
    date: str = "2023-06-15",
    offset: int | Mapping[str, int] | None = None,
    marks: Marks | None = None,
) -> Path:
    """Return the path of the SAFE product made of `scene`, whose upper-left corner becomes the tile's.

    Stored DN honour the radiometric offset, one or by band: scene DN - offset, 0 staying nodata. Without `offset` it
    is -1000 from baseline 04.00 on, and none before. What 15 bits cannot hold is clamped to 32767 and marked
    saturated: in MSK_QUALIT, layer 8, from 04.00 on, in MSK_SATURA before, in L2A also as SCL 1.
    B10, which no scene has, is a fiftieth of the mean of B01 and B09: it holds no information.

    The product appears whole or not at all. Raises OutputError if it exists or cannot be written; ProductError or
    UnknownSatelliteError for a label that no product has.
    """
    label = Label(level, baseline, satellite, tile_by_name(tile), date, offset)
    return write_granules(out_dir, [(label, scene)], marks or Marks())


def write_granules(out_dir: str | Path, granules: Sequence[tuple[Label, Scene]], marks: Marks) -> Path:
    """Return the path of the product of these granules, alike but for the tile; each has the marks."""
    label = granules[0][0]
    target = Path(out_dir) / f"{label.product}.SAFE"
    if is_there(target):
        raise OutputError("exists already", where=target, cure="remove it, or choose another folder, tile or date")
    beside = partial_of(target)
    try:
        sweep_partials(target.parent, target.name)
        for each, scene in granules:
            (beside / "GRANULE" / each.granule / "QI_DATA").mkdir(parents=True)
            with rasterio.Env(GDAL_PAM_ENABLED="NO", GDAL_CACHEMAX=_CACHE_MB):
                _write_rasters(beside, scene, each, marks)
            (beside / each.granule_xml).write_text(granule_xml(each, scene.shape_10m), "utf-8")
        (beside / label.product_xml).write_text(product_xml([each for each, _ in granules]), "utf-8")
        (beside / "manifest.safe").write_text(manifest_xml(label, beside), "utf-8")
        _flush(beside)
        beside.rename(target)
    except (OSError, *RASTER_ERRORS) as error:
        raise OutputError(
            f"cannot be written ({error})", where=target, cure="check the folder and the space left"
        ) from error
    finally:
        shutil.rmtree(beside, ignore_errors=True)
    return target


def _write_rasters(root: Path, scene: Scene, label: Label, marks: Marks) -> None:
    saturated_20m = np.zeros([side // 2 for side in scene.shape_10m], bool)
    for name in label.bands:
        gsd_m = BANDS[name].gsd_m
        dn, saturated = _stored(_made_up_b10(scene) if name == "B10" else scene.dn[name], label, name)
        _write_jp2(root / f"{label.image(name, gsd_m)}.jp2", {1: dn}, 1, np.uint16, label, gsd_m)
        _write_masks(root, name, dn, saturated, label, marks)
        if saturated.any():
            saturated_20m |= _any_at_20m(saturated, gsd_m)
    if label.level == "L2A":
        classes = marks.scene_classes(scene.dn, saturated_20m)
        _write_jp2(root / f"{label.image('SCL', 20)}.jp2", {1: classes}, 1, np.uint8, label, 20)
    kind, name = label.masks()[-1]
    if label.has_raster_masks:
        file, shape = root / label.mask(kind, name), scene.dn["B01"].shape
        _write_jp2(file, marks.class_layers(), len(CLASS_LAYERS), np.uint8, label, 60, shape=shape)
    else:
        _write_outlines(root, kind, name, marks.vector_clouds(), label, 60)


def _stored(dn: np.ndarray, label: Label, name: str) -> tuple[np.ndarray, np.ndarray]:
    """Return the DN that the product stores and where they are clamped."""
    offset = label.offsets[name] if label.offsets else 0
    full = min(FULL_SCALE_DN + offset, np.iinfo(np.uint16).max)
    saturated = dn >= full
    # Sums in uint16 wrap around, which is a subtraction.
    stored = np.clip(dn, max(offset, 0) + 1, full) + np.uint16(-offset % 2**16)
    stored[saturated] = FULL_SCALE_DN
    stored[dn == NODATA_DN] = NODATA_DN
    return stored, saturated


def _made_up_b10(scene: Scene) -> np.ndarray:
    coast, vapour = scene.dn["B01"], scene.dn["B09"]
    mean = (coast.astype(np.float32) + vapour) / 2
    made_up = np.clip(np.rint(mean / 50), 1, FULL_SCALE_DN // 2).astype(np.uint16)
    return np.where((coast == NODATA_DN) | (vapour == NODATA_DN), np.uint16(NODATA_DN), made_up)


def _write_masks(root: Path, name: str, dn: np.ndarray, saturated: np.ndarray, label: Label, marks: Marks) -> None:
    gsd_m = BANDS[name].gsd_m
    if label.has_raster_masks:
        footprint = marks.footprint(name, dn)
        _write_jp2(root / label.mask("DETFOO", name), {1: footprint}, 1, np.uint8, label, gsd_m)
        layers, file = marks.quality_layers(name, saturated), root / label.mask("QUALIT", name)
        _write_jp2(file, layers, len(QUALITY_LAYERS), np.uint8, label, gsd_m, shape=dn.shape)
        return
    for kind, marked in marks.vector_masks(name, dn, saturated).items():
        _write_outlines(root, kind, name, marked, label, gsd_m)


def _write_outlines(
    root: Path, kind: str, name: str, marked: list[tuple[str, str, np.ndarray]], label: Label, gsd_m: int
) -> None:
    outlined = [(mask_type, feature, _polygons(mask, _transform(label, gsd_m))) for mask_type, feature, mask in marked]
    (root / label.mask(kind, name)).write_text(mask_gml(label, kind, name, outlined), "utf-8")


def _polygons(mask: np.ndarray, transform: Affine) -> list[list[list[tuple[float, float]]]]:
    """Return the marked regions, each its outer ring and its holes."""
    if not mask.any():
        return []
    regions = rasterio.features.shapes(mask.astype(np.uint8), mask=mask, transform=transform)
    return [region["coordinates"] for region, _ in regions]


def _any_at_20m(mask: np.ndarray, gsd_m: int) -> np.ndarray:
    if gsd_m == 10:
        return np.logical_or.reduce(mask.reshape(mask.shape[0] // 2, 2, mask.shape[1] // 2, 2), (1, 3))
    return np.repeat(np.repeat(mask, gsd_m // 20, 0), gsd_m // 20, 1)


def _transform(label: Label, gsd_m: int) -> Affine:
    return Affine(gsd_m, 0.0, label.tile.ulx_m, 0.0, -gsd_m, label.tile.uly_m)


def _write_jp2(
    path: Path,
    layers: dict[int, np.ndarray],
    count: int,
    dtype: type,
    label: Label,
    gsd_m: int,
    shape: tuple[int, int] | None = None,
) -> None:
    """Write these layers, counted from 1, of `count`; the others are zero and, by the sparse copy, cost no memory."""
    height, width = shape or layers[1].shape
    path.parent.mkdir(parents=True, exist_ok=True)
    plain = path.with_suffix(".tif")
    profile = {
        "driver": "GTiff",
        "height": height,
        "width": width,
        "count": count,
        "dtype": dtype,
        "crs": label.tile.crs,
        "transform": _transform(label, gsd_m),
        "SPARSE_OK": "TRUE",
        "INTERLEAVE": "BAND",
        "BIGTIFF": "IF_SAFER",
    }
    with rasterio.open(plain, "w", **profile) as dataset:
        for index, layer in layers.items():
            dataset.write(layer, index)
    block = {"BLOCKXSIZE": _BLOCK_PX[gsd_m], "BLOCKYSIZE": _BLOCK_PX[gsd_m]}
    depth = {"NBITS": 15} if dtype is np.uint16 else {}
    rasterio.shutil.copy(plain, path, driver="JP2OpenJPEG", **_LOSSLESS, **block, **depth)
    plain.unlink()


def _flush(root: Path) -> None:
    """Make sure of the bytes before the name: a product that appears is whole."""
    for path in (root, *root.rglob("*")):
        flush_to_disk(path)
