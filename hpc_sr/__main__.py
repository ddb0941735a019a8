"""`hpc-sr` and `python -m hpc_sr`: run a command, turn a user's error into two lines and exit code 2."""

from __future__ import annotations

import signal
import sys

from hpc_sr.errors import HpcSrError
from hpc_sr.logs import speaking

#: Options that take several values; of `infer` one method.
_LISTS = ("--product", "--method", "--prediction", "--stack", "--image")
_OF_INFER = ("--product", "--stack", "--image", "--reference")


def main() -> None:
    """Run the command line."""
    try:
        with speaking():
            from hpc_sr.cli import app  # here: an interrupt while it loads is no error

            app(args=expand_lists(sys.argv[1:]), prog_name="hpc-sr")
    except HpcSrError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        sys.exit(128 + signal.SIGINT)


def expand_lists(arguments: list[str]) -> list[str]:
    """Return the arguments with `--product A B` written as `--product A --product B`."""
    lists = _OF_INFER if arguments[:1] == ["infer"] else _LISTS
    expanded: list[str] = []
    listing = ""
    for argument in arguments:
        if argument.startswith("-"):
            listing = argument if argument in lists else ""
            expanded.append(argument)
        elif listing and expanded[-1] != listing:
            expanded += [listing, argument]
        else:
            expanded.append(argument)
    return expanded


if __name__ == "__main__":
    main()
