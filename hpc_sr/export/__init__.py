"""A trained network as files that others can use: weights, graphs, and a card that says what they are."""

from hpc_sr.extras import need

need("jinja2", "report", "a model card")
