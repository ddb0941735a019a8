"""The command line as a whole: version, completion, help on a terminal of 80 columns."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from support import run_cli

from hpc_sr import __version__
from hpc_sr.cli import app

VERBS = [command.callback.__name__.replace("_", "-") for command in app.registered_commands]
#: Runs a command as the shell does, and says of what is large whether it was loaded.
COMMAND = """
import sys
from hpc_sr.__main__ import main
try:
    main()
finally:
    large = {"torch", "rasterio", "matplotlib"} & set(sys.modules)
    print("loaded:", *sorted(large), file=sys.stderr)
"""


def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    env = {**os.environ, **environment}
    return subprocess.run([sys.executable, "-c", COMMAND, *arguments], env=env, capture_output=True, text=True)


def test_the_version_is_told(capsys) -> None:
    assert not run_cli("--version")
    assert capsys.readouterr().out.split() == ["hpc_sr", __version__]


@pytest.mark.parametrize(
    "line",
    ["infer NAME", "infer NAME X.SAFE", "infer X.SAFE --out NAME", "infer X.SAFE --out NAME.tif", "infer --stack NAME"]
    + ["train NAME", "evaluate NAME", "report NAME", "export NAME", "export runs --out NAME", "demo --out NAME"]
    + ["inspect NAME", "verify NAME", "merge NAME NAME", "scaling NAME", "slurm --out NAME", "synthetic NAME"],
)
def test_a_name_too_long_for_the_disk_is_told_by_every_verb(line: str, tmp_path: Path, monkeypatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    assert run_cli(*line.replace("NAME", "x" * 300).split()) == 2
    assert "cure: " in capsys.readouterr().err and not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("hpc-sr tr", {"train"}),
        ("hpc-sr infer runs/s2x --product A.SAFE B.SAFE --self", {"--self-ensemble"}),
        ("hpc-sr evaluate --protocol ", {"synthesis", "consistency", "both"}),
        ("hpc-sr synthetic products --level L", {"L1C", "L2A"}),
    ],
)
def test_a_shell_completes_verbs_options_and_choices_without_loading_torch(line: str, found: set[str]) -> None:
    words = line.split(" ")
    done = run(_HPC_SR_COMPLETE="complete_bash", COMP_WORDS=line, COMP_CWORD=str(len(words) - 1))
    assert set(done.stdout.split()) == found, done.stderr
    assert done.stderr.splitlines()[-1] == "loaded:"


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_installs_in_the_home_folder(shell: str, tmp_path: Path) -> None:
    done = run("--install-completion", shell, HOME=str(tmp_path), _TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION="1")
    assert done.returncode == 0, done.stderr
    assert any("HPC_SR_COMPLETE" in path.read_text() for path in tmp_path.rglob("*") if path.is_file())


@pytest.mark.parametrize("verb", VERBS)
def test_help_fits_80_columns(verb: str, monkeypatch, capsys) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("TERMINAL_WIDTH", "80")
    assert not run_cli(verb, "--help")
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 80
    assert f"hpc-sr {verb} " in next(line for line in lines if "Usage" in line)
    for line in lines:
        assert "<" not in line or ">" in line.split("<", 1)[1], f"choices are broken: {line}"
        assert "[[" not in line and "...]..." not in line, f"brackets twice: {line}"
