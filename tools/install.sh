#!/bin/sh
# Build the environment in .venv from requirements.lock, once. `make` calls this before every command;
# when nothing has changed it returns at once. A build that was interrupted starts again from nothing.
#
# Each way to fail ends in one line that says what to do.
set -u
cd "$(dirname "$0")/.." || exit 1

fail() {
    echo "make: $1" >&2
    exit 1
}

[ -w . ] && mkdir -p build .jupyter 2>/dev/null ||
    fail "cannot write in $(pwd): check its permissions, or copy it to a folder of yours"

# --- Which Python? The range stands in pyproject.toml and nowhere else. -----------------------------
range=$(sed -n 's/^requires-python = "\(.*\)"/\1/p' pyproject.toml)
in_range='
import re, sys
low, high = re.findall(r"\d+\.(\d+)", sys.argv[1])
sys.exit(not (sys.version_info[0] == 3 and int(low) <= sys.version_info[1] < int(high)))
'
found=""
python=""
if [ -n "${PYTHON:-}" ]; then set -- "$PYTHON"; else set -- python3 python3.13 python3.12 python3.11; fi
for candidate in "$@"; do
    version=$("$candidate" -c 'import sys; print("%d.%d.%d" % sys.version_info[:3])' 2>/dev/null) || continue
    found="$found $version"
    if "$candidate" -c "$in_range" "$range"; then
        # The interpreter behind it, if it belongs to an environment: .venv itself is about to go.
        python=$("$candidate" -c 'import sys; print(getattr(sys, "_base_executable", sys.executable))')
        break
    fi
done
[ -n "$python" ] || fail "needs Python $range, found:${found:- none}. Install one, or name it: make PYTHON=/path/to/python3.12 ..."

# --- Is the environment there already, whole, for this checkout at this place? -----------------------
stamp=".venv/complete"
# (What stands under [tool.*] in pyproject.toml changes no installed package.)
wanted="$version $(sed '/^\[tool/,$d' pyproject.toml | cat - requirements.lock tools/install.sh | cksum) $(pwd)"
[ "$(cat "$stamp" 2>/dev/null)" = "$wanted" ] && exit 0

# --- One build at a time. ----------------------------------------------------------------------------
lock=".venv.lock"
if ! mkdir "$lock" 2>/dev/null; then
    owner=$(cat "$lock/pid" 2>/dev/null)
    if [ -n "$owner" ] && kill -0 "$owner" 2>/dev/null; then
        fail "another call is building .venv (process $owner): wait for it, then run this again"
    fi
    rm -rf "$lock" && mkdir "$lock" || fail "cannot write in $(pwd): check its permissions and free space"
fi
echo $$ >"$lock/pid"
trap 'rm -rf "$lock"' EXIT
trap 'echo; fail "interrupted; run the same command again and the build starts afresh"' INT TERM HUP

# --- What has to be there before it is worth starting. -----------------------------------------------
need_room() { # MB: the environment, and what pip downloads for it
    free=$(df -Pk . | awk 'NR == 2 { print int($4 / 1024) }')
    [ "${free:-0}" -ge "$1" ] ||
        fail "the environment needs about $1 MB here and $free MB are free. Make room, then run this again"
}
"$python" -c 'import ensurepip, venv' 2>/dev/null ||
    fail "this Python ($version) has no venv module. On Debian or Ubuntu: apt install python3-venv"
need_room 2500

# --- Build. ------------------------------------------------------------------------------------------
log="build/install.log"
echo "Building the environment in .venv, once (one to ten minutes). Log: $log"
rm -rf .venv

stop_with_reason() {
    tail -n 5 "$log" >&2
    if grep -q "No space left on device" "$log"; then
        fail "the disk is full. Make room (also where TMPDIR points), then run this again"
    fi
    fail "the installation failed, see $log. Often it is the network: check it, then run this again"
}

run() { # in the background, so that an interrupt is answered at once; a dot every two seconds
    "$@" >>"$log" 2>&1 &
    job=$!
    trap 'kill "$job" 2>/dev/null; wait "$job" 2>/dev/null; echo; fail "interrupted; run the same command again and the build starts afresh"' INT TERM HUP
    ticks=0
    while kill -0 "$job" 2>/dev/null; do
        ticks=$((ticks + 1))
        [ $((ticks % 10)) -eq 0 ] && printf .
        sleep 0.2
    done
    wait "$job" || { echo; stop_with_reason; }
}

: >"$log"
run "$python" -m venv .venv
# On Linux pip takes torch's build for NVIDIA cards, unless it knows of one whose version ends in +cpu.
torch=$(sed -n 's/^torch==//p' requirements.lock)
if [ "$(uname -s)" = Linux ] && known=$(.venv/bin/python -m pip index versions torch 2>>"$log") &&
    ! echo "$known" | grep -qF "$torch+cpu"; then
    echo
    echo "make: torch comes in its build for NVIDIA cards: 3 GB to download, 5.4 GB on disk. If you have no such card, press Ctrl-C and say PIP_EXTRA_INDEX_URL=<the address that PyTorch's installation page shows for Linux, Pip, CPU> make lab: 370 MB, 1.7 GB" >&2
    need_room 8500
fi
run .venv/bin/python -m pip install --disable-pip-version-check -r requirements.lock
run .venv/bin/python -m pip install --disable-pip-version-check --no-deps --no-build-isolation -e .
# Python reads this file by the locale: say where fmlib is from there, not by a path of any letters.
for file in .venv/lib/python3.*/site-packages/fmlib.pth; do echo ../../../.. >"$file"; done
mkdir -p .venv/share/jupyter/lab/settings
cat >.venv/share/jupyter/lab/settings/overrides.json <<'JSON'
{
  "@jupyterlab/apputils-extension:notification": { "fetchNews": "false", "checkForUpdates": false }
}
JSON
echo
echo "$wanted" >"$stamp"
