"""`hpc-sr verify`: whether a store is still what was written."""

from __future__ import annotations

import typer

from hpc_sr.cli.arguments import StoreDirectory


def verify(store: StoreDirectory) -> None:
    """Read all of a store, compare every checksum and list the damaged files; exit code 1 if there are any.

    `mpirun -n N hpc-sr verify STORE` shares out the files. To mend: delete what is damaged and prepare again.
    """
    from data_prep.inspection import verify as damages
    from hpc_sr.comm.failure import failing_together
    from hpc_sr.comm.mpi import mpi_world
    from hpc_sr.logs import setup_logging
    from hpc_sr.shards.schema import read_manifest

    world = mpi_world()
    setup_logging(world.rank, world.world_size)
    with failing_together(world):
        found = damages(store, world)
        if world.rank == 0:
            for error in found:
                typer.echo(f"damaged: {error}")
            shards = sum(len(entries) for entries in read_manifest(store).splits.values())
            typer.echo(f"{store}: {shards - len(found)} of {shards} files are as they were written")
        world.barrier()  # a rank that leaves with code 1 takes the others along
    raise typer.Exit(1 if found else 0)
