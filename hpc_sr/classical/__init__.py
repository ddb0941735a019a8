"""Classical sharpening, without training: what a network has to beat. Plain functions of arrays in stored units."""
