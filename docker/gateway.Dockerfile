# The image that the docker target publishes an environment with: Debian's nginx, which hands over
# from one server container to the next. Its configuration comes in at run time.
#
#   docker build -f docker/gateway.Dockerfile -t ml-pipeline-gateway:0.1.0 .
#
# BASE_IMAGE  a Debian or Ubuntu; packages come from its sources
# CA_BUNDLE   as of docker/agent.Dockerfile
#
# The last stage has a single layer, so that no layer contains the certificates of the build.
ARG BASE_IMAGE=debian:bookworm-slim

FROM ${BASE_IMAGE} AS build
ARG CA_BUNDLE=docker/ca
COPY ${CA_BUNDLE} /build/ca/
RUN cat /build/ca/*.crt /build/ca/*.pem > /build/trusted 2> /dev/null || true; \
    if [ -s /build/trusted ]; then trust="-o Acquire::https::CaInfo=/build/trusted"; fi; \
    apt-get update $trust \
    && DEBIAN_FRONTEND=noninteractive apt-get install $trust --yes --no-install-recommends nginx-light \
    && install -d -m 0755 /etc/ml-pipeline \
    && rm -rf /build /var/lib/apt/lists/* /var/cache/apt/* /var/log/nginx /etc/nginx/sites-enabled

FROM scratch
COPY --from=build / /
ENV PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
    HOME=/tmp \
    LANG=C.UTF-8
LABEL org.opencontainers.image.title="ml-pipeline gateway" \
      org.opencontainers.image.description="Publishes the servers of jenkins-ml-pipeline" \
      org.opencontainers.image.licenses="Apache-2.0"
ARG VERSION=unknown
ARG REVISION=unknown
LABEL org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
USER 10001:10001
WORKDIR /etc/ml-pipeline
EXPOSE 8000
STOPSIGNAL SIGQUIT
ENTRYPOINT ["/usr/sbin/nginx", "-e", "stderr", "-c", "/etc/ml-pipeline/nginx.conf"]
CMD ["-g", "daemon off;"]
