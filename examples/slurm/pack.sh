#!/usr/bin/env bash
# One process of the array packs its partitions. Slurm starts it again if its machine fails; it goes on where it was.
#SBATCH --job-name=seampack
#SBATCH --array=0-15
#SBATCH --cpus-per-task=8
#SBATCH --mem=4G
#SBATCH --requeue
set -euo pipefail
exec seampack pack "$CORPUS" -o "$OUT" --tokenizer "$TOKENIZER" --seq-len "${SEQ_LEN:-2048}" \
    --partition "$SLURM_ARRAY_TASK_ID/$SLURM_ARRAY_TASK_COUNT" --threads "$SLURM_CPUS_PER_TASK"
