#!/usr/bin/env bash
# Complete the folder when all processes of the array have finished.
#SBATCH --job-name=seampack-merge
#SBATCH --cpus-per-task=2
#SBATCH --mem=4G
set -euo pipefail
seampack merge "$OUT"
exec seampack verify "$OUT"
