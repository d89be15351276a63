# syntax=docker/dockerfile:1
# The image of the stages that need no GPU. It holds torch's CPU build, so
# that it can run any stage where an account has no GPU quota.
ARG PYTHON_IMAGE=python:3.11.14-slim-bookworm
FROM ${PYTHON_IMAGE}
ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu

ENV PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    PIP_NO_CACHE_DIR=1 \
    PIP_DISABLE_PIP_VERSION_CHECK=1 \
    HF_HUB_OFFLINE=1 \
    NUMBA_CACHE_DIR=/tmp/numba

WORKDIR /srv
COPY constraints.txt pyproject.toml ./
# torch first: asked for by another package it would bring the CUDA build along.
RUN pip install --only-binary=:all: --constraint constraints.txt --index-url "${TORCH_INDEX}" torch \
    && python -c "import tomllib; p = tomllib.load(open('pyproject.toml', 'rb'))['project']; print(*p['dependencies'], *p['optional-dependencies']['stages'], sep='\n')" > requirements.txt \
    && pip install --only-binary=:all: --constraint constraints.txt --requirement requirements.txt

COPY clearstem clearstem
COPY containers containers

RUN useradd --uid 10001 --no-create-home --shell /usr/sbin/nologin stage
USER 10001
ENTRYPOINT ["python", "-m", "containers.stage"]
