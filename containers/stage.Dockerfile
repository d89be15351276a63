# syntax=docker/dockerfile:1
# The GPU image. PyPI's torch brings the CUDA libraries it was built with; the
# driver is the host's, mounted by the NVIDIA runtime. So no CUDA base image.
ARG PYTHON_IMAGE=python:3.11.14-slim-bookworm
FROM ${PYTHON_IMAGE}

ENV PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    PIP_NO_CACHE_DIR=1 \
    PIP_DISABLE_PIP_VERSION_CHECK=1 \
    HF_HUB_OFFLINE=1 \
    NUMBA_CACHE_DIR=/tmp/numba \
    NVIDIA_VISIBLE_DEVICES=all \
    NVIDIA_DRIVER_CAPABILITIES=compute,utility

WORKDIR /srv
# The dependencies change rarely and weigh gigabytes: a layer of their own.
COPY constraints.txt pyproject.toml ./
RUN python -c "import tomllib; p = tomllib.load(open('pyproject.toml', 'rb'))['project']; print(*p['dependencies'], *p['optional-dependencies']['stages'], sep='\n')" > requirements.txt \
    && pip install --only-binary=:all: --constraint constraints.txt --requirement requirements.txt

COPY clearstem clearstem
COPY containers containers

RUN useradd --uid 10001 --no-create-home --shell /usr/sbin/nologin stage
USER 10001
ENTRYPOINT ["python", "-m", "containers.stage"]
