"""`hpc-sr` and `python -m hpc_sr`: run a command, turn a user's error into two lines and exit code 2."""

from __future__ import annotations

import sys

from hpc_sr.cli import app, expand_lists
from hpc_sr.errors import HpcSrError


def main() -> None:
    """Run the command line."""
    try:
        app(args=expand_lists(sys.argv[1:]), prog_name="hpc-sr")
    except HpcSrError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    main()
