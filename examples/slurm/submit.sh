#!/usr/bin/env bash
# Pack a corpus on a Slurm cluster:
#
#     CORPUS=/data/corpus OUT=/data/packed TOKENIZER=/data/tokenizer.json bash submit.sh
#
# CORPUS, OUT and TOKENIZER are on a file system that all machines share.
set -euo pipefail
cd "$(dirname "$0")"
: "${CORPUS:?a folder or file}" "${OUT:?the folder to write}" "${TOKENIZER:?a tokenizer.json}"
export CORPUS OUT TOKENIZER
array=$(sbatch --parsable --export=ALL pack.sh)
sbatch --dependency="afterok:$array" --export=ALL merge.sh
