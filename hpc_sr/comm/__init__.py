"""What ranks do together. No other room names horovod, torch.distributed or mpi4py; they load when they are chosen."""
