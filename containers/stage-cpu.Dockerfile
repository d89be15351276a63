# syntax=docker/dockerfile:1
# The image of the stages that need no GPU, in Batch and as a function. It holds
# torch's CPU build, so that it can run any stage where an account has no GPU
# quota. The base is pinned by the digest of its release, for all platforms; another
# one is a build argument.
ARG PYTHON_IMAGE=python:3.11.14-slim-bookworm@sha256:65a93d69fa75478d554f4ad27c85c1e69fa184956261b4301ebaf6dbb0a3543d

FROM ${PYTHON_IMAGE} AS installed
ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu
# Names of models to bake in, with spaces between; each file has the sha256 that
# clearstem.models pins, or the build fails.
ARG MODELS=""
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
WORKDIR /build
COPY constraints.txt pyproject.toml ./
# torch first: asked for by another package it would bring the CUDA build along. Alone: its index
# has few of its dependencies in the versions that are pinned, and the next install brings them.
RUN python -m venv /opt/venv \
    && /opt/venv/bin/pip install --only-binary=:all: --no-deps --constraint constraints.txt --index-url "${TORCH_INDEX}" torch \
    && python -c "import tomllib; p = tomllib.load(open('pyproject.toml', 'rb'))['project']; print(*p['dependencies'], *p['optional-dependencies']['stages'], *p['optional-dependencies']['openvino'], 'awslambdaric', sep='\n')" > requirements.txt \
    && /opt/venv/bin/pip install --only-binary=:all: --constraint constraints.txt --requirement requirements.txt \
    && /opt/venv/bin/python -c "import awslambdaric.bootstrap, runtime_client"
COPY clearstem clearstem
RUN mkdir -p /opt/models \
    && for model in ${MODELS}; do CLEARSTEM_MODELS_DIR=/opt/models /opt/venv/bin/python -m clearstem.cli models fetch "${model}" || exit 1; done

FROM ${PYTHON_IMAGE}
COPY --from=installed /opt/venv /opt/venv
COPY --from=installed /opt/models /opt/models
WORKDIR /srv
COPY clearstem clearstem
COPY containers containers
ENV PATH=/opt/venv/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    HF_HUB_OFFLINE=1 \
    HOME=/tmp \
    CLEARSTEM_CACHE_DIR=/opt/networks \
    CLEARSTEM_KERNELS_DIR=/opt/kernels \
    NUMBA_CACHE_DIR=/tmp/numba
# Compiled once, for the processors of the fleet: a task starts with an empty /tmp. Converted
# once, what a separation without a GPU would spend 16 s and 2.1 GB on, task by task.
RUN python -m containers.bake /opt/kernels \
    && python -m containers.convert /opt/models "${CLEARSTEM_CACHE_DIR}" \
    && useradd --uid 10001 --no-create-home --shell /usr/sbin/nologin stage
# All that is writable where the root is read-only; declared, so that a volume
# mounted here takes the folder's permissions over.
VOLUME ["/tmp"]
USER 10001
# A second of music through every stage: what does not load or compile fails here.
RUN ["python", "-m", "containers.smoke"]
ENTRYPOINT ["python", "-m", "containers.stage"]
