#!/bin/sh
# Finds the command ml-pipeline, or makes an environment with it once; started by vars/mlAgent.groovy.
# In:  ML_PACKAGE ML_PACKAGE_DEFAULT ML_LOCK ML_CACHE ML_CACHE_SHARED ML_CACHE_DAYS ML_CONTRACT, each with
#      a leading '-', so that none is empty: Jenkins removes a variable whose value is empty, and a
#      container then shows its own. HOME.
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

for name in ML_PACKAGE ML_PACKAGE_DEFAULT ML_LOCK ML_CACHE ML_CACHE_SHARED ML_CACHE_DAYS ML_CONTRACT; do
    eval "value=\${$name-}"
    case "$value" in
        -*) eval "$name=\${value#-}" ;;
        *) stop "the variable $name of mlAgent did not reach the agent: a parameter, withEnv or the image replaces it" ;;
    esac
done

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

# Jenkins compares names without case, so it sets one of each pair; tools differ in which they read.
for name in http_proxy https_proxy no_proxy; do
    upper=$(printf '%s' "$name" | tr a-z A-Z)
    eval "low=\${$name-} high=\${$upper-}"
    [ -z "$low$high" ] || export "$name=${low:-$high}" "$upper=${high:-$low}"
done

[ -n "${HOME-}" ] || stop "HOME is not set on $(uname -n); set it in the environment of the agent"
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
key=$({ "$python" -VV; "$python" -c 'import sys; print(sys._base_executable)'; uname -m; printf '%s\n' "$own"; [ -z "$lock" ] || cat "$lock"; } | "$python" -c 'import hashlib, sys; print(hashlib.sha256(sys.stdin.buffer.read()).hexdigest()[:16])')
venv=$ML_CACHE/venv-$key

install() {
    if command -v uv >/dev/null; then
        [ -z "${PIP_INDEX_URL:-}" ] || export UV_DEFAULT_INDEX="$PIP_INDEX_URL"
        uv pip install --quiet --python "$venv/bin/python" "$@" >&2
    else
        "$venv/bin/python" -m pip install --quiet --disable-pip-version-check --no-compile "$@" >&2
    fi
}

# Whether an environment holds what was installed and nothing else, by the hashes that each package's
# RECORD lists, and no version beside the lock's. Byte code is removed: it is no part of that. An
# environment is a folder of venv, or with `target` one of pip's --target.
verified() {
    told=$("$python" -I -S - "$1" "$2" "$lock" <<'PYTHON'
import base64, csv, hashlib, os, re, stat, sys
from concurrent.futures import ThreadPoolExecutor

kind, root, lock = sys.argv[1:]
version = "python%d.%d" % sys.version_info[:2]
site = os.path.join(root, "lib", version, "site-packages") if kind == "venv" else root
own = {"venv": set(), "target": {".used", "run/ml-pipeline"}}[kind]
own |= {"bin/" + name for name in ("activate", "activate.csh", "activate.fish", "activate.nu", "Activate.ps1")}
links = {"bin/python", "bin/python3", "bin/" + version} if kind == "venv" else set()


def refuse(why):
    print(why)
    raise SystemExit(1)


def normal(name):
    return re.sub(r"[-_.]+", "-", name).lower()


def digest(path):
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").digest()


def requirements(path):
    with open(path, encoding="utf-8") as file:
        for line in file:
            other = re.match(r"(?:-r|--requirement)[ =]*(\S+)", line)
            found = re.match(r"([A-Za-z0-9._-]+)(?:\[[^\]]*\])?\s*(==|@)\s*([^\s;\\]+)", line)
            if other:
                yield from requirements(os.path.join(os.path.dirname(path), other[1]))
            elif found:  # one version for each marker; what an address names may have any
                yield normal(found[1]), plain(found[3]) if found[2] == "==" else None


def plain(version):
    return re.sub(r"(?<!\d)0+(?=\d)", "", version.lower())


locked = set(requirements(lock)) if lock and kind == "venv" else None
listed = {}
for folder in sorted(os.listdir(site)) if os.path.isdir(site) else refuse("it has no site-packages"):
    if not folder.endswith(".dist-info"):
        continue
    name, _, number = folder[: -len(".dist-info")].rpartition("-")
    free = {"pip", "setuptools", "wheel", "jenkins-ml-pipeline"}
    known = locked is None or {(normal(name), plain(number)), (normal(name), None)} & locked
    if not known and normal(name) not in free:
        refuse("%s %s is not in the lock" % (name, number))
    try:
        with open(os.path.join(site, folder, "RECORD"), encoding="utf-8", newline="") as file:
            rows = list(csv.reader(file))
    except OSError:
        refuse("%s has no RECORD" % folder)
    for path, value, *_ in filter(None, rows):
        if path.endswith(".pyc"):  # beside the sources, or under PYTHONPYCACHEPREFIX
            continue
        full = os.path.normpath(os.path.join(site, path))
        inside = os.path.relpath(full, root)
        if inside.startswith(".."):
            refuse("%s lists %s, outside of the environment" % (folder, path))
        if not value and path != folder + "/RECORD":
            refuse("%s gives no hash of %s" % (folder, path))
        listed[inside] = value
paths = []
for folder, folders, files in os.walk(root):
    for name in folders + files:
        full = os.path.join(folder, name)
        inside = os.path.relpath(full, root)
        mode = os.lstat(full).st_mode
        if stat.S_ISLNK(mode):
            if inside == "lib64" and os.readlink(full) == "lib":
                continue
            if inside in links and os.path.realpath(full) == os.path.realpath(sys.executable):
                continue
            refuse("%s is a link to %s" % (inside, os.readlink(full)))
        beside = kind == "venv" and "/" not in inside  # .made, .used, .lock of uv: nothing imports these
        if stat.S_ISDIR(mode) or inside in own or beside:
            continue
        if inside.endswith(".pyc"):
            try:
                os.unlink(full)
            except OSError:
                if not inside.startswith("lib/") or "/__pycache__/" not in inside:
                    refuse("%s is in no RECORD" % inside)
        elif inside not in listed:
            refuse("%s is in no RECORD" % inside)
        elif listed[inside]:
            paths.append((inside, full))
gone = {name for name, value in listed.items() if value} - {inside for inside, _ in paths}
if gone:
    refuse("%s is missing" % min(gone))
if kind == "venv":
    with open(os.path.join(root, "pyvenv.cfg"), encoding="utf-8") as file:
        settings = dict(re.findall(r"(?m)^(\S+)\s*=\s*(.*)$", file.read()))
    base = sys._base_executable
    homes = {os.path.realpath(os.path.dirname(base)), os.path.dirname(os.path.realpath(base))}
    if settings.get("include-system-site-packages") != "false" or os.path.realpath(settings.get("home", "")) not in homes:
        refuse("its pyvenv.cfg names another Python")
with ThreadPoolExecutor(os.cpu_count()) as pool:
    for (inside, _), found in zip(paths, pool.map(digest, [full for _, full in paths])):
        if "sha256=" + base64.urlsafe_b64encode(found).decode().rstrip("=") != listed[inside].rstrip("="):
            refuse("%s differs from its RECORD" % inside)
PYTHON
    ) || { note "$2 is not used: ${told:-it cannot be verified}"; return 1; }
}

