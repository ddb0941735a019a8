"""`python -m data_prep.synthetic OUT_DIR ...`: the same as `hpc-sr synthetic`."""

from __future__ import annotations

import sys

from hpc_sr.__main__ import main

if __name__ == "__main__":
    sys.argv.insert(1, "synthetic")
    main()
