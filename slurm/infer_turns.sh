#!/usr/bin/env bash
# On each rank, for infer.sh: RUN_DIR OUT_DIR PRODUCT ...; super-resolve this rank's products on this rank's GPU.
set -eo pipefail
run=$1 out=$2
shift 2
# Of those that the rank may see, as `hpc-sr infer` takes the first one.
for visible in CUDA_VISIBLE_DEVICES ROCR_VISIBLE_DEVICES; do
    IFS=, read -ra gpus <<<"${!visible}"
    if [ "${#gpus[@]}" -gt 1 ]; then export "$visible=${gpus[SLURM_LOCALID % ${#gpus[@]}]}"; fi
done
products=("$@")
failed=0
for ((turn = ${SLURM_ARRAY_TASK_ID:-0} * SLURM_NTASKS + SLURM_PROCID; turn < $#; \
    turn += ${SLURM_ARRAY_TASK_COUNT:-1} * SLURM_NTASKS)); do
    name=$(basename "${products[turn]}")
    name=${name%.zip}
    # It knows which images are finished, and those that only have the name of one.
    hpc-sr infer "$run" "${products[turn]}" --out "$out/${name%.SAFE}.tif" || failed=$((failed + 1))
done
[ "$failed" -eq 0 ] || {
    echo "$failed products of rank $SLURM_PROCID failed, see above" >&2
    exit 1
}
