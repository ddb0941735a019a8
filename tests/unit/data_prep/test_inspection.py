"""`hpc-sr inspect`, `verify` and `merge` on a real, tiny store."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from matplotlib.image import imread
from support import TinyWorld, run_cli

from hpc_sr.shards.schema import SPLITS, read_manifest, write_manifest


@pytest.fixture
def store(tiny: TinyWorld, tmp_path: Path) -> Path:
    """A copy that a test may damage."""
    return Path(shutil.copytree(tiny.store, tmp_path / "store"))


def test_the_tables_tell_what_the_manifest_tells(store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_cli("inspect", store) in (None, 0)
    told = capsys.readouterr().out
    manifest = read_manifest(store)
    for product in manifest.products:
        line = next(line for line in told.splitlines() if product["product"] in line)
        for key in ("tile", "processing_baseline", "satellite", "split"):
            assert product[key] in line
        assert f" {product['patches']:,} " in line and product["sensing_time"][:10] in line
    words = [line.split() for line in told.splitlines()]
    for split in SPLITS:
        size = sum(entry.bytes for entry in manifest.splits[split]) / 1e6
        row = [split, str(len(manifest.splits[split])), f"{manifest.rows(split):,}", f"{size:,.1f}"]
        assert row in words
    for layer, sums in manifest.statistics.items():
        for band, mean, std in zip(manifest.layers[layer]["bands"], sums["mean"], sums["std"], strict=True):
            assert [layer, band, f"{mean:,.1f}", f"{std:,.1f}"] in words
    assert "wald" in told and "reflectance x 10000" in told and "16 px every 8 px" in told
    sheet = imread(store / "contact_sheet.png")
    assert sheet.shape[0] > 500 and sheet.shape[1] > 1000


def test_json_tells_the_same_and_draws_only_what_is_asked_for(
    store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_cli("inspect", store, "--json") in (None, 0)
    found = json.loads(capsys.readouterr().out)
    manifest = read_manifest(store)
    assert {split: told["patches"] for split, told in found["splits"].items()} == {
        split: manifest.rows(split) for split in SPLITS
    }
    assert found["products"] == list(manifest.products) and found["skipped"] == []
    assert found["statistics"]["x10"]["B04"]["mean"] == manifest.statistics["x10"]["mean"][2]
    assert (found["task"], found["level"], found["mtf_jitter"]) == ("s2x", "L1C", 0.0)
    assert not (store / "contact_sheet.png").exists()
    sheet = tmp_path / "other.png"
    assert run_cli("inspect", store, "--json", "--sheet", sheet) in (None, 0)
    assert sheet.exists() and not (store / "contact_sheet.png").exists()


def test_the_sheet_is_the_same_every_time(store: Path, tmp_path: Path) -> None:
    for name in ("a.png", "b.png"):
        run_cli("inspect", store, "--sheet", tmp_path / name)
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()


def test_what_was_skipped_is_told(store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from dataclasses import replace

    from hpc_sr.shards.schema import write_manifest

    skipped = ({"product": "S2A_X", "error": "RasterError", "message": "B05.jp2: is empty"},)
    write_manifest(store, replace(read_manifest(store), skipped=skipped))
    run_cli("inspect", store)
    assert ["S2A_X", "RasterError", "B05.jp2: is empty"] in [
        [part.strip() for part in line.split("   ") if part.strip()] for line in capsys.readouterr().out.splitlines()
    ]


@pytest.mark.parametrize("verb", ["inspect", "verify"])
def test_a_folder_without_a_store_is_an_error(tmp_path: Path, verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_cli(verb, tmp_path) == 2
    assert "manifest.json" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_a_sheet_that_cannot_be_written_is_an_error(store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_cli("inspect", store, "--sheet", store / "absent" / "sheet.png") == 2
    assert "cannot be written" in capsys.readouterr().err


def test_verify_finds_every_damage_and_nothing_else(store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_cli("verify", store) == 0
    shards = sorted((store / "shards").glob("*.h5"))
    assert f"{len(shards)} of {len(shards)} files" in capsys.readouterr().out
    # A bit that turns in the last patch, and a file that is gone.
    content = bytearray(shards[0].read_bytes())
    content[-1] ^= 1
    shards[0].write_bytes(content)
    assert run_cli("verify", store) == 1
    told = "\n" + capsys.readouterr().out
    assert told.count("\ndamaged: ") == 1 and shards[0].name in told and f"{len(shards) - 1} of {len(shards)}" in told
    shards[1].unlink()
    assert run_cli("verify", store) == 1
    told = "\n" + capsys.readouterr().out
    assert told.count("\ndamaged: ") == 2 and shards[0].name in told and shards[1].name in told and "missing" in told


@pytest.mark.parametrize("share", ["1", "1/", "/2", "2/2", "-1/2", "a/b", "0/0"])
def test_a_share_that_is_none_is_refused(tiny: TinyWorld, share: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_cli("prepare", tiny.recipe, f"--share={share}") == 2
    assert "--share" in capsys.readouterr().err


def test_a_recipe_that_prepares_nothing_is_refused(tiny: TinyWorld, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_cli("prepare", tiny.recipe, "prepare=null") == 2
    assert "neither a `prepare` nor an `images` section" in capsys.readouterr().err


def test_merged_stores_hold_what_both_held(tiny: TinyWorld, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    parts = []
    for number, product in enumerate(tiny.products):
        parts.append(tmp_path / f"part{number}")
        only = [f"prepare.products=[{product}]", "prepare.split.validation=[]", f"store={parts[-1]}"]
        assert run_cli("prepare", tiny.recipe, *only) in (None, 0)
    assert run_cli("merge", tmp_path / "both", *parts) in (None, 0)
    rows = sum(read_manifest(part).rows("train") for part in parts)
    assert f"both: {rows} train, 0 validation, 0 test patches of 2 products" in capsys.readouterr().out
    assert run_cli("verify", tmp_path / "both") == 0
    assert run_cli("merge", tmp_path / "both", *parts) == 2


def test_no_verb_of_preparation_loads_torch(tiny: TinyWorld, tmp_path: Path) -> None:
    code = (
        "import sys; from support import run_cli\n"
        "codes = [run_cli(*a.split()) for a in sys.argv[1:]]\n"
        "assert 'torch' not in sys.modules and not any(codes), codes"
    )
    verbs = [f"prepare {tiny.recipe} store={tmp_path}/s", f"inspect {tmp_path}/s", f"verify {tmp_path}/s"]
    tests = Path(__file__).resolve().parents[2]
    done = subprocess.run([sys.executable, "-c", code, *verbs], cwd=tests, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_names_are_text(store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    manifest = read_manifest(store)
    names = "[red]mine[/red]", ":smile:[/]"
    line = {"product": names[0], "error": "RasterError", "message": names[1]}
    write_manifest(store, replace(manifest, skipped=(line,)))
    assert run_cli("inspect", store) in (None, 0)
    told = capsys.readouterr().out
    assert all(name in told for name in names)
