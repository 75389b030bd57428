#!/usr/bin/env bash
# Trains on the openms volumes, T1 to T2, and prints the figures on their pairs: first with the
# recipe configs/mr_t1_to_t2.yaml (VGG-19 terms on, seeded random weights), then a plain CycleGAN of
# the same size. About 40 minutes each on one idle core; what is trained already is not trained again.
#
#   scripts/openms.sh [DATA [OUT]]     (default: ../shared/data/openms, runs/openms)
set -euo pipefail

# shellcheck source=scripts/environment.sh
source "$(dirname "${BASH_SOURCE[0]}")/environment.sh"

data="$(realpath -m "${1:-$repository/../shared/data/openms}")"
out="$(realpath -m "${2:-$repository/runs/openms}")"
if [[ ! -d "$data/scans_T1" ]]; then
    echo "$data holds no scans_T1: give the folder of the openms volumes" >&2
    exit 2
fi
set_up_environment ""

common=(
    --config "$repository/configs/mr_t1_to_t2.yaml"
    --scans "$data/scans_T1" --style "$data/style_T2" --pairs "$data/val_pairs"
    data.pairs.names.scan=T1W data.pairs.names.style=T2W
    training.steps=3000 training.validate_every=500 vgg.weights=random:0
)
# As Zhu et al. 2017 have it; their rates and their weights of cycle and identity are the recipe's.
plain=(
    loss.perceptual.weight=0 loss.perceptual.reconstruction_weight=0 loss.style.weight=0
    data.sampler.match=none generator.upsampling=transpose
)

train_and_score() { # NAME SETTING...
    local run="$out/$1" resume=()
    shift
    if [[ ! -d "$run/model" ]]; then
        [[ -f "$run/checkpoints/last.ckpt" ]] && resume=(--resume)
        "$venv/bin/python" -m medstyle_gan train "${common[@]}" "$@" -o "$run" "${resume[@]}"
    fi
    "$venv/bin/python" "$repository/scripts/figures_openms.py" "$run" --pairs "$data/val_pairs"
}

train_and_score regularized
train_and_score plain_cyclegan "${plain[@]}"
