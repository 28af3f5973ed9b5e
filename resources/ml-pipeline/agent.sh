#!/bin/sh
# Finds the command ml-pipeline, or makes an environment with it once; started by vars/mlAgent.groovy.
# In:  ML_PACKAGE ML_PACKAGE_DEFAULT ML_LOCK ML_CACHE ML_CACHE_DAYS (empty: remove nothing) ML_CONTRACT HOME
# Out: lines on standard output: bin=FOLDER or error=TEXT; everything else goes to standard error.
set -u

stop() { printf 'error=%s\n' "$*"; exit 0; }
note() { printf 'mlAgent: %s\n' "$*" >&2; }
checked() {
    told=$(ml-pipeline --version 2>&1) || stop "ml-pipeline does not start: $told"
    case "$told" in
        "ml-pipeline $ML_CONTRACT" | "ml-pipeline $ML_CONTRACT".*) note "$told, $(command -v ml-pipeline)" ;;
        *) stop "the agent has '$told', this library needs ml-pipeline $ML_CONTRACT.x: use the library's tag of the package's version, or another package" ;;
    esac
}

unused() { [ -n "$(find "$1/.used" -mtime +"$ML_CACHE_DAYS" 2>/dev/null)" ]; }
# A server that a build started goes on importing. The pattern comes by a pipe: grep must not find itself.
runs() { [ ! -d /proc/self ] || printf '%s\n' "$1" | grep -qsaF -f - /proc/[0-9]*/cmdline /proc/[0-9]*/environ; }
clean() {
    for old in "$ML_CACHE"/venv-* "$ML_CACHE"/checkout-*; do
        case "$old" in *.making | *.going) continue ;; esac
        [ -d "$old" ] || continue
        [ -e "$old/.used" ] || touch "$old/.used"
        unused "$old" && ! runs "$old" && mkdir "$old.making" 2>/dev/null || continue
        trap 'rmdir "$old.making"' EXIT
        trap 'exit 143' TERM INT
        mv "$old" "$old.going"
        if unused "$old.going"; then
            rm -rf "$old.going" && note "removed $old, unused for $ML_CACHE_DAYS days"
        else
            mv "$old.going" "$old"
        fi
        rmdir "$old.making"
        trap - EXIT TERM INT
    done
    find "$ML_CACHE" -maxdepth 1 \( -name 'venv-*.going' -o -name 'checkout-*.going' \) -ctime +1 -exec rm -rf {} +
}

mkdir -p "$HOME" "$ML_CACHE" || stop "the folders $HOME and $ML_CACHE cannot be made"

package=$ML_PACKAGE
lock=$ML_LOCK
if [ -z "$package" ]; then
    if command -v ml-pipeline >/dev/null; then
        checked
        echo bin=
        exit 0
    fi
    if grep -qs '^name = "jenkins-ml-pipeline"' pyproject.toml; then
        package=$PWD
        lock=${lock:-requirements.txt}
    else
        package=$ML_PACKAGE_DEFAULT
    fi
fi
[ -n "$package" ] || stop "no ml-pipeline here, and nothing says where it comes from: give mlAgent package: 'jenkins-ml-pipeline==…', or set the global environment variable ML_PIPELINE_PACKAGE (docs/how-to/jenkins.md)"
[ -z "$lock" ] || [ -f "$lock" ] || stop "the lock $lock is not in the workspace"

python=
for name in "${ML_PYTHON:-python3}" python3.13 python3.12 python3.11 python3 python; do
    if "$name" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' 2>/dev/null; then
        python=$name
        break
    fi
done
[ -n "$python" ] || stop "no Python 3.11, 3.12 or 3.13 on $(uname -n); install one, name it in ML_PYTHON, or use image:"

# The key: everything that decides what is in the environment. Sources of a checkout are laid over it.
own=$package
[ "$package" != "$PWD" ] || own=checkout
key=$({ "$python" -VV; uname -m; printf '%s\n' "$own"; [ -z "$lock" ] || cat "$lock"; } | "$python" -c 'import hashlib, sys; print(hashlib.sha256(sys.stdin.buffer.read()).hexdigest()[:16])')
venv=$ML_CACHE/venv-$key

install() {
    if command -v uv >/dev/null; then
        [ -z "${PIP_INDEX_URL:-}" ] || export UV_DEFAULT_INDEX="$PIP_INDEX_URL"
        uv pip install --quiet --python "$venv/bin/python" "$@" >&2
    else
        "$venv/bin/python" -m pip install --quiet --disable-pip-version-check "$@" >&2
    fi
}

made=
waited=0
while touch "$venv/.used" 2>/dev/null; [ ! -f "$venv/.made" ]; do
    if mkdir "$venv.making" 2>/dev/null; then
        if [ -f "$venv/.made" ]; then rmdir "$venv.making"; break; fi
        trap 'rmdir "$venv.making"' EXIT
        trap 'exit 143' TERM INT
        note "making $venv (once)"
        "$python" -m venv --clear "$venv" >&2 || stop "python -m venv failed; on Debian and Ubuntu 'apt install python3-venv' mends that"
        if [ -n "$lock" ]; then
            install --no-deps --require-hashes -r "$lock" || stop "the packages of $lock could not be installed: see above"
        fi
        if [ "$own" != checkout ]; then
            if [ -n "$lock" ]; then set -- --no-deps "$package"; else set -- "$package"; fi
            install "$@" || stop "$package could not be installed: see above"
        fi
        touch "$venv/.made"
        made=yes
        rmdir "$venv.making"
        trap - EXIT
    else
        [ "$waited" -lt 1200 ] || stop "another build has been making $venv for 20 minutes; remove $venv.making if none does"
        waited=$((waited + 5))
        sleep 5
    fi
done

bin=$venv/bin
if [ "$own" = checkout ]; then
    # Kept by content beside the environment: a server that a build started goes on importing from it.
    now=$({ echo "$venv"; find pipeline pyproject.toml -type f ! -name '*.pyc' -exec cksum {} + | sort; } | cksum | tr ' ' -)
    over=$ML_CACHE/checkout-$now
    touch "$over/.used" 2>/dev/null
    if [ ! -x "$over/run/ml-pipeline" ]; then
        new=$over.$$
        trap 'rm -rf "$new"' EXIT
        install --no-deps --no-build-isolation --target "$new" "$PWD" || stop "the checkout could not be installed: see above"
        mkdir -p "$new/run"
        touch "$new/.used"
        made=yes
        printf '#!/bin/sh\nPYTHONPATH="%s${PYTHONPATH:+:$PYTHONPATH}" PATH="%s:$PATH" exec "%s/bin/python" -P -m pipeline "$@"\n' "$over" "$bin" "$venv" > "$new/run/ml-pipeline"
        chmod +x "$new/run/ml-pipeline"
        [ -e "$over" ] || mv "$new" "$over" || stop "$over could not be made"
        rm -rf "$new"
        trap - EXIT
    fi
    bin=$over/run
fi
[ -z "$made" ] || [ -z "$ML_CACHE_DAYS" ] || clean >&2
PATH=$bin:$PATH
checked
echo "bin=$bin"
