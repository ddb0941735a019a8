"""Figures and pictures of a page, as SVG and PNG."""
