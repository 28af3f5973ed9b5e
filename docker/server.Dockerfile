# The image that the docker target serves a bundle with: what ml_pipeline.serving imports, and the
# reader of a live shadow's copies, which needs the same packages.
#
#   docker build -f docker/server.Dockerfile -t ml-pipeline-server:0.1.0 .
#
# BASE_IMAGE, PIP_INDEX_URL, CA_BUNDLE: as of docker/agent.Dockerfile.
#
# The bundle is mounted at run time: ml-pipeline deploy puts it into a volume; by hand:
#   docker run --read-only -v "$PWD/build/ml/bundle:/srv/ml-pipeline/bundle:ro" \
#       -p 127.0.0.1:8000:8000 ml-pipeline-server:0.1.0 --published 127.0.0.1
ARG BASE_IMAGE=python:3.13-slim

FROM ${BASE_IMAGE} AS build
ARG PIP_INDEX_URL
ARG CA_BUNDLE=docker/ca
COPY ${CA_BUNDLE} /build/ca/
COPY docker/install.sh requirements-serving.txt /build/
RUN sh /build/install.sh lock /build/requirements-serving.txt

FROM build AS package
COPY pipeline/ml_pipeline/__init__.py /build/source/ml_pipeline/
COPY pipeline/ml_pipeline/core/__init__.py pipeline/ml_pipeline/core/artefacts.py \
     pipeline/ml_pipeline/core/documents.py \
     pipeline/ml_pipeline/core/errors.py pipeline/ml_pipeline/core/onnx_session.py \
     pipeline/ml_pipeline/core/subprocess_environment.py \
     pipeline/ml_pipeline/core/plugins.py pipeline/ml_pipeline/core/whitespace.py \
     /build/source/ml_pipeline/core/
COPY pipeline/ml_pipeline/bundle/__init__.py pipeline/ml_pipeline/bundle/reader.py /build/source/ml_pipeline/bundle/
COPY pipeline/ml_pipeline/features/__init__.py pipeline/ml_pipeline/features/schema.py /build/source/ml_pipeline/features/
COPY pipeline/ml_pipeline/tasks /build/source/ml_pipeline/tasks
COPY pipeline/ml_pipeline/serving /build/source/ml_pipeline/serving
COPY pipeline/ml_pipeline/traffic /build/source/ml_pipeline/traffic
RUN sh /build/install.sh package

FROM ${BASE_IMAGE}
COPY --from=build /opt/ml-pipeline /opt/ml-pipeline
COPY --from=package /opt/package /opt/ml-pipeline
COPY docker/serve.py /opt/ml-pipeline/serve.py
ENV HOME=/tmp \
    LANG=C.UTF-8 \
    PYTHONDONTWRITEBYTECODE=1 \
    OMP_NUM_THREADS=1 \
    OPENBLAS_NUM_THREADS=1
LABEL org.opencontainers.image.title="ml-pipeline server" \
      org.opencontainers.image.description="Serves a bundle of jenkins-ml-pipeline" \
      org.opencontainers.image.licenses="Apache-2.0"
ARG VERSION=unknown
ARG REVISION=unknown
LABEL org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
USER 10001:10001
WORKDIR /srv/ml-pipeline
EXPOSE 8000
HEALTHCHECK --interval=30s --timeout=5s --start-period=30s \
    CMD ["/opt/ml-pipeline/bin/python", "-P", "/opt/ml-pipeline/serve.py", "--healthy"]
ENTRYPOINT ["/opt/ml-pipeline/bin/python", "-P", "/opt/ml-pipeline/serve.py"]
