#!/usr/bin/env bash
#SBATCH --job-name=scaling_benchmark
#SBATCH --nodes=2
#SBATCH --exclusive
#SBATCH --time=01:00:00
#SBATCH --output=%x-%j.out
# Measure how training scales: each backend on growing numbers of ranks; submit from the project's root.
#
#   source slurm/sites/juwels_booster.sh
#   [RECIPE=configs/s2x.yaml RANKS="1 2 4 8" BACKENDS="horovod ddp" OUT=DIR] \
#       sbatch [--nodes=4] slurm/scaling_benchmark.sh [key=value ...]
#
# One JSON a point in OUT (default scaling-<job>), then a table and a figure of all points that are there. RANKS is the
# powers of two up to the job's tasks unless given; n ranks run on as few nodes as they fit on. The batch per rank stays
# the recipe's (weak scaling). Points that exist are not measured again.
set -eo pipefail # not -u: module functions and activate scripts read unset variables
# shellcheck source=slurm/env.sh
source "${HPC_SR_SLURM:-${SLURM_SUBMIT_DIR:?this is a job: sbatch slurm/scaling_benchmark.sh}/slurm}/env.sh" || exit 2

need_recipe configs/s2x.yaml
need_gpus
out=${OUT:-scaling-$SLURM_JOB_ID}
[[ $out != -* ]] || out=./$out
mkdir -p "$out"
if [ -z "${RANKS:-}" ]; then for ((n = 1; n <= HPC_SR_TASKS; n *= 2)); do RANKS="${RANKS:-} $n"; done; fi

failed=0
for n in $RANKS; do
    for backend in ${BACKENDS:-horovod ddp}; do
        point=$out/${backend}_$n.json
        [ -s "$point" ] || launch_ranks "$n" hpc-sr benchmark "$recipe" --out "$point" "comm.backend=$backend" "$@" ||
            failed=$((failed + 1))
    done
done
hpc-sr scaling "$out"
[ "$failed" -eq 0 ] || {
    say "$failed points failed, see above (cure: OUT=$out and the same command measures them)"
    exit 1
}
