"""The XML of a SAFE product: what readers of products look for, in the structure of the real files."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path

from data_prep.mgrs import Tile
from hpc_sr.errors import ProductError, UnknownSatelliteError
from hpc_sr.sentinel2.bands import BANDS, SATELLITES

#: RADIO_ADD_OFFSET and BOA_ADD_OFFSET of every band from baseline 04.00 on, unless told; before it there is none.
RADIOMETRIC_OFFSET = -1000
_HEADER = '<?xml version="1.0" encoding="UTF-8" standalone="no"?>\n'


@dataclass(frozen=True)
class Label:
    """What a product is called by: level "L1C" or "L2A", baseline "05.09", satellite "S2A", tile, date "2023-06-15".

    `offset` is the radiometric offset in DN, one or by band; None is what the baseline asks for.
    Raises ProductError or UnknownSatelliteError for a value that no product has.
    """

    level: str
    baseline: str
    satellite: str
    tile: Tile
    date: str
    offset: int | Mapping[str, int] | None = None

    def __post_init__(self) -> None:
        if self.level not in ("L1C", "L2A"):
            raise ProductError(f"level {self.level!r} is not written", cure="choose L1C or L2A")
        if not re.fullmatch(r"[0-9]{2}\.[0-9]{2}", self.baseline):
            raise ProductError(f"{self.baseline!r} is no processing baseline", cure="write NN.NN, for example 05.09")
        if self.satellite not in SATELLITES:
            raise UnknownSatelliteError(f"satellite {self.satellite!r}", cure=f"choose from {', '.join(SATELLITES)}")
        try:
            known = bool(re.fullmatch(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", self.date) and date.fromisoformat(self.date))
        except ValueError:
            known = False
        if not known:
            raise ProductError(f"{self.date!r} is no date", cure="write YYYY-MM-DD")

    @property
    def has_raster_masks(self) -> bool:
        """From baseline 04.00 on masks are rasters, and products carry a radiometric offset."""
        return self.baseline >= "04.00"

    @property
    def offsets(self) -> dict[str, int] | None:
        """Every band's radiometric offset, or None if the product has no list of them."""
        if self.offset is None and not self.has_raster_masks:
            return None
        offset = RADIOMETRIC_OFFSET if self.offset is None else self.offset
        return {name: offset if isinstance(offset, int) else offset.get(name, 0) for name in BANDS}

    @property
    def day(self) -> str:
        return self.date.replace("-", "")

    @property
    def product(self) -> str:
        number = self.baseline.replace(".", "")
        return f"{self.satellite}_MSI{self.level}_{self.day}T101031_N{number}_R022_T{self.tile.name}_{self.day}T120000"

    @property
    def granule(self) -> str:
        return f"{self.level}_T{self.tile.name}_A041000_{self.day}T101028"

    @property
    def product_xml(self) -> str:
        return f"MTD_MSI{self.level}.xml"

    @property
    def granule_xml(self) -> str:
        return f"GRANULE/{self.granule}/MTD_TL.xml"

    @property
    def tile_id(self) -> str:
        made = f"{self.day}T120000_A041000"
        return f"{self.satellite}_OPER_MSI_{self.level}_TL_2APS_{made}_T{self.tile.name}_N{self.baseline}"

    @property
    def bands(self) -> tuple[str, ...]:
        """L2A has no B10: the cirrus band sees no ground."""
        return tuple(name for name in BANDS if self.level == "L1C" or name != "B10")

    def image(self, name: str, gsd_m: int) -> str:
        """Return the path below the product of a band or of SCL, without its ending, as IMAGE_FILE gives it."""
        folder, suffix = ("", "") if self.level == "L1C" else (f"R{gsd_m}m/", f"_{gsd_m}m")
        return f"GRANULE/{self.granule}/IMG_DATA/{folder}T{self.tile.name}_{self.day}T101031_{name}{suffix}"

    def mask(self, kind: str, name: str) -> str:
        ending = "jp2" if self.has_raster_masks else "gml"
        return f"GRANULE/{self.granule}/QI_DATA/MSK_{kind}_{name}.{ending}"

    def mask_entry(self, kind: str, name: str) -> str:
        """Return what the granule's metadata call a mask."""
        return self.mask(kind, name)

    def masks(self) -> list[tuple[str, str]]:
        """Return (kind, band) of all masks; "B00" where one mask serves all bands."""
        kinds = ("DETFOO", "QUALIT") if self.has_raster_masks else ("DEFECT", "DETFOO", "NODATA", "SATURA", "TECQUA")
        whole = "CLASSI" if self.has_raster_masks else "CLOUDS"
        return [*((kind, name) for name in BANDS for kind in kinds if name in self.bands), (whole, "B00")]

    def query(self) -> str:
        return '<Query_Options completeSingleTile="true"><PRODUCT_FORMAT>SAFE_COMPACT</PRODUCT_FORMAT></Query_Options>'

    def granule_list(self) -> str:
        """Return the XML that announces the granule and its images."""
        images = [self.image(name, BANDS[name].gsd_m) for name in self.bands]
        images += [self.image("SCL", 20)] if self.level == "L2A" else []
        return f"""<Granule_List>
<Granule granuleIdentifier="{self.tile_id}" imageFormat="JPEG2000">
{"".join(f"<IMAGE_FILE>{image}</IMAGE_FILE>{chr(10)}" for image in images)}</Granule>
</Granule_List>"""


