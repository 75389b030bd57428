#!/usr/bin/env bash
# Trains on the openms volumes, T1 to T2, and prints the figures on their pairs: first with the
# recipe configs/mr_t1_to_t2.yaml (VGG-19 terms on, seeded random weights), then a plain CycleGAN of
# the same size. About 20 minutes each on one idle core; what is trained already is not trained again.
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

"$venv/bin/python" "$repository/scripts/study_ablation.py" -o "$out" \
    --config "$repository/configs/mr_t1_to_t2.yaml" --names recipe,plain_cyclegan --seeds 0 \
    --scans "$data/scans_T1" --style "$data/style_T2" --pairs "$data/val_pairs" \
    data.pairs.names.scan=T1W data.pairs.names.style=T2W \
    training.validate_every=500 vgg.weights=random:0
for name in recipe plain_cyclegan; do
    "$venv/bin/python" "$repository/scripts/figures_openms.py" "$out/runs/$name/seed_0" \
        --pairs "$data/val_pairs"
done
