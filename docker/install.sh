#!/bin/sh
# Steps of the build stage that the images share:
#   install.sh lock FILE     installs a lock with hashes into /opt/ml-pipeline
#   install.sh further FILE  installs the further packages of a lock into /opt/further
#   install.sh package       installs /build/source into /opt/package, to be copied over /opt/ml-pipeline
# Byte code is compiled with unchecked hashes, so that changed file times do not invalidate it.
set -eu

python=/opt/ml-pipeline/bin/python

install() {
    /build/pip/bin/pip --python "$python" --disable-pip-version-check install \
        --quiet --no-cache-dir --no-compile --no-deps "$@"
}
compile() {
    "$python" -m compileall -q -j 0 --invalidation-mode unchecked-hash "$1"
}

prepare() {
    cat /build/ca/*.crt /build/ca/*.pem > /build/trusted 2> /dev/null || true
    if [ -s /build/trusted ]; then export PIP_CERT=/build/trusted; fi
    [ -n "${PIP_INDEX_URL:-}" ] || unset PIP_INDEX_URL
    python3 -m venv /build/pip
}

case "$1" in
    lock)
        prepare
        python3 -m venv --without-pip /opt/ml-pipeline
        install --require-hashes --requirement "$2"
        compile /opt/ml-pipeline/lib
        ;;
    further)
        prepare
        install --prefix /opt/further --require-hashes --requirement "$2"
        compile /opt/further/lib
        ;;
    package)
        if [ -f /build/source/pyproject.toml ]; then
            install --no-build-isolation --prefix /opt/package /build/source
        else
            packages=$("$python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
            mkdir -p "/opt/package/${packages#/opt/ml-pipeline/}"
            cp -R /build/source/ml_pipeline "/opt/package/${packages#/opt/ml-pipeline/}"
        fi
        compile /opt/package/lib
        ;;
esac
