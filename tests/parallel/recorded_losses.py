"""Twenty seeded steps of every family and precision: their losses, as a run writes them down.

    python tests/parallel/recorded_losses.py FOLDER                # on the ranks of the launcher; writes losses.json
    python tests/parallel/recorded_losses.py FOLDER EXPECTED.json  # and compares the losses to the bit
    python tests/parallel/recorded_losses.py FOLDER - s2x degan    # of these families alone

A change that must not change what is computed is proven on one machine by the second form. The test compares with
`recorded_losses.json` up to rounding, which differs between processors.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from made_store import made_store

from hpc_sr.comm.communicator import Comm
from hpc_sr.comm.launch import connected
from hpc_sr.config import parse
from hpc_sr.recipe import Recipe
from hpc_sr.tasks import task_by_name

STEPS, BATCH = 20, 8
PRECISIONS = ("fp32", "bf16", "fp16")
#: For networks whose layers others have in the other precisions.
FP32: dict = {"precisions": ("fp32",)}
#: Name: task, patch size, model section, what else of the recipe is not as usual.
FAMILIES: dict[str, tuple[str, int, dict, dict]] = {
    "s2x": ("s2x", 16, {"family": "s2x", "width": 16, "blocks": 2}, {}),
    "s6x": ("s6x", 24, {"family": "s2x", "width": 16, "blocks": 1}, {}),
    "s2x_plain": ("s2x", 16, {"family": "s2x", "width": 16, "blocks": 1, "attention": False}, {}),
    "dsen2": ("s2x", 16, {"family": "dsen2", "width": 16, "blocks": 2}, {}),
    "dsen2_images": ("sisr_x2", 16, {"family": "dsen2", "width": 16, "blocks": 2}, {}),
    "s2x_averaged": (
        "s2x",
        16,
        {"family": "s2x", "width": 16, "blocks": 1},
        {"train": {"ema_samples": 64, "clip_norm": 0.05, "accumulation_steps": 2}, "optimizer": {"name": "sgd"}},
    ),
    "srcnn": ("sisr_x2", 16, {"family": "srcnn", "width": 8, "hidden": 4, "colours": "y"}, FP32),
    "fsrcnn": ("sisr_x2", 16, {"family": "fsrcnn", "width": 8, "narrow": 4, "maps": 1}, FP32),
    "fsrcnn_bicubic": (
        "sisr_x2",
        16,
        {"family": "fsrcnn", "width": 8, "narrow": 4, "maps": 1, "base": "bicubic"},
        FP32,
    ),
    # Biases before a BatchNorm have gradients of rounding alone, of which Adam would make whole steps.
    "srresnet": (
        "sisr_x2",
        16,
        {"family": "srresnet", "width": 8, "blocks": 1},
        {**FP32, "optimizer": {"name": "sgd", "base_lr": 0.02}},
    ),
    "rrdb": ("sisr_x4", 32, {"family": "rrdb", "width": 8, "growth": 4, "blocks": 1}, FP32),
    "efdn": ("sisr_x2", 32, {"family": "efdn", "width": 8}, FP32),
    # Two phases: two steps of content, then the critic.
    "enlighten": (
        "sisr_x4",
        56,
        {"family": "enlighten", "width": 8, "growth": 4, "blocks": 1},
        {
            **FP32,
            "optimizer": {"eps": 1e-3},
            "objective": {
                "method": "enlighten",
                "content": "mse",
                "content_samples": 2 * BATCH,
                "loss": "wgan_gp",
                "critic": {"family": "vgg", "width": 16, "stages": 2, "hidden": 8, "norm": "none"},
                "critic_optimizer": {"eps": 1e-3},
            },
        },
    ),
    # Content alone, then critics of images and of their gradients; some references are of no use.
    "rrsgan": (
        "refsr_x4",
        32,
        {"family": "rrsgan", "width": 8, "blocks": 1, "gradient_width": 4, "groups": 2},
        {
            **FP32,
            "optimizer": {"eps": 1e-3},
            "train": {"useless_references": 0.25},
            "objective": {
                "method": "adversarial",
                "content_samples": 2 * BATCH,
                "gradients": 1.0,
                "loss": "ragan",
                "critic": {"family": "vgg", "width": 16, "stages": 2, "hidden": 8, "norm": "none", "bias": "first"},
                "gradient_critic": {"family": "s2d_light", "width": 16},
                "critic_optimizer": {"eps": 1e-3},
            },
        },
    ),
    "imdn": ("sisr_x2", 16, {"family": "imdn", "width": 16, "blocks": 1}, FP32),
    "rfdn": ("sisr_x2", 32, {"family": "rfdn", "width": 8, "blocks": 1}, FP32),
    "swinir": (
        "sisr_x2",
        16,
        {"family": "swinir", "width": 8, "stages": 1, "layers": 2, "heads": 2, "window_px": 4},
        FP32,
    ),
    "dbpn": ("sisr_x2", 16, {"family": "dbpn", "width": 8, "features": 8, "stages": 2}, FP32),
    "hsenet": ("sisr_x2", 16, {"family": "hsenet", "width": 8, "modules": 1}, FP32),
    # Of its gradients some are of rounding alone, as above.
    "transenet": (
        "sisr_x2",
        16,
        {"family": "transenet", "width": 8, "blocks": 1, "embedding": 8, "layers": 1},
        {**FP32, "optimizer": {"eps": 1e-3}},
    ),
    # Its noise is that of each sample on any number of ranks; what its transformer drops is not.
    "degan": (
        "sisr_x2",
        16,
        {"family": "degan", "width": 16, "blocks": 1, "unet_width": 16, "dropout": 0.0},
        {**FP32, "optimizer": {"name": "sgd", "base_lr": 0.02}},
    ),
    "msfm": ("sisr_x4", 32, {"family": "msfm", "width": 8}, FP32),
    # Content alone, then a critic of the picture before its edges are mended.
    "eegan": (
        "sisr_x4",
        32,
        {"family": "eegan", "width": 8, "blocks": 1, "edge_blocks": 1},
        {
            **FP32,
            "optimizer": {"eps": 1e-3},
            "objective": {
                "method": "adversarial",
                "content": "charbonnier",
                "content_samples": 2 * BATCH,
                "seen": "base",
                "loss": "lsgan_charbonnier",
                "critic": {"family": "eegan", "width": 16, "hidden": 8},
                "critic_optimizer": {"eps": 1e-3},
            },
        },
    ),
}


def losses_of(comm: Comm, folder: Path, families: Sequence[str] = tuple(FAMILIES)) -> dict[str, list[float]]:
    """Return the losses of each step by family and precision, and the RMSE of the validation at the end."""
    from hpc_sr.cli.train import train_recipe

    found = {}
    for name in families:
        task, patch_px, model, changed = FAMILIES[name]
        store = folder / "stores" / f"{task}_{patch_px}"
        if comm.rank == 0 and not store.exists():
            made_store(store, task_by_name(task), patch_px)
        comm.barrier()
        for precision in changed.get("precisions", PRECISIONS):
            train = {
                "batch_size_per_rank": BATCH
                // comm.world_size
                // changed.get("train", {}).get("accumulation_steps", 1),
                "precision": precision,
                "log_every_steps": 1,
                "evaluate_every_steps": STEPS,
                "runs": str(folder / f"runs_{comm.backend}_{comm.world_size}"),
                **changed.get("train", {}),
            }
            recipe = parse(
                Recipe,
                {
                    "name": f"{name}_{precision}",
                    "task": task,
                    "store": str(store),
                    "model": model,
                    "objective": changed.get("objective", {}),
                    "optimizer": {"base_lr": 1e-3, **changed.get("optimizer", {})},
                    "schedule": {"total_samples": STEPS * BATCH, "lr_scaling": "none"},
                    "train": train,
                },
                "recorded losses",
            )
            train_recipe(recipe, comm)
            lines = [json.loads(line) for line in (recipe.run_directory / "metrics.jsonl").read_text().splitlines()]
            found[recipe.name] = [line["loss"] for line in lines if line["kind"] == "train"]
            found[recipe.name] += [line["rmse"] for line in lines if line["kind"] == "validation"]
    return found


def main(folder: str, expected: str = "-", *families: str) -> None:
    with connected() as comm:
        found = losses_of(comm, Path(folder), families or tuple(FAMILIES))
        if comm.rank == 0:
            (Path(folder) / "losses.json").write_text(json.dumps(found, indent=1) + "\n")
            if expected != "-":
                before = json.loads(Path(expected).read_text())
                changed = [name for name in found if found[name][:STEPS] != before.get(name, [])[:STEPS]]
                print(f"differ in bits: {', '.join(changed)}" if changed else "equal to the bit")


if __name__ == "__main__":
    main(*sys.argv[1:])
