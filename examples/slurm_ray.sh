#!/bin/bash
# One run over several machines of a SLURM cluster: engines and teachers on Ray, the trainer on the
# first machine. Submit it with: sbatch examples/slurm_ray.sh
# Without a script of your own: esr train +cluster=slurm nodes=4 execution=ray … (docs/scale.md)
#SBATCH --job-name=esr
#SBATCH --nodes=4
#SBATCH --ntasks-per-node=1
#SBATCH --gpus-per-node=8
#SBATCH --cpus-per-task=32
# `ray symmetric-run` stops every Ray of the user's on a node, and starts none beside another.
#SBATCH --exclusive
#SBATCH --time=12:00:00
# A job that is stopped does not save, but resumes from its last checkpoint when it is queued again.
#SBATCH --requeue
set -euo pipefail

run=runs/slurm
head=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)
# By address, as Ray finds a name only if a DNS server has it.
head=$(getent ahostsv4 "$head" | awk 'NR == 1 {print $1}')
if compgen -G "$run/checkpoints/step-*" > /dev/null; then
    what=(resume="$run")
else
    what=(pair=qwen25math_1p5b__qwen3_8b task=math +rollout_len=100 run_dir="$run")
fi

# Only processes with the token in the home folder, which all nodes share, may use the cluster.
export RAY_AUTH_MODE=token RAY_SYMMETRIC_RUN_CLUSTER_WAIT_TIMEOUT=180
ray get-auth-token --generate > /dev/null

# Ray hands out the GPUs 0 to 6 of each machine; the trainer has GPU 7 of the first.
srun --kill-on-bad-exit=1 ray symmetric-run --address "$head:6379" --min-nodes "$SLURM_NNODES" \
    --num-gpus 7 -- esr train "${what[@]}" \
    execution=ray execution.address=auto execution.device=cuda:7 \
    execution.rollouts=20 execution.teachers=8 save_every=5
