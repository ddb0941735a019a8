"""A trained network as files that others can use: weights, graphs, and a card that says what they are."""