def product_xml(labels: Sequence[Label]) -> str:
    """Return the text of MTD_MSIL1C.xml or MTD_MSIL2A.xml; `labels` are the granules', alike but for the tile."""
    label = labels[0]
    number, psd = label.level[1:], f"https://psd-14.sentinel2.eo.esa.int/PSD/User_Product_Level-{label.level[1:]}.xsd"
    start, made = f"{label.date}T10:10:31.024Z", f"{label.date}T12:00:00.000000Z"
    spectral = "".join(
        f'<Spectral_Information bandId="{band.band_id}" physicalBand="{_physical(band.name)}">'
        f"<RESOLUTION>{band.gsd_m}</RESOLUTION><Wavelength>"
        f'<MIN unit="nm">{band.wavelength_nm - 10}</MIN><MAX unit="nm">{band.wavelength_nm + 10}</MAX>'
        f'<CENTRAL unit="nm">{band.wavelength_nm}</CENTRAL></Wavelength></Spectral_Information>\n'
        for band in BANDS.values()
    )
    return f"""{_HEADER}<n1:Level-{number}_User_Product xmlns:n1="{psd}">
<n1:General_Info>
<Product_Info>
<PRODUCT_START_TIME>{start}</PRODUCT_START_TIME>
<PRODUCT_STOP_TIME>{start}</PRODUCT_STOP_TIME>
<PRODUCT_URI>{label.product}.SAFE</PRODUCT_URI>
<PROCESSING_LEVEL>Level-{number}</PROCESSING_LEVEL>
<PRODUCT_TYPE>S2MSI{number}</PRODUCT_TYPE>
<PROCESSING_BASELINE>{label.baseline}</PROCESSING_BASELINE>
<GENERATION_TIME>{made}</GENERATION_TIME>
<PREVIEW_IMAGE_URL>Not applicable</PREVIEW_IMAGE_URL>
<PREVIEW_GEO_INFO>Not applicable</PREVIEW_GEO_INFO>
<Datatake datatakeIdentifier="G{label.satellite}_{label.day}T101031_041000_N{label.baseline}">
<SPACECRAFT_NAME>Sentinel-{label.satellite[1:]}</SPACECRAFT_NAME>
<DATATAKE_TYPE>INS-NOBS</DATATAKE_TYPE>
<DATATAKE_SENSING_START>{start}</DATATAKE_SENSING_START>
<SENSING_ORBIT_NUMBER>22</SENSING_ORBIT_NUMBER>
<SENSING_ORBIT_DIRECTION>DESCENDING</SENSING_ORBIT_DIRECTION>
</Datatake>
{label.query()}
<Product_Organisation>{"".join(each.granule_list() for each in labels)}</Product_Organisation>
</Product_Info>
<Product_Image_Characteristics>
{_special("NODATA", 0)}{_special("SATURATED", 65535)}{_radiometry(label)}<Spectral_Information_List>
{spectral}</Spectral_Information_List>
</Product_Image_Characteristics>
</n1:General_Info>
</n1:Level-{number}_User_Product>
"""


