"""What ranks agree on: made-up ranks in threads of one process talk through a barrier, as real ones do."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from small_training import noise_batch
from thread_ranks import ThreadComm, on_ranks

from hpc_sr.comm.communicator import SerialComm
from hpc_sr.data.dataset import Patches
from hpc_sr.errors import TrainingError
from hpc_sr.shards.reader import Store
from hpc_sr.tasks import S2X
from hpc_sr.train.player import Update
from hpc_sr.train.stop import StopFlag
from hpc_sr.train.watch import Watch


def update(loss: float = 1.0, norm: float = 1.0) -> Update:
    terms = {"loss": torch.tensor(loss), "gradient_norm": torch.tensor(norm)}
    return Update(terms, terms["gradient_norm"].isfinite())


@pytest.fixture
def patches(tiny) -> Patches:
    store = Store(tiny.store)
    return Patches.of(store.split("train"), S2X, store.manifest.patch_px)


@pytest.mark.parametrize("signalled", [0, 2])
def test_a_signal_on_one_rank_stops_all_at_the_same_step(tmp_path: Path, patches, signalled: int) -> None:
    def train(comm: ThreadComm) -> list[int]:
        stop = StopFlag()
        watch = Watch(tmp_path, comm, stop, patches, 0)
        agreed = []
        for step in range(1, 2000):
            stop.requested = stop.requested or (comm.rank == signalled and step == 700)
            watch.note(step, update(), noise_batch(1))
            if watch.is_due(step):
                agreed.append(step)
                if watch.agree(step):
                    break
        return agreed

    told = on_ranks(3, train)
    assert told[0] == told[1] == told[2] and told[0][-1] >= 700


@pytest.mark.parametrize("norm", [float("nan"), float("inf")])
def test_updates_left_out_are_counted_in_a_row_and_end_the_run(tmp_path: Path, patches, norm: float) -> None:
    def train(comm: ThreadComm) -> int:
        watch = Watch(tmp_path, comm, StopFlag(), patches, most_in_a_row=2)
        # Two in a row, one that is well, two in a row, one that is well, three in a row.
        for step, bad in enumerate([1, 1, 0, 1, 1, 0, 1, 1, 1, 0], start=1):
            loss = norm if bad and comm.rank == 1 else 1.0
            watch.note(step, update(loss, norm if bad else 1.0), noise_batch(4))
            if step % 4 == 0 or step == 10:
                watch.agree(step)
        return step

    told = on_ranks(3, train)
    assert [type(error) for error in told] == [TrainingError] * 3
    assert len({str(error) for error in told}) == 1
    assert "in 3 updates in a row, the last at step 9" in str(told[0])
    files = sorted((tmp_path / "not_finite").iterdir())
    assert [int(file.stem[-2:]) for file in files] == [1, 2, 4, 5, 7, 8, 9]
    found = json.loads(files[-1].read_text())
    assert [rank["loss"] for rank in found["ranks"]] == ["1.0", str(norm), "1.0"]
    expected = patches.describe([0, 1, 2, 3])
    assert found["ranks"][1]["patches"] == expected and len({str(place) for place in expected}) == 4


def test_overflow_under_loss_scaling_tells_of_no_patches(tmp_path: Path, patches) -> None:
    watch = Watch(tmp_path, SerialComm(), StopFlag(), patches, most_in_a_row=1)
    watch.note(1, update(1.0, float("inf")), noise_batch(2))
    assert not watch.agree(1)
    assert not (tmp_path / "not_finite").exists()


def test_described_patches_are_where_they_were_cut(patches) -> None:
    places = patches.describe(list(range(len(patches))))
    assert len({(place["shard"], place["row"]) for place in places}) == len(patches)
    assert len({(place["product"], tuple(place["origin"])) for place in places}) == len(patches)
