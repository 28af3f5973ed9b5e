#!/bin/sh
# Finds the command ml-pipeline, or makes an environment with it once; started by src/org/mlpipeline/AgentEnvironment.groovy.
# In:  ML_PACKAGE ML_PACKAGE_DEFAULT ML_LOCK ML_CACHE ML_CACHE_SHARED ML_CACHE_DAYS ML_CONTRACT, each with
#      a leading '-', so that none is empty: Jenkins removes a variable whose value is empty, and a
#      container then shows its own. HOME.
# Out: lines on standard output: bin=FOLDER or error=TEXT; everything else goes to standard error.
set -u

fail() { printf 'error=%s\n' "$*"; exit 0; }
log() { printf 'mlAgent: %s\n' "$*" >&2; }
require_version() {
    output=$(ml-pipeline --version 2>&1) || fail "ml-pipeline does not start: $output"
    case "$output" in
        "ml-pipeline $ML_CONTRACT" | "ml-pipeline $ML_CONTRACT".*) log "$output, $(command -v ml-pipeline)" ;;
        *) fail "the agent has '$output', this library needs ml-pipeline $ML_CONTRACT.x: use the library's tag of the package's version, or another package" ;;
    esac
}

for name in ML_PACKAGE ML_PACKAGE_DEFAULT ML_LOCK ML_CACHE ML_CACHE_SHARED ML_CACHE_DAYS ML_CONTRACT; do
    eval "value=\${$name-}"
    case "$value" in
        -*) eval "$name=\${value#-}" ;;
        *) fail "the variable $name of mlAgent did not reach the agent: a parameter, withEnv or the image replaces it" ;;
    esac
done

is_unused() { [ -n "$(find "$1/.used" -mtime +"$ML_CACHE_DAYS" 2>/dev/null)" ]; }
# A server that a build started goes on importing. The pattern comes by a pipe: grep must not find itself.
is_in_use() { [ ! -d /proc/self ] || printf '%s\n' "$1" | grep -qsaF -f - /proc/[0-9]*/cmdline /proc/[0-9]*/environ; }
remove_unused() {
    for old in "$ML_CACHE"/venv-* "$ML_CACHE"/checkout-*; do
        case "$old" in *.making | *.going) continue ;; esac
        [ -d "$old" ] || continue
        [ -e "$old/.used" ] || touch "$old/.used"
        is_unused "$old" && ! is_in_use "$old" && mkdir "$old.making" 2>/dev/null || continue
        trap 'rmdir "$old.making"' EXIT
        trap 'exit 143' TERM INT
        mv "$old" "$old.going"
        if is_unused "$old.going"; then
            rm -rf "$old.going" && log "removed $old, unused for $ML_CACHE_DAYS days"
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

[ -n "${HOME-}" ] || fail "HOME is not set on $(uname -n); set it in the environment of the agent"
mkdir -p "$HOME" "$ML_CACHE" || fail "the folders $HOME and $ML_CACHE cannot be created"

package=$ML_PACKAGE
lock=$ML_LOCK
if [ -z "$package" ]; then
    if command -v ml-pipeline >/dev/null; then
        require_version
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
[ -n "$package" ] || fail "no command ml-pipeline on this agent and no package to install: give mlAgent package: 'jenkins-ml-pipeline==…', or set the global environment variable ML_PIPELINE_PACKAGE (docs/how-to/jenkins.md)"
[ -z "$lock" ] || [ -f "$lock" ] || fail "the lock $lock is not in the workspace"

python=
for name in "${ML_PYTHON:-python3}" python3.13 python3.12 python3.11 python3 python; do
    if "$name" -I -S -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' 2>/dev/null; then
        python=$name
        break
    fi
done
[ -n "$python" ] || fail "no Python 3.11, 3.12 or 3.13 on $(uname -n); install one, name it in ML_PYTHON, or use image:"

# The key: everything that decides what is in the environment, and that its wheels are stored beside it. Sources of a
# checkout are copied over it.
origin=$package
[ "$package" != "$PWD" ] || origin=checkout
key=$({ "$python" -VV; "$python" -I -S -c 'import sys; print(sys._base_executable)'; uname -m; printf '%s\n' wheels "$origin"; [ -z "$lock" ] || cat "$lock"; } | "$python" -I -S -c 'import hashlib, sys; print(hashlib.sha256(sys.stdin.buffer.read()).hexdigest()[:16])')
venv=$ML_CACHE/venv-$key