def granule_xml(label: Label, shape_10m: tuple[int, int]) -> str:
    """Return the text of MTD_TL.xml for a product of (H, W) pixels at 10 m."""
    number, tile = label.level[1:], label.tile
    grids = [(gsd_m, shape_10m[0] * 10 // gsd_m, shape_10m[1] * 10 // gsd_m) for gsd_m in (10, 20, 60)]
    sizes = "".join(
        f'<Size resolution="{gsd}"><NROWS>{rows}</NROWS><NCOLS>{cols}</NCOLS></Size>\n' for gsd, rows, cols in grids
    )
    positions = "".join(
        f'<Geoposition resolution="{gsd}"><ULX>{tile.ulx_m}</ULX><ULY>{tile.uly_m}</ULY>'
        f"<XDIM>{gsd}</XDIM><YDIM>-{gsd}</YDIM></Geoposition>\n"
        for gsd, _, _ in grids
    )
    masks = "".join(
        f'<MASK_FILENAME {_mask_band(name)}type="MSK_{kind}">{label.mask_entry(kind, name)}</MASK_FILENAME>\n'
        for kind, name in label.masks()
    )
    zone = f"{tile.name[:2]}{'N' if tile.crs.startswith('EPSG:326') else 'S'}"
    return f"""{_HEADER}<n1:Level-{number}_Tile_ID xmlns:n1="https://psd-14.sentinel2.eo.esa.int/PSD/S2_PDI_Level-{number}_Tile_Metadata.xsd">
<n1:General_Info>
<TILE_ID metadataLevel="Brief">{label.tile_id}</TILE_ID>
<SENSING_TIME metadataLevel="Standard">{label.date}T10:10:28.459Z</SENSING_TIME>
</n1:General_Info>
<n1:Geometric_Info>
<Tile_Geocoding metadataLevel="Brief">
<HORIZONTAL_CS_NAME>WGS84 / UTM zone {zone}</HORIZONTAL_CS_NAME>
<HORIZONTAL_CS_CODE>{tile.crs}</HORIZONTAL_CS_CODE>
{sizes}{positions}</Tile_Geocoding>
</n1:Geometric_Info>
<n1:Quality_Indicators_Info metadataLevel="Standard">
<Image_Content_QI><CLOUDY_PIXEL_PERCENTAGE>0.0</CLOUDY_PIXEL_PERCENTAGE></Image_Content_QI>
<Pixel_Level_QI geometry="FULL_RESOLUTION">
{masks}</Pixel_Level_QI>
</n1:Quality_Indicators_Info>
</n1:Level-{number}_Tile_ID>
"""  # noqa: E501


def mask_gml(label: Label, kind: str, name: str, outlined: list[tuple[str, str, list]]) -> str:
    """Return the text of a vector mask of these (mask type, feature id, polygons).

    A polygon is its outer ring and its holes, closed, in metres of the tile's reference system.
    """
    features, index = "", 0
    for mask_type, feature_id, polygons in outlined:
        for outer, *holes in polygons:
            rings = _ring("exterior", outer) + "".join(_ring("interior", hole) for hole in holes)
            dash = "-" if "-" in feature_id else "."
            features += (
                f'<eop:MaskFeature gml:id="{feature_id}{dash}{index}">'
                f'<eop:maskType codeSpace="urn:gs2:S2PDGS:maskType">{mask_type}</eop:maskType>'
                f'<eop:extentOf><gml:Polygon gml:id="{mask_type}.{index}_Polygon">{rings}</gml:Polygon>'
                "</eop:extentOf></eop:MaskFeature>\n"
            )
            index += 1
    members = f"<eop:maskMembers>\n{features}</eop:maskMembers>" if features else "<eop:maskMembers/>"
    return f"""{_HEADER}<eop:Mask xmlns:eop="http://www.opengis.net/eop/2.0" xmlns:gml="http://www.opengis.net/gml/3.2" gml:id="MSK_{kind}_{name}">
<gml:boundedBy><gml:Envelope srsName="urn:ogc:def:crs:{label.tile.crs.replace(":", ":8.7:")}"/></gml:boundedBy>
{members}
</eop:Mask>
"""  # noqa: E501


def _ring(side: str, ring: list[tuple[float, float]]) -> str:
    positions = " ".join(f"{x:.12g} {y:.12g}" for x, y in ring)
    return (
        f'<gml:{side}><gml:LinearRing><gml:posList srsDimension="2">{positions}</gml:posList>'
        f"</gml:LinearRing></gml:{side}>"
    )


def manifest_xml(label: Label, root: Path) -> str:
    """Return the text of manifest.safe: every file below `root` with its size and SHA3-256."""
    objects = "".join(
        f'<dataObject ID="object_{index}">'
        f'<byteStream mimeType="application/octet-stream" size="{file.stat().st_size}">'
        f'<fileLocation locatorType="URL" href="./{file.relative_to(root).as_posix()}"/>'
        f'<checksum checksumName="SHA3-256">{_sha3(file)}</checksum></byteStream></dataObject>\n'
        for index, file in enumerate(sorted(path for path in root.rglob("*") if path.is_file()))
    )
    kind = f"esa/safe/sentinel/1.1/sentinel-2/msi/archive_{label.level.lower()}_user_product"
    return f"""{_HEADER}<xfdu:XFDU xmlns:xfdu="urn:ccsds:schema:xfdu:1" version="{kind}">
<dataObjectSection>
{objects}</dataObjectSection>
</xfdu:XFDU>
"""


def _sha3(file: Path) -> str:
    digest = hashlib.sha3_256()
    with file.open("rb") as stream:
        while block := stream.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def _physical(name: str) -> str:
    """B02 is called B2 here; B8A keeps its name."""
    return name.replace("B0", "B")


def _mask_band(name: str) -> str:
    return "" if name == "B00" else f'bandId="{BANDS[name].band_id}" '


def _special(text: str, value: int) -> str:
    return (
        f"<Special_Values><SPECIAL_VALUE_TEXT>{text}</SPECIAL_VALUE_TEXT>"
        f"<SPECIAL_VALUE_INDEX>{value}</SPECIAL_VALUE_INDEX></Special_Values>\n"
    )


def _radiometry(label: Label) -> str:
    if label.level == "L1C":
        quantification = '<QUANTIFICATION_VALUE unit="none">10000</QUANTIFICATION_VALUE>\n'
        group, tag = "Radiometric_Offset_List", "RADIO_ADD_OFFSET"
    else:
        quantification = (
            '<QUANTIFICATION_VALUES_LIST><BOA_QUANTIFICATION_VALUE unit="none">10000</BOA_QUANTIFICATION_VALUE>'
            "</QUANTIFICATION_VALUES_LIST>\n"
        )
        group, tag = "BOA_ADD_OFFSET_VALUES_LIST", "BOA_ADD_OFFSET"
    if label.offsets is None:
        return quantification
    offsets = "".join(
        f'<{tag} band_id="{BANDS[name].band_id}">{offset}</{tag}>\n' for name, offset in label.offsets.items()
    )
    return f"{quantification}<{group}>\n{offsets}</{group}>\n"
