#!/usr/bin/env bash
# Tests, a training run and the benches of docs/performance.md on one GPU, in at most eight minutes.
#
#   scripts/gpu_run.sh [FOLDER]
#
# Needs a CUDA GPU, and Python ($PYTHON, else python3) with esr's dependencies; this checkout need
# not be installed. vLLM and TRL take part where they are installed. Each part leaves NAME.log and,
# once it has succeeded, NAME.done in FOLDER (else $OUT, else runs/gpu); called again, the script
# runs the parts that are not done. summary.json has the results of all parts so far.
#
#   MODEL=FOLDER    a model to train on task=words, such as SmolLM2-135M-Instruct; else random weights
#   TEACHER=FOLDER  its teacher; else MODEL itself
#   DATA=FOLDER     has qwen.tiktoken, the tokenizer of the benches at the paper's shapes
#   OPTIONS="..."   settings to compare, one bench each; else tune.compile=true
#   BUDGET=460      seconds for all parts together
#   DEVICE=cpu      all parts with the lab pair at tiny sizes, to try the script without a GPU
set -u

DEVICE=${DEVICE:-cuda}
if [ "$DEVICE" != cpu ] && ! nvidia-smi -L >/dev/null 2>&1; then
    echo "gpu_run.sh: there is no CUDA GPU here; DEVICE=cpu tries the script at tiny sizes" >&2
    exit 2
fi

ROOT=$(cd "$(dirname "$0")/.." && pwd)
PYTHON=${PYTHON:-python3}
BUDGET=${BUDGET:-460}
OPTIONS=${OPTIONS:-tune.compile=true}
export PYTHONPATH=$ROOT${PYTHONPATH:+:$PYTHONPATH}
FOLDER=${1:-${OUT:-runs/gpu}}
mkdir -p "$FOLDER" && FOLDER=$(cd "$FOLDER" && pwd) || exit 2

installed() { "$PYTHON" -c "import importlib.util as u, sys; sys.exit(not u.find_spec('$1'))"; }
left() { echo $((BUDGET - SECONDS)); }
skip() { echo "$1: skipped, $2"; }

# part NAME SECONDS COMMAND: runs the command in FOLDER unless it is done, for at most SECONDS and
# what is left of the budget.
part() {
    local name=$1 limit=$2 began=$SECONDS rc
    shift 2
    [ -e "$FOLDER/$name.done" ] && { echo "$name: done before"; return; }
    # Cores may be slow or busy; what is tried on them is the script.
    [ "$DEVICE" = cpu ] && limit=$((5 * limit))
    [ "$limit" -gt "$(left)" ] && limit=$(left)
    [ "$limit" -lt 20 ] && { echo "$name: left for another call, the budget is used up"; return; }
    # An unfinished call may have left files.
    rm -rf "${FOLDER:?}/$name"
    (cd "$FOLDER" && timeout -k 5 "$limit" "$@") >"$FOLDER/$name.log" 2>&1
    rc=$?
    case $rc in
        0) echo "$((SECONDS - began))" >"$FOLDER/$name.done"; echo "$name: $((SECONDS - began)) s" ;;
        124 | 137) echo "$name: stopped after $limit s; $FOLDER/$name.log" ;;
        *) echo "$name: failed ($rc): $(tail -n 1 "$FOLDER/$name.log")" ;;
    esac
}

ESR=("$PYTHON" -m esr_cli.cli)
ENGINES=eager
installed vllm && ENGINES=vllm,eager || skip vllm "it is not installed"
PEER=(peer=trl)
installed trl || { PEER=(); skip trl "it is not installed"; }
FIRST=${ENGINES%%,*}
PAPER=(pair=qwen25math_1p5b__qwen3_1p7b pair.weights=random "data_dir=${DATA:-}")

if [ "$DEVICE" = cpu ]; then
    TRAIN=(pair=lab rollout_len=8 steps=3 limit=4 benchmark.lab.samples=1 prompts_per_step=4)
    BENCH=(pair=lab prompts_per_step=2 prompt_tokens=30 repeats=1 warmup=0)
    LONG=8,16 SHORT=8
else
    TRAIN=(rollout_len=64 steps=30)
    if [ -n "${MODEL:-}" ]; then
        TRAIN+=(pair=own "pair.student.path=$MODEL" "pair.teacher.path=${TEACHER:-$MODEL}")
        TRAIN+=(task=words benchmark=words)
    elif [ -n "${DATA:-}" ]; then
        echo "train: without MODEL=FOLDER it trains random weights of the paper's shapes"
        TRAIN+=("${PAPER[@]}" task=lab benchmark=lab limit=16)
    else
        TRAIN=()
    fi
    BENCH=("${PAPER[@]}" task=lab benchmark=lab prompt_tokens=90 repeats=2 warmup=1)
    BENCH+=(tune.gradient_checkpointing=true rollout.gpu_memory_utilization=0.2)
    LONG=100,1000 SHORT=100
fi

# The bench is a part of its own, so the tests do not run theirs.
part tests 150 env -u ESR_DATA "$PYTHON" -m pytest -m gpu -q "$ROOT/tests/gpu"
if [ ${#TRAIN[@]} -gt 0 ]; then
    part train 120 "${ESR[@]}" train rollout="$FIRST" tracking=none run_dir=train "${TRAIN[@]}"
else
    skip train "neither MODEL=FOLDER nor DATA=FOLDER is given"
fi
if [ "$DEVICE" = cpu ] || [ -n "${DATA:-}" ]; then
    part bench 240 "${ESR[@]}" bench "${BENCH[@]}" ${PEER[@]+"${PEER[@]}"} "engines=[$ENGINES]" \
        "lengths=[$LONG]" run_dir=bench
    for option in "" $OPTIONS; do
        name=option_$(printf %s "${option:-none}" | tr -c a-zA-Z0-9 _)
        part "$name" 100 "${ESR[@]}" bench "${BENCH[@]}" "engines=[$FIRST]" "lengths=[$SHORT]" \
            ${option:+"$option"} run_dir="$name"
    done
else
    skip bench "DATA=FOLDER with qwen.tiktoken is not given"
fi
"$PYTHON" "$ROOT/scripts/summarize_gpu_run.py" "$FOLDER"
