"""`hpc-sr` and `python -m hpc_sr`: run a command, turn a user's error into two lines and exit code 2."""

from __future__ import annotations

import sys

from hpc_sr.cli import app
from hpc_sr.errors import HpcSrError


def main() -> None:
    """Run the command line."""
    try:
        app(args=expand_lists(sys.argv[1:]), prog_name="hpc-sr")
    except HpcSrError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)


def expand_lists(arguments: list[str]) -> list[str]:
    """Return the arguments with `--product A B` written as `--product A --product B`."""
    expanded: list[str] = []
    listing = False
    for argument in arguments:
        if argument.startswith("-"):
            listing = argument == "--product"
            expanded.append(argument)
        elif listing and expanded[-1] != "--product":
            expanded += ["--product", argument]
        else:
            expanded.append(argument)
    return expanded


if __name__ == "__main__":
    main()
