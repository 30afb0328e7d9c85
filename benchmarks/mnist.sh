#!/usr/bin/env bash
# Classical U-Net and QVU-Net on MNIST for the same number of steps: the tables and figures in docs/results.md.
#
#   benchmarks/mnist.sh [STEPS] [FOLDER]
#
# The weights are averaged over about 200 steps (in the papers over 2,000, for 20 epochs).
set -euo pipefail
steps=${1:-2000}
runs=${2:-runs}

for net in unet qvunet; do
    run="$runs/mnist_$net"
    hqdm fit --config "configs/mnist_$net.yaml" --config configs/papers_recipe.yaml --out "$run" \
        --trainer.max_steps "$steps" --model.ema.decay 0.95
    hqdm sample --checkpoint "$run/last.ckpt" --n 64 --sampler ddim --steps 50 --out "$run/final"
    hqdm evaluate --checkpoint "$run/last.ckpt" --data mnist --n 2048 --sampler ddim --steps 50
done
