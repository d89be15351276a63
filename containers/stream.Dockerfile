# syntax=docker/dockerfile:1
# The API as a server: uvicorn behind the Lambda Web Adapter, which streams what
# a buffered function cannot. Both bases are pinned by the digests of their releases;
# others are build arguments.
ARG PYTHON_IMAGE=python:3.13.9-slim-bookworm@sha256:b685a4fa58bb19d1814d78a1ec0f0208f351452724f78b20212c984d6e124a34
ARG ADAPTER_IMAGE=public.ecr.aws/awsguru/aws-lambda-adapter:0.9.1@sha256:46d6625e68cbbdd2efab4a20245977664513f13ffef47915b000d431adcea0b4

FROM ${ADAPTER_IMAGE} AS adapter

FROM ${PYTHON_IMAGE} AS installed
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
WORKDIR /build
COPY constraints.txt pyproject.toml ./
RUN python -m venv /opt/venv \
    && python -c "import tomllib; p = tomllib.load(open('pyproject.toml', 'rb'))['project']; print(*p['dependencies'], 'uvicorn', sep='\n')" > requirements.txt \
    && /opt/venv/bin/pip install --only-binary=:all: --constraint constraints.txt --requirement requirements.txt

FROM ${PYTHON_IMAGE}
COPY --from=adapter /lambda-adapter /opt/extensions/lambda-adapter
COPY --from=installed /opt/venv /opt/venv
WORKDIR /srv
COPY clearstem clearstem
COPY functions functions
ENV PATH=/opt/venv/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    PORT=8080 \
    AWS_LWA_READINESS_CHECK_PATH=/health \
    AWS_LWA_INVOKE_MODE=response_stream \
    AWS_LAMBDA_HTTP_IGNORE_STAGE_IN_PATH=true
RUN useradd --uid 10001 --no-create-home --shell /usr/sbin/nologin stream
USER 10001
# One answer of the application: what does not load fails here.
RUN ["python", "-m", "functions.stream"]
ENTRYPOINT ["uvicorn", "--factory", "functions.stream:app", "--port", "8080", "--lifespan", "off"]
