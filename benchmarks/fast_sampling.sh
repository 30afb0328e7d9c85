#!/usr/bin/env bash
# Samplers with few and many evaluations, and without the network, on MNIST: the tables and figures
# in docs/sampling.md and docs/carleman.md (over an hour on 2 cores, half of it DDPM).
#
#   benchmarks/fast_sampling.sh [RUNS]
#
# The model is in this repository; if its folder is missing, it is trained. Images that are already
# in RUNS are reused.
set -euo pipefail
runs=${1:-runs}
model=benchmarks/models/mnist_unet

if [ ! -f "$model/model.safetensors" ]; then
    hqdm fit --config configs/mnist_unet_v.yaml --out "$runs/mnist_unet_v"
    hqdm export --checkpoint "$runs/mnist_unet_v/last.ckpt" --out "$model"
fi
[ -f "$model/carleman.safetensors" ] || hqdm carleman fit --checkpoint "$model" --data mnist --dim 4

samplers=ddim,dpm3,dpm++2m,unipc,unipc:8,dpm++2m-sde:50,dpm-adaptive,ddpm:1000,carleman,gaussian
for steps in 2 3 5 10; do
    samplers+=,carleman+unipc:$steps,gaussian+unipc:$steps
done
compare() {
    hqdm compare-samplers --checkpoint "$model" --data mnist --n 512 --batch-size 128 \
        --nfe 5,10,20,50 --resume "$@"
}
compare --samplers "$samplers" --out "$runs/fast_comparison"
compare --samplers dpm++2m,unipc,unipc:8 --grid karras --out "$runs/karras_comparison"
hqdm carleman analyse --checkpoint "$model" --out "$runs/carleman_analysis" --overwrite
python benchmarks/carleman_speed.py --checkpoint "$model"
python benchmarks/sampler_overhead.py
