"""The `prepare` and `images` sections of a recipe."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from hpc_sr.config import Count, LessThan1, PathText, Pixels, Positive, Section, Seed, Share

Names = Annotated[tuple[PathText, ...], Field(min_length=1)]


class SplitOptions(Section):
    """What goes where. Lists win; the rest is drawn by `seed`, a whole tile (or sensing day) at a time.

    An entry is a tile (33UUB), a product's name, an image's name, or a .txt file of such entries, one a line.
    `by: block` holds out shares of every tile's own blocks instead, so that one product is enough. They have
    `block_px` a side; what is trained on stays `margin_px` away. Both are in pixels of the target grid.
    """

    train: tuple[PathText, ...] = ()
    validation: tuple[PathText, ...] = ()
    test: tuple[PathText, ...] = ()
    by: Literal["tile", "date", "block"] = "tile"
    validation_share: LessThan1 = 0.0
    test_share: LessThan1 = 0.0
    block_px: Pixels = 96
    margin_px: Annotated[int, Field(ge=0, le=100_000)] = 8
    seed: Seed = 0

    @model_validator(mode="after")
    def _lists_do_not_overlap(self) -> SplitOptions:
        named = [*self.train, *self.validation, *self.test]
        twice = sorted({entry for entry in named if named.count(entry) > 1})
        if twice:
            raise ValueError(f"{twice[0]} is in two splits")
        if self.validation_share + self.test_share >= 1:
            raise ValueError("validation_share + test_share leave nothing to train on")
        if self.by == "block" and named:
            raise ValueError(f"by: block holds out parts of every tile, {named[0]} is a whole one: give shares")
        if self.by == "block" and not self.validation_share + self.test_share:
            raise ValueError("by: block holds nothing out: give validation_share, test_share or both")
        return self


class RefuseOptions(Section):
    """The largest share of a patch that may be marked, by reason; 1 keeps every patch and leaves the mask unread.

    `none` allows all of them. Nodata and saturated pixels are never allowed: the DN tell them, and the quality masks
    where the product has them. `shadow` is told by L2A alone, `snow` by L2A and raster masks.
    """

    lost: Share = 0.0
    degraded: Share = 0.0
    defective: Share = 0.0
    cloud: Share = 0.1
    cirrus: Share = 1.0
    shadow: Share = 1.0
    snow: Share = 1.0
    detector_seam: Share = 1.0

    @model_validator(mode="before")
    @classmethod
    def _none(cls, given: Any) -> Any:
        return dict.fromkeys(cls.model_fields, 1.0) if given == "none" else given

    def limits(self) -> dict[str, float]:
        """Return the share allowed by reason, in the order in which a patch's refusal is counted."""
        return {"nodata": 0.0, "saturated": 0.0, **self.model_dump()}


class StoreOptions(Section):
    """What preparing has in common whatever the pixels come from. Sizes are in pixels of the target grid.

    `shuffle` mixes the training patches of all products over shards of `shard_rows`; other splits keep a shard a
    product. Of a product to train on at most `patches_per_product` are taken, drawn at random, so that large ones do
    not outweigh small ones; null takes all. `bad_products: skip` reports what cannot be used and goes on, `fail`
    raises once all are tried. `allow_removal` lets finished patches go that this recipe does not give: a word for the
    command line.
    """

    patch_px: Annotated[Pixels, Field(ge=2)] = 32
    stride_px: Pixels = 32
    patches_per_product: Count | None = None
    layout: Literal["contiguous", "compact"] = "contiguous"
    shuffle: bool = True
    shard_rows: Count = 16384
    bad_products: Literal["skip", "fail"] = "skip"
    maps: bool = True
    allow_removal: bool = False
    seed: Seed = 0
    split: SplitOptions = SplitOptions()


class PrepareOptions(StoreOptions):
    """How products become patches; `products` are paths or globs of .SAFE directories and .zip files.

    Of an acquisition under two baselines the newer product is taken; `bad_products: fail` raises instead.
    `mtf_jitter` shifts each band's MTF by up to this much, anew for every training product. `phases` takes a training
    product so many times, each with another grid of coarse pixels: of a scale s there are s x s. `registration_px` is
    the largest shift between a product's grids, in pixels of the coarser one; null leaves it unmeasured.
    """

    products: Names
    degradation: Literal["wald", "mtf"] = "mtf"
    mtf_jitter: Annotated[float, Field(ge=0, le=0.1)] = 0.0
    phases: Annotated[int, Field(ge=1, le=36)] = 1
    registration_px: Positive | None = 0.5
    refuse: RefuseOptions = RefuseOptions()

    @model_validator(mode="after")
    def _jitter_needs_mtf(self) -> PrepareOptions:
        if self.mtf_jitter and self.degradation != "mtf":
            raise ValueError("mtf_jitter needs degradation: mtf")
        return self


class ImageOptions(StoreOptions):
    """How images become patches: `hr` images or the 10 m bands of `products` (paths or globs, one of the two).

    Without `lr` the low resolution is made by `degradation`; `ref` gives each image a reference of the same name.
    `references` gives each product the one of its tile that is nearest in time, of another day; it may name the same.
    `bands` and `values` are for products: an 8-bit stretch of each band's 2nd to 98th percentile, or reflectance.
    """

    maps: bool = False
    hr: tuple[PathText, ...] = ()
    lr: tuple[PathText, ...] = ()
    ref: tuple[PathText, ...] = ()
    products: tuple[PathText, ...] = ()
    references: tuple[PathText, ...] = ()
    bands: tuple[Literal["B02", "B03", "B04", "B08"], ...] = ("B04", "B03", "B02")
    values: Literal["stretch", "reflectance"] = "stretch"
    degradation: Literal["bicubic", "gauss1_bicubic", "box"] = "bicubic"
    refuse: RefuseOptions = RefuseOptions()

    @model_validator(mode="after")
    def _one_source(self) -> ImageOptions:
        if bool(self.hr) == bool(self.products):
            raise ValueError("give either hr or products")
        if self.products and (self.lr or self.ref):
            raise ValueError("lr and ref go with hr images, not with products")
        if self.references and not self.products:
            raise ValueError("references go with products; hr images have ref")
        if self.references and self.split.by == "date":
            raise ValueError("split.by: date would put a product and its reference of another day into two splits")
        if self.split.by == "block":
            raise ValueError("split.by: block is for the section prepare: hold out whole images or tiles")
        return self
