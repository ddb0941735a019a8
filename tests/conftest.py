"""What all tests share: the real data beside the project, and a tiny world made in it."""

from __future__ import annotations

import logging
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import pytest
from support import TinyWorld, require

# In a shell's background, or under nohup: what is started here would ignore these, too.
for _number, _usual in ((signal.SIGINT, signal.default_int_handler), (signal.SIGHUP, signal.SIG_DFL)):
    if signal.getsignal(_number) is signal.SIG_IGN:
        signal.signal(_number, _usual)

# Before anything imports torch: threads that spin for work starve others, and themselves, on a busy machine.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

# How long an example takes depends on what else the machine does.
hypothesis.settings.register_profile("any machine", deadline=None)
hypothesis.settings.load_profile("any machine")


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> object:
    """Let one process run what starts ranks, jobs or commands, one after the other; a unit test's file is a whole."""
    from xdist.scheduler import LoadScopeScheduling

    class ByPlace(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            path = nodeid.split("::")[0]
            return path if "/unit/" in path else "ranks, jobs and commands"

    return ByPlace(config, log)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Iterator[None]:
    """Spell out what is no UTF-8 in a test's output, as names of files may be: processes send each other UTF-8."""
    report = yield
    report.sections = [(name, text.encode(errors="backslashreplace").decode()) for name, text in report.sections]
    return report


_SHARED_DATA = Path(__file__).resolve().parents[1].parent / "shared" / "data"


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real scenes and products, ../shared/data from the project's root."""
    require(_SHARED_DATA.is_dir(), f"no real data at {_SHARED_DATA}")
    return _SHARED_DATA


@pytest.fixture
def log_lines() -> Iterator[list[str]]:
    """What the package's log says, each line once, whatever a test before did to the logger."""
    logger, lines, handler = logging.getLogger("hpc_sr"), list[str](), logging.Handler()
    handler.emit = lambda record: lines.append(record.getMessage())
    before = logger.level
    logger.setLevel(logging.INFO)
    logger.addHandler(handler)
    yield lines
    logger.removeHandler(handler)
    logger.setLevel(before)


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> TinyWorld:
    """A prepared world of 240 x 240 px products: tile 33UUB to train on, 32TQM held out for validation."""
    from data_prep.build import prepare
    from data_prep.synthetic import landscape, write_product
    from hpc_sr.comm.mpi import SerialWorld
    from hpc_sr.recipe import load_recipe
    from hpc_sr.tasks import S2X

    folder = tmp_path_factory.mktemp("tiny")
    first = write_product(folder, landscape(240, 1), tile="33UUB", baseline="05.09")
    second = write_product(folder, landscape(240, 2), tile="32TQM", baseline="02.06", satellite="S2B")
    recipe = folder / "tiny.yaml"
    recipe.write_text(
        f"""name: tiny
task: s2x
store: {folder / "store"}
prepare:
  products: ["{folder}/*.SAFE"]
  degradation: wald
  patch_px: 16
  stride_px: 8
  split: {{validation: [32TQM]}}
model: {{family: s2x, width: 16, blocks: 1}}
optimizer: {{base_lr: 1e-3}}
schedule: {{total_samples: 320, lr_scaling: none}}
train:
  batch_size_per_rank: 16
  precision: fp32
  runs: {folder / "runs"}
  log_every_steps: 5
  evaluate_every_steps: 10
  checkpoint_every_steps: 5
"""
    )
    settings = load_recipe(recipe)
    assert settings.prepare is not None
    prepare(settings.prepare, S2X, Path(settings.store), SerialWorld())
    return TinyWorld((first, second), recipe, Path(settings.store))