install() {
    if command -v uv >/dev/null; then
        [ -z "${PIP_INDEX_URL:-}" ] || export UV_DEFAULT_INDEX="$PIP_INDEX_URL"
        uv pip install --quiet --python "$venv/bin/python" "$@" >&2
    else
        "$venv/bin/python" -m pip install --quiet --disable-pip-version-check --no-compile "$@" >&2
    fi
}

# An environment is made of wheels, which are stored in its folder `wheels`. Before it is used, each
# of them must be one of the lock, by its hash, and each file what its wheel says: byte code is removed, what
# no wheel has is refused, and the commands of `bin` are written by `seal`, always the same. What a checkout
# is installed to is compared with the checkout.
environment() {
    "$python" -I -S - "$1" "$2" "$lock" "$package" <<'PYTHON'
import base64, configparser, hashlib, os, re, shlex, stat, sys, zipfile
from concurrent.futures import ThreadPoolExecutor

task, root, lock, package = sys.argv[1:]
PACKAGE = "jenkins-ml-pipeline"
version = "python%d.%d" % sys.version_info[:2]
site = os.path.join("lib", version, "site-packages")
INSTALLER_FILES = {"INSTALLER", "REQUESTED", "RECORD", "direct_url.json", "uv_cache.json", "uv_build.json"}


def reject(why):
    print(why)
    raise SystemExit(1)


def normalized(name):
    return re.sub(r"[-_.]+", "-", name).lower()


def digest(path, algorithm="sha256"):
    with open(path, "rb") as file:
        return hashlib.file_digest(file, algorithm)


def lines(path):
    with open(path, encoding="utf-8") as file:
        for line in file:
            other = re.match(r"(?:-r|--requirement)[ =]*(\S+)", line)
            yield from lines(os.path.join(os.path.dirname(path), other[1])) if other else [line]


def hashes(text):
    return set(re.findall(r"--hash[= ]sha256:([0-9a-f]{64})", text))


def walk_files(folder):
    """Yield what lies in a folder but folders, with its path in it; byte code is removed."""
    for here, folders, names in os.walk(folder):
        for name in folders + names:
            full = os.path.join(here, name)
            inside = os.path.relpath(full, folder)
            mode = os.lstat(full).st_mode
            if inside == "wheels":
                folders.remove(name)
            elif inside.endswith(".pyc") and not stat.S_ISDIR(mode):
                try:
                    os.unlink(full)
                except OSError:  # where it is read-only: not read, see PYTHONPYCACHEPREFIX
                    if "__pycache__" not in inside:
                        yield inside, full, stat.S_ISLNK(mode)
            elif not stat.S_ISDIR(mode):
                yield inside, full, stat.S_ISLNK(mode)


class Wheel:
    """A wheel, and where its files are installed."""

    def __init__(self, path):
        self.path, self.file = path, os.path.basename(path)
        self.name = normalized(self.file.split("-")[0])
        self.archive = zipfile.ZipFile(path)
        found = [name for name in self.archive.namelist() if re.fullmatch(r"[^/]+\.dist-info/RECORD", name)]
        self.info = os.path.dirname(found[0]) if len(found) == 1 else reject("%s has no RECORD" % self.file)

    def text(self, name):
        try:
            return self.archive.read(name).decode("utf-8")
        except KeyError:
            return ""

    def files(self):
        """Yield each file's place in the environment, its hash, and its name in the archive."""
        import csv

        for name, value, *_ in filter(None, csv.reader(self.text(self.info + "/RECORD").splitlines())):
            if name.endswith("/") or os.path.dirname(name) == self.info and os.path.basename(name).split(".")[0] == "RECORD":
                continue
            parts = name.split("/")
            place = site + "/" + name
            if parts[0] == self.info[: -len(".dist-info")] + ".data":
                folder = {
                    "purelib": site, "platlib": site, "scripts": "bin", "data": ".",
                    "headers": "include/site/%s/%s" % (version, self.file.split("-")[0]),
                }.get(parts[1]) or reject("%s has %s" % (self.file, name))
                place = "/".join([folder, *parts[2:]])
            place = os.path.normpath(place)
            if place.startswith((".." , "/")) or not re.match("sha(256|384|512)=.", value):
                reject("%s: %s has no hash, or leads outside" % (self.file, name))
            yield place, value.rstrip("="), name

    def commands(self):
        """Yield the scripts of its entry points, as they are written here."""
        found = configparser.ConfigParser(delimiters=("=",), interpolation=None)
        found.optionxform = str
        found.read_string(self.text(self.info + "/entry_points.txt"))
        for name, value in found.items("console_scripts") if found.has_section("console_scripts") else ():
            module, _, function = value.partition("[")[0].strip().partition(":")
            first = function.strip().split(".")[0]
            body = "import sys\nfrom %s import %s\nsys.exit(%s())\n" % (module.strip(), first, function.strip())
            if os.path.basename(name) == name and name not in ("", ".", ".."):
                yield "bin/" + name, shebang() + body.encode()


def shebang():
    python = shlex.quote(os.path.join(root, "bin", "python"))
    return ("#!/bin/sh\n'''exec' %s \"$0\" \"$@\"\n' '''\n" % python).encode()


def kept_wheels():
    folder = os.path.join(root, "wheels")
    names = sorted(os.listdir(folder)) if os.path.isdir(folder) else []
    return [Wheel(os.path.join(folder, name)) for name in names if name.endswith(".whl")]


def bundled_wheels():
    """Return the archives of pip that came with this Python."""
    import ensurepip, sysconfig

    folders = [os.path.join(os.path.dirname(ensurepip.__file__), "_bundled"), sysconfig.get_config_var("WHEEL_PKG_DIR")]
    paths = [os.path.join(folder, name) for folder in folders if folder and os.path.isdir(folder) for name in os.listdir(folder)]
    return [Wheel(path) for path in paths if path.endswith(".whl")]


def carried_lock(wheels):
    """Return the lock in the package, with those of the extras that are installed."""
    extras = re.search(r"\[([\w ,.-]+)\]", package)
    names = ["requirements.txt"]
    names += ["requirements-%s.txt" % normalized(name.strip()) for name in (extras[1].split(",") if extras else ())]
    texts = []
    for name in names:
        found = [wheel for wheel in wheels if wheel.name == PACKAGE and "ml_pipeline/" + name in wheel.archive.namelist()]
        texts += [wheel.text("ml_pipeline/" + name) for wheel in found] or reject(
            "carries no lock (ml_pipeline/%s); expected a wheel of %s built from its repository, or lock: with a "
            "requirements file of the workspace" % (name, PACKAGE)
        )
    return "".join(texts)


def require_known_wheels(wheels):
    """Refuse an archive that neither the lock nor the package lists."""
    locked = hashes("".join(lines(lock)) if lock else carried_lock(wheels))
    path = package.partition("[")[0]
    named = re.search(r"#(?:.*&)?sha256=([0-9a-f]{64})", package)
    own_hash = digest(path).hexdigest() if os.path.isfile(path) else named[1] if named else None
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        values = list(pool.map(lambda wheel: digest(wheel.path).hexdigest(), wheels))
    for wheel, value in zip(wheels, values):
        if value in locked:
            continue
        if wheel.name != PACKAGE:
            reject("%s is not in the lock" % wheel.file)
        if own_hash is None:
            print("mlAgent: %s is compared with itself only: '%s' names no hash" % (wheel.file, package), file=sys.stderr)
        elif value != own_hash:
            reject("%s is not %s" % (wheel.file, package))


def expected_files(wheels):
    """Return the hashes that each file may have, and the content of those that are written here."""
    listed, written = {}, {}
    installed = {name for name in os.listdir(os.path.join(root, site)) if name.endswith(".dist-info")}
    known = {wheel.info for wheel in wheels}
    for wheel in wheels + [wheel for wheel in bundled_wheels() if wheel.info in installed - known]:
        written.update(wheel.commands())
        for place, value, name in wheel.files():
            if place.startswith("bin/") and (text := wheel.archive.read(name)).startswith(b"#!python"):
                written[place] = shebang() + text.partition(b"\n")[2]
            else:
                listed.setdefault(place, set()).add(value)
        known.add(wheel.info)
    if unknown := installed - known:
        reject("%s has no wheel in this environment" % min(unknown)[: -len(".dist-info")])
    return listed, written


def write_commands():
    """Write the commands, so that they are always the same, and remove what else the tools wrote."""
    listed, written = expected_files(kept_wheels())
    for name in os.listdir(os.path.join(root, "bin")):
        full = os.path.join(root, "bin", name)
        if "bin/" + name not in listed and not os.path.islink(full):
            os.unlink(full)
    for place, content in written.items():
        with open(os.path.join(root, place), "wb") as file:
            file.write(content)
        os.chmod(os.path.join(root, place), 0o755)


def verify():
    if not os.path.isdir(os.path.join(root, site)):
        reject("it has no site-packages")
    wheels = kept_wheels()
    require_known_wheels(wheels)
    listed, written = expected_files(wheels)
    seen, paths = set(), []
    for inside, full, link in walk_files(root):
        seen.add(inside)
        if link:
            base = inside in ("bin/python", "bin/python3", "bin/" + version)
            if inside == "lib64" and os.readlink(full) == "lib":
                continue
            if not base or os.path.realpath(full) != os.path.realpath(sys.executable):
                reject("%s is a link to %s" % (inside, os.readlink(full)))
        elif inside in written:
            with open(full, "rb") as file:
                if file.read() != written[inside]:
                    reject("%s differs from its entry point" % inside)
        elif inside in listed:
            paths.append((inside, full))
        elif "/" in inside and not (os.path.dirname(inside).endswith(".dist-info") and os.path.basename(inside) in INSTALLER_FILES):
            reject("%s is in no wheel" % inside)
    if missing := (listed.keys() | written) - seen - {name for name in listed if name.endswith(".pyc")}:
        reject("%s is missing" % min(missing))

    def differs(file):
        for value in listed[file[0]]:
            algorithm, _, text = value.partition("=")
            if base64.urlsafe_b64encode(digest(file[1], algorithm).digest()).decode().rstrip("=") == text:
                return None
        return file[0]

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        if different := sorted(filter(None, pool.map(differs, paths))):
            reject("%s differs from its wheel" % different[0])
    settings = {}
    with open(os.path.join(root, "pyvenv.cfg"), encoding="utf-8") as file:
        for line in file:
            name = line.partition("=")[0].strip().lower()
            if settings.setdefault(name, line.partition("=")[2].strip()) and line.partition("=")[2].strip() != settings[name]:
                reject("its pyvenv.cfg has %s twice" % name)
    base = sys._base_executable
    homes = {os.path.realpath(os.path.dirname(base)), os.path.dirname(os.path.realpath(base))}
    if settings.get("include-system-site-packages") != "false" or os.path.realpath(settings.get("home", "")) not in homes:
        reject("its pyvenv.cfg names another Python")


def checkout():
    """Compare what was installed from this checkout with it."""
    import tomllib

    with open("pyproject.toml", "rb") as file:
        project = tomllib.load(file)["project"]
    wanted = {"console_scripts": project["scripts"], **project["entry-points"]}
    seen = set()
    for inside, full, link in walk_files(root):
        folder, name = os.path.split(inside)
        is_lock = re.fullmatch(r"ml_pipeline/requirements[\w-]*\.txt", inside)
        source = name if is_lock else os.path.join("pipeline", inside)
        if link:
            reject("%s is a link" % inside)
        if inside in (".used", ".lock", "run/ml-pipeline"):
            continue
        if folder.startswith("jenkins_ml_pipeline-") and ".dist-info" in folder:
            if name == "entry_points.txt":
                found = configparser.ConfigParser(delimiters=("=",), interpolation=None)
                found.optionxform = str
                found.read(full, encoding="utf-8")
                if {group: dict(found.items(group)) for group in found.sections()} != wanted:
                    reject("%s differs from pyproject.toml" % inside)
            continue
        if not os.path.isfile(source) or digest(full).digest() != digest(source).digest():
            reject("%s differs from the checkout" % inside)
        seen.add(source)
    for folder, _, names in os.walk("pipeline/ml_pipeline"):
        for name in names:
            if name.endswith(".py") and os.path.join(folder, name) not in seen:
                reject("%s is missing" % os.path.join(folder, name))


if task == "lock":
    print(carried_lock(kept_wheels()), end="")
else:
    {"seal": write_commands, "verify": verify, "checkout": checkout}[task]()
PYTHON
}
is_valid() { output=$(environment "$1" "$2") || { log "$2 is not used: ${output:-it cannot be verified}"; return 1; }; }