# The lock that lies in the package: the versions that it was tested with.
carried() { "$venv/bin/python" -I -c 'import importlib.util as util, os; found = util.find_spec("pipeline"); lock = os.path.join(os.path.dirname(found.origin), "requirements.txt") if found and found.origin else ""; print(lock if os.path.isfile(lock) else "")'; }
fetch() {
    install --no-deps "$package" || return 1
    [ -z "$lock" ] || return 0
    own_lock=$(carried)
    if [ -n "$own_lock" ]; then
        note "installing the packages of $own_lock"
        install --no-deps --require-hashes -r "$own_lock" || return 1
        case "$package" in *\[*) ;; *) return 0 ;; esac
    fi
    install "$package"
}

made=
waited=0
checked=
if [ -n "$ML_CACHE_SHARED" ] && [ -f "$ML_CACHE_SHARED/venv-$key/.made" ] && verified venv "$ML_CACHE_SHARED/venv-$key"; then
    venv=$ML_CACHE_SHARED/venv-$key
    checked=yes
fi
while touch "$venv/.used" 2>/dev/null; [ -z "$checked" ]; do
    if [ -f "$venv/.made" ] && verified venv "$venv"; then break; fi
    if mkdir "$venv.making" 2>/dev/null; then
        if [ -f "$venv/.made" ] && verified venv "$venv"; then rmdir "$venv.making"; break; fi
        rm -f "$venv/.made"
        trap 'rmdir "$venv.making"' EXIT
        trap 'exit 143' TERM INT
        note "making $venv (once)"
        "$python" -m venv --clear "$venv" >&2 || stop "python -m venv failed; on Debian and Ubuntu 'apt install python3-venv' installs what is missing"
        if [ -n "$lock" ]; then
            install --no-deps --require-hashes -r "$lock" || stop "the packages of $lock could not be installed: see above"
        fi
        if [ "$own" != checkout ]; then
            fetch || stop "$package could not be installed: see above"
        fi
        touch "$venv/.made"
        made=yes
        checked=yes
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
    now=$("$python" -I -S -c '
import hashlib, os, sys
found = [os.path.join(folder, name) for folder, _, names in os.walk("pipeline") for name in names if not name.endswith(".pyc")]
total = hashlib.sha256(sys.argv[1].encode())
found += filter(os.path.exists, ["pyproject.toml", "pytest_ml_pipeline.py"])
for path in sorted(found):
    total.update(b"%s %s\n" % (hashlib.sha256(open(path, "rb").read()).digest(), path.encode()))
print(total.hexdigest()[:32])' "$venv")
    over=$ML_CACHE/checkout-$now
    touch "$over/.used" 2>/dev/null
    starts=$(printf '#!/bin/sh\nPYTHONPATH="%s${PYTHONPATH:+:$PYTHONPATH}" PATH="%s:$PATH" exec "%s/bin/python" -P -m pipeline "$@"' "$over" "$bin" "$venv")
    if [ -d "$over" ] && { [ "$(cat "$over/run/ml-pipeline")" != "$starts" ] || ! verified target "$over"; }; then
        rm -rf "$over"
    fi
    if [ ! -d "$over" ]; then
        new=$over.$$
        trap 'rm -rf "$new"' EXIT
        install --no-deps --no-build-isolation --target "$new" "$PWD" || stop "the checkout could not be installed: see above"
        mkdir -p "$new/run"
        touch "$new/.used"
        made=yes
        printf '%s\n' "$starts" > "$new/run/ml-pipeline"
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
