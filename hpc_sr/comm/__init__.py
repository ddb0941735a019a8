"""Ranks. The only room that names horovod, torch.distributed or mpi4py, each in one file, imported when chosen."""
