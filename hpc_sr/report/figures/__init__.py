"""Figures and pictures of a page, as SVG and PNG."""

from hpc_sr.extras import need

need("matplotlib", "report", "a figure")
