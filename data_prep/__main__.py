"""`python -m data_prep RECIPE [key=value ...]`: the same as `hpc-sr prepare`."""

from __future__ import annotations

import sys

from hpc_sr.__main__ import main

if __name__ == "__main__":
    sys.argv.insert(1, "prepare")
    main()
