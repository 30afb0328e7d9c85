#!/usr/bin/env bash
# Few evaluations against many, and sampling without the network, on MNIST: the figures in
# docs/sampling.md and docs/carleman.md.
#
#   benchmarks/fast_sampling.sh [RUNS]
#
# RUNS/mnist_unet/last.ckpt is what benchmarks/mnist.sh 2000 leaves. It is trained on without the P2
# weighting, which neglects little noise, where a solver of the flow gets no second chance.
set -euo pipefail
runs=${1:-runs}
model="$runs/mnist_fast"

[ -f "$model/last.ckpt" ] || hqdm fit --config configs/mnist_unet.yaml --out "$model" \
    --init-from "$runs/mnist_unet/last.ckpt" --trainer.max_steps 2000 \
    --trainer.precision bf16-mixed --model.p2_gamma 0 --model.lr 0.0005 --model.ema.decay 0.98
[ -f "$model/last.carleman.safetensors" ] || hqdm carleman fit \
    --checkpoint "$model/last.ckpt" --data mnist --dim 4 --degree 3

samplers=ddim,dpm3,dpm++2m,unipc,unipc:8,ddpm:1000,carleman,gaussian
for steps in 2 3 5 10; do
    samplers+=,carleman+unipc:$steps,gaussian+unipc:$steps
done
hqdm compare-samplers --checkpoint "$model/last.ckpt" --data mnist --n 512 --batch-size 128 \
    --samplers "$samplers" --nfe 5,10,20,50 --out "$runs/fast_comparison" --resume
python benchmarks/carleman_speed.py --checkpoint "$model/last.ckpt"
python benchmarks/sampler_overhead.py
