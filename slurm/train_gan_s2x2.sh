#!/usr/bin/env bash
#SBATCH --job-name=train_gan_s2x2
#SBATCH --nodes=2
#SBATCH --exclusive
#SBATCH --time=24:00:00
#SBATCH --signal=USR1@120
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --output=%x-%j.out
# Train S2x on against a critic, on all GPUs of the nodes; submit from the project's root. The run that the recipe
# starts from (objective.start_from) must be there: slurm/train_s2x2.sh with RECIPE=configs/s2x_thesis.yaml.
#
#   source slurm/sites/juwels_booster.sh
#   [RECIPE=configs/gan_2x_wgan_gp.yaml] sbatch [--nodes=4 --ntasks-per-node=4] slurm/train_gan_s2x2.sh [key=value ...]
#
# srun starts the ranks; with LAUNCHER=torchrun before sbatch, one torchrun a node does, and ranks talk over
# torch.distributed.
#
# Two minutes before the time is up every rank gets USR1; they save a checkpoint and end, and the job puts itself back
# into the queue. It does so, too, when it fails, but not more than HPC_SR_RETRIES (3) times in a row, and not after an
# error in the recipe. Where requeueing is not allowed, submit it several times with --dependency=singleton: one goes on
# after the other, and those too many find nothing to do.
set -eo pipefail # not -u: module functions and activate scripts read unset variables
# shellcheck source=slurm/env.sh
source "${HPC_SR_SLURM:-${SLURM_SUBMIT_DIR:?this is a job: sbatch slurm/train_gan_s2x2.sh}/slurm}/env.sh" || exit 2

need_recipe configs/gan_2x_wgan_gp.yaml
need_launcher
need_gpus
launch_until_done hpc-sr train "$recipe" ${HPC_SR_STAGE:+"train.stage=$HPC_SR_STAGE"} "$@"
