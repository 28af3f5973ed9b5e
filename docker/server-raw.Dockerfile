# The server's image with what computes features of raw rows (POST /predict/raw): one layer of the
# packages of requirements-raw.txt, and the whole package over it.
#
#   docker build -f docker/server.Dockerfile -t ml-pipeline-server:0.1.0 .
#   docker build -f docker/server-raw.Dockerfile -t ml-pipeline-server-raw:0.1.0 .
#
# SERVER      the image of docker/server.Dockerfile, whose layers it shares
# BASE_IMAGE, PIP_INDEX_URL, CA_BUNDLE: as of docker/agent.Dockerfile, and as SERVER was built with
#
# The packages are those of the agent's lock. A model that was trained with others, or on another
# Python, is served, but its raw rows are refused. Feature code that imports further packages needs
# an image on top of this one; see docs/how-to/containers.md.
ARG BASE_IMAGE=python:3.13-slim
ARG SERVER=ml-pipeline-server:0.1.0

FROM ${SERVER} AS server

# up to the first lock as docker/server.Dockerfile, so that the builder has it already
FROM ${BASE_IMAGE} AS build
ARG PIP_INDEX_URL
ARG CA_BUNDLE=docker/ca
COPY ${CA_BUNDLE} /build/ca/
COPY docker/install.sh requirements-serving.txt /build/
RUN sh /build/install.sh lock /build/requirements-serving.txt
COPY requirements-raw.txt /build/
RUN sh /build/install.sh further /build/requirements-raw.txt

FROM build AS package
COPY --from=server /opt/ml-pipeline/pyvenv.cfg /build/served.cfg
RUN cmp /build/served.cfg /opt/ml-pipeline/pyvenv.cfg \
    || { echo "error: SERVER was built on another Python than BASE_IMAGE" >&2; exit 1; }
COPY pyproject.toml README.md requirements.txt requirements-postgres.txt /build/source/
COPY pipeline /build/source/pipeline
RUN cp -R /opt/further/. /opt/ml-pipeline && sh /build/install.sh package

FROM server
COPY --from=build /opt/further /opt/ml-pipeline
COPY --from=package /opt/package /opt/ml-pipeline
LABEL org.opencontainers.image.title="ml-pipeline server with raw rows"
ARG VERSION=unknown
ARG REVISION=unknown
LABEL org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