build_wheels() { "$venv/bin/python" -m pip wheel --quiet --disable-pip-version-check --wheel-dir "$venv/wheels" "$@" >&2; }
build_locked_wheels() { build_wheels --no-deps --require-hashes --only-binary :all: -r "$1"; }
fetch_package() {
    build_wheels --no-deps "$package" || fail "$package could not be installed: see above"
    [ -z "$lock" ] || return 0
    environment lock "$venv" > "$venv/lock.txt" || fail "$package $(cat "$venv/lock.txt")"
    log "installing the packages of the lock that $package carries"
    build_locked_wheels "$venv/lock.txt" 2> "$venv/pip.log" && return 0
    cat "$venv/pip.log" >&2
    missing=$(grep 'No matching distribution found for ' "$venv/pip.log") || fail "$package could not be installed: see above"
    fail "the lock that $package carries is for another platform or Python, or the index lacks a wheel: none of ${missing##*found for } for $("$python" -I -S -c 'import platform, sys; print("Python %d.%d on %s %s" % (*sys.version_info[:2], platform.system(), platform.machine()))')"
}
check_complete() {
    [ -z "$lock" ] || return 0
    missing=$("$venv/bin/python" -m pip --disable-pip-version-check check 2>&1) && return 0
    printf '%s\n' "$missing" >&2
    fail "the lock that $package carries is for another platform or Python: $(printf '%s\n' "$missing" | grep -m 1 .)"
}

