"""The product form of before December 2016: long names, several tiles in one product, masks named without a path."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from data_prep.mgrs import tile as tile_by_name
from data_prep.safe_masks import Marks
from data_prep.safe_writer import Scene, write_granules
from data_prep.safe_xml import Label

_STATION = "EPA_"


@dataclass(frozen=True)
class OldLabel(Label):
    """What a granule of a multi-granule L1C product is called by."""

    @property
    def product(self) -> str:
        return f"{self.satellite}_OPER_PRD_MSIL1C_PDMC_{self._made}_R022_{self._seen}"

    @property
    def product_xml(self) -> str:
        return f"{self.satellite}_OPER_MTD_SAFL1C_PDMC_{self._made}_R022_{self._seen}.xml"

    @property
    def granule(self) -> str:
        return self.tile_id

    @property
    def tile_id(self) -> str:
        return f"{self._named('MSI_L1C_TL')}_N{self.baseline}"

    @property
    def granule_xml(self) -> str:
        return f"GRANULE/{self.granule}/{self._named('MTD_L1C_TL')}.xml"

    def image_id(self, name: str) -> str:
        return f"{self._named('MSI_L1C_TL')}_{name}"

    def image(self, name: str, gsd_m: int) -> str:
        return f"GRANULE/{self.granule}/IMG_DATA/{self.image_id(name)}"

    def mask_entry(self, kind: str, name: str) -> str:
        return f"{self._named(f'MSK_{kind}')}_{name}_MSIL1C.gml"

    def mask(self, kind: str, name: str) -> str:
        return f"GRANULE/{self.granule}/QI_DATA/{self.mask_entry(kind, name)}"

    def query(self) -> str:
        bands = "".join(f"<BAND_NAME>{name.replace('B0', 'B')}</BAND_NAME>" for name in self.bands)
        form = "<PRODUCT_FORMAT>SAFE</PRODUCT_FORMAT>"
        return f"<Query_Options><Band_List>{bands}</Band_List>{form}</Query_Options>"

    def granule_list(self) -> str:
        images = "".join(f"<IMAGE_ID>{self.image_id(name)}</IMAGE_ID>\n" for name in self.bands)
        return (
            f'<Granule_List>\n<Granules granuleIdentifier="{self.granule}" imageFormat="JPEG2000">\n'
            f"{images}</Granules>\n</Granule_List>"
        )

    def _named(self, kind: str) -> str:
        return f"{self.satellite}_OPER_{kind}_{_STATION}_{self._made}_A000159_T{self.tile.name}"

    @property
    def _made(self) -> str:
        return f"{self.day}T120000"

    @property
    def _seen(self) -> str:
        return f"V{self.day}T101031_{self.day}T101031"


def write_multi_granule(
    out_dir: str | Path,
    scenes: Mapping[str, Scene],
    *,
    baseline: str = "02.04",
    satellite: str = "S2A",
    date: str = "2016-06-15",
    marks: Marks | None = None,
) -> Path:
    """Return the path of one L1C product with a granule for each tile of `scenes`; otherwise as `write_product`."""
    granules = [
        (OldLabel("L1C", baseline, satellite, tile_by_name(tile), date), scene) for tile, scene in scenes.items()
    ]
    return write_granules(out_dir, granules, marks or Marks())
