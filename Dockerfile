# The daemon as an image. `docker build -t gpu-provider .`, then docs/operating.md, "In a container".
#
# Any glibc image with Python 3.11 or newer will do as the base: --build-arg BASE=...
ARG BASE=python:3.12-slim

FROM ${BASE} AS build
WORKDIR /src
# The interpreter of the environment is the base's own, so the environment can be copied to the same base.
RUN python -m venv /opt/provider
COPY pyproject.toml README.md LICENSE ./
COPY provider ./provider
RUN python -m venv /opt/build \
 && /opt/build/bin/pip install --no-cache-dir --disable-pip-version-check hatchling \
 && /opt/build/bin/pip wheel --no-cache-dir --disable-pip-version-check --no-deps --no-build-isolation \
      --wheel-dir /wheels . \
 && /opt/provider/bin/pip install --no-cache-dir --disable-pip-version-check /wheels/*.whl \
 && /opt/provider/bin/provider --version

FROM ${BASE}
LABEL org.opencontainers.image.title="gpu-provider" \
      org.opencontainers.image.description="Turns a spare GPU server into a provider on a compute marketplace." \
      org.opencontainers.image.version="0.1.0" \
      org.opencontainers.image.licenses="Apache-2.0"
# nft keeps leases from the host and its network, tc limits their rates.
RUN apt-get update \
 && apt-get install -y --no-install-recommends iproute2 nftables \
 && rm -rf /var/lib/apt/lists/*
COPY --from=build /opt/provider /opt/provider
COPY LICENSE /usr/share/doc/gpu-provider/LICENSE
# Of the driver only NVML is wanted in here; tenants' containers get theirs from the engine, not from us.
ENV PATH=/opt/provider/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    NVIDIA_DRIVER_CAPABILITIES=utility
# Root on purpose: whoever may use the engine's socket is root of the host anyway, and the group that owns
# the socket has another number on every host, so that a user of this image could not be in it.
VOLUME /var/lib/provider
# tenants (lease.listen), Prometheus (telemetry.listen)
EXPOSE 8443 9464
STOPSIGNAL SIGTERM
# Alive is not ready: /readyz is for those who count on it. A changed telemetry.listen has to be told to this
# check by the environment (PROVIDER_TELEMETRY__LISTEN), not by the file.
HEALTHCHECK --interval=30s --timeout=5s --start-period=20s --retries=3 CMD ["python", "-c", \
  "import http.client, os, sys; address = os.environ.get('PROVIDER_TELEMETRY__LISTEN', '127.0.0.1:9464'); connection = http.client.HTTPConnection(address, timeout=3); connection.request('GET', '/healthz'); sys.exit(connection.getresponse().status != 200)"]
ENTRYPOINT ["provider"]
CMD ["run"]
