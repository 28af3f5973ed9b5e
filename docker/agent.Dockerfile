# The image that the Jenkins steps run in: ml-pipeline and all that its stages need.
#
#   docker build -f docker/agent.Dockerfile -t ml-pipeline-agent .
#
# BASE_IMAGE     a Debian with Python 3.11, 3.12 or 3.13 and its venv module
# PIP_INDEX_URL  address of the package index, where it is not pip's own
# CA_BUNDLE      file in this folder with the certificates to trust; docker/ca/ is for such files
#
# Any user id may run it, on a read-only root with a writable /tmp. See docs/how-to/containers.md.
ARG BASE_IMAGE=python:3.13-slim

FROM ${BASE_IMAGE} AS build
ARG PIP_INDEX_URL
ARG CA_BUNDLE=docker/ca
COPY ${CA_BUNDLE} /build/ca/
COPY docker/install.sh requirements.txt /build/
RUN sh /build/install.sh lock /build/requirements.txt

FROM build AS package
COPY pyproject.toml README.md requirements.txt requirements-postgres.txt /build/source/
COPY pipeline /build/source/pipeline
RUN sh /build/install.sh package

FROM ${BASE_IMAGE}
# Jenkins ends processes of an aborted build by ps; the wheel of LightGBM needs libgomp
RUN { command -v git && command -v ps && ldconfig -p | grep libgomp.so.1; } >/dev/null || { \
        apt-get update && apt-get install --yes --no-install-recommends git libgomp1 procps \
        && rm -rf /var/lib/apt/lists/*; \
    }; \
    git config --system --add safe.directory '*'; \
    install -d -m 1777 /var/lib/ml-pipeline
COPY --from=build /opt/ml-pipeline /opt/ml-pipeline
COPY --from=package /opt/package /opt/ml-pipeline
ENV PATH=/opt/ml-pipeline/bin:$PATH \
    HOME=/tmp \
    USER=ml \
    LOGNAME=ml \
    LANG=C.UTF-8 \
    PYTHONDONTWRITEBYTECODE=1
LABEL org.opencontainers.image.title="ml-pipeline agent" \
      org.opencontainers.image.description="Runs the stages of jenkins-ml-pipeline" \
      org.opencontainers.image.licenses="Apache-2.0"
ARG VERSION=unknown
ARG REVISION=unknown
LABEL org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
USER 10001:10001
WORKDIR /tmp
ENTRYPOINT []
CMD ["ml-pipeline", "--help"]
