# Relaygate as a container: `docker build -t relaygate .`, or `docker compose up` (docker-compose.yml).
# The builder installs the hash-locked wheels and the project; the final stage has no compiler, no cache and no root.

FROM python:3.13-slim AS builder

ENV PIP_NO_CACHE_DIR=1 \
    PIP_DISABLE_PIP_VERSION_CHECK=1 \
    PIP_ROOT_USER_ACTION=ignore

WORKDIR /build
COPY requirements.lock requirements-local.lock ./
# The image's own pip installs into a venv that has none. Wheels only: a package that had to be compiled stops the build.
RUN python -m venv --without-pip /opt/venv \
    && pip --python /opt/venv/bin/python install --only-binary=:all: --require-hashes --no-deps -r requirements.lock
# The build backend, as checkouts pin it.
RUN awk '/^setuptools==/ {found = 1} found {print} found && !/\\$/ {exit}' requirements-local.lock > build.lock \
    && pip install --only-binary=:all: --require-hashes --no-deps -r build.lock
COPY pyproject.toml README.md LICENSE ./
COPY app/ app/
COPY migrations/ migrations/
RUN pip wheel --no-deps --no-build-isolation --wheel-dir dist . \
    && pip --python /opt/venv/bin/python install --no-index --no-deps dist/*.whl


FROM python:3.13-slim

LABEL org.opencontainers.image.title="Relaygate" \
      org.opencontainers.image.description="A self-hosted, OpenAI-compatible AI API gateway" \
      org.opencontainers.image.version="0.1.0" \
      org.opencontainers.image.licenses="Apache-2.0"

# A fixed uid and gid, so that a volume outlives the image that made it.
RUN groupadd --gid 10001 relaygate \
    && useradd --uid 10001 --gid 10001 --no-create-home --home-dir /data --shell /usr/sbin/nologin relaygate \
    && install -d -o relaygate -g relaygate -m 0700 /data

COPY --from=builder /opt/venv /opt/venv

ENV PATH=/opt/venv/bin:$PATH \
    RELAYGATE_HOST=0.0.0.0 \
    RELAYGATE_PORT=8000 \
    RELAYGATE_DATA_DIR=/data

WORKDIR /srv/relaygate
USER 10001:10001
VOLUME ["/data"]
EXPOSE 8000
STOPSIGNAL SIGTERM

# Liveness only: an outage of the database is no reason to restart the gateway. A process with RELAYGATE_ROLE=worker serves
# no HTTP: switch the check off for it.
HEALTHCHECK --interval=15s --timeout=5s --start-period=60s --retries=3 \
    CMD ["python", "-c", "import os, urllib.request as u; u.build_opener(u.ProxyHandler({})).open(f\"http://127.0.0.1:{os.environ['RELAYGATE_PORT']}/healthz\", timeout=4)"]

ENTRYPOINT ["relaygate"]
CMD ["serve"]