created=
waited=0
usable=
if [ -n "$ML_CACHE_SHARED" ] && [ -f "$ML_CACHE_SHARED/venv-$key/.made" ] && is_valid verify "$ML_CACHE_SHARED/venv-$key"; then
    venv=$ML_CACHE_SHARED/venv-$key
    usable=yes
fi
while touch "$venv/.used" 2>/dev/null; [ -z "$usable" ]; do
    if [ -f "$venv/.made" ] && is_valid verify "$venv"; then break; fi
    if mkdir "$venv.making" 2>/dev/null; then
        if [ -f "$venv/.made" ] && is_valid verify "$venv"; then rmdir "$venv.making"; break; fi
        rm -f "$venv/.made"
        trap 'rmdir "$venv.making"' EXIT
        trap 'exit 143' TERM INT
        log "creating $venv (once)"
        "$python" -m venv --clear "$venv" >&2 || fail "python -m venv failed; on Debian and Ubuntu 'apt install python3-venv' installs what is missing"
        if [ -n "$lock" ]; then
            build_locked_wheels "$lock" || fail "the packages of $lock could not be fetched: see above; one without a wheel for this machine needs one on your index, and its hash in the lock"
        fi
        if [ "$origin" != checkout ]; then
            fetch_package
        fi
        set -- "$venv"/wheels/*.whl
        [ ! -f "$1" ] || install --no-deps --no-index "$@" || fail "the wheels in $venv/wheels could not be installed: see above"
        check_complete
        environment seal "$venv" >&2 && is_valid verify "$venv" || fail "$venv is not what its wheels say, although it was just created"
        touch "$venv/.made"
        created=yes
        usable=yes
        rmdir "$venv.making"
        trap - EXIT
    else
        [ "$waited" -lt 1200 ] || fail "another build has been creating $venv for 20 minutes; remove $venv.making if none does"
        waited=$((waited + 5))
        sleep 5
    fi
done

bin=$venv/bin
if [ "$origin" = checkout ]; then
    # Kept by content beside the environment: a server that a build started goes on importing from it.
    content=$("$python" -I -S -c '
import hashlib, os, sys
found = [os.path.join(folder, name) for folder, _, names in os.walk("pipeline/ml_pipeline") for name in names if not name.endswith(".pyc")]
total = hashlib.sha256(sys.argv[1].encode())
found += filter(os.path.exists, ["pyproject.toml"])
for path in sorted(found):
    total.update(b"%s %s\n" % (hashlib.sha256(open(path, "rb").read()).digest(), path.encode()))
print(total.hexdigest()[:32])' "$venv")
    installed=$ML_CACHE/checkout-$content
    touch "$installed/.used" 2>/dev/null
    launcher=$(printf '#!/bin/sh\nPYTHONPATH="%s${PYTHONPATH:+:$PYTHONPATH}" PATH="%s:$PATH" exec "%s/bin/python" -P -m ml_pipeline "$@"' "$installed" "$bin" "$venv")
    if [ -d "$installed" ] && { [ "$(cat "$installed/run/ml-pipeline")" != "$launcher" ] || ! is_valid checkout "$installed"; }; then
        rm -rf "$installed"
    fi
    if [ ! -d "$installed" ]; then
        new=$installed.$$
        trap 'rm -rf "$new"' EXIT
        install --no-deps --no-build-isolation --target "$new" "$PWD" || fail "the checkout could not be installed: see above"
        rm -rf "$new/bin"
        mkdir -p "$new/run"
        touch "$new/.used"
        created=yes
        printf '%s\n' "$launcher" > "$new/run/ml-pipeline"
        chmod +x "$new/run/ml-pipeline"
        [ -e "$installed" ] || mv "$new" "$installed" || fail "$installed could not be created"
        rm -rf "$new"
        trap - EXIT
    fi
    bin=$installed/run
fi
[ -z "$created" ] || [ -z "$ML_CACHE_DAYS" ] || remove_unused >&2
PATH=$bin:$PATH
require_version
echo "bin=$bin"
