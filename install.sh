#!/usr/bin/env bash
# Installs the server in this folder, and runs or tests it. See `bash install.sh --help`.
#
# It creates venv/, models/, logs/ and, if there is none, .env. It does not change files that you wrote. A second run
# finds the stamp of the first one in venv/ and does only what is missing.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
export WLK_HOME=$PWD # the commands below use the .env of this folder

readonly PYTHON_MINIMUM="3.11"
# Measured: 500 MB of libraries, 145 MB of model files, 135 MB of downloaded wheels in pip's cache; and room for logs.
disk_mb=1500
readonly LOG="logs/install.log"
readonly UNIT=whisperlivekit.service
readonly UNIT_FOLDER=${UNIT_FOLDER:-/etc/systemd/system}
readonly SERVICE_USER=${SERVICE_USER:-whisperlivekit}

usage() {
    cat <<'TEXT'
Usage: bash install.sh [install | serve | bench | test | doctor | certificate | service [remove] | --help]

  install          (default) install everything that the server needs: venv/, libraries, folders, .env, model files
  serve            install, then start the server on http://localhost:8000 (WLK_HOST and WLK_PORT in .env)
  bench            install, with the libraries that the programs in benchmarks/ need
  test             install, with everything that the tests need (also Chromium, ffmpeg, Node.js), then run all tests
  doctor           check everything that a start depends on, and print a remedy for each problem
  certificate      make a self-signed certificate for this machine's names and addresses: browsers on other machines
                   allow the microphone on https pages only
  service          install, then run the server as a systemd service that starts at boot. Repeat it to upgrade
  service remove   stop the service and remove its unit. Files and the user stay
  --help           print this text

Nothing outside this folder is changed, with two exceptions: missing Debian packages are installed with apt-get if you
are root or may use sudo, and `service` adds a user and a unit. An existing .env is never changed.

Environment:
  PYTHON=/path/to/python3   the Python that venv/ is made from (at least 3.11)
  SERVICE_USER=name         the user that runs the service (whisperlivekit)
TEXT
}

# ------------------------------------------------------------------------------------------------------------- output

say() { printf '%s\n' "$@"; }

fail() {
    printf '\ninstall.sh: %s\n' "$1" >&2
    shift
    local line
    for line in "$@"; do printf '  %s\n' "$line" >&2; done
    exit 1
}

child=""
trap '[ -z "$child" ] || kill "$child" 2>/dev/null || true' EXIT
trap 'exit 130' INT TERM

# watched TITLE COMMAND...: runs the command, writes its output to the log, and shows the elapsed time and the last line.
watched() {
    local title=$1 started=$SECONDS shown=0 last status=0
    shift
    mkdir -p "$(dirname "$LOG")"
    printf '\n### %s: %s\n' "$title" "$*" >>"$LOG"
    local from
    from=$(wc -c <"$LOG")
    "$@" >>"$LOG" 2>&1 &
    child=$!
    while kill -0 "$child" 2>/dev/null; do
        sleep 0.1
        local passed=$((SECONDS - started))
        [ "$passed" -ge 2 ] || continue
        last=$(tail -c +"$((from + 1))" "$LOG" | tr '\r' '\n' | grep -vE '^[[:space:]]*$|^WARNING' | tail -n 1 | cut -c 1-70 || true)
        if [ -t 1 ]; then
            printf '\r\033[K  %s: %d s  %s' "$title" "$passed" "$last"
        elif [ $((passed - shown)) -ge 10 ]; then
            printf '  %s: %d s  %s\n' "$title" "$passed" "$last"
            shown=$passed
        fi
    done
    wait "$child" || status=$?
    child=""
    [ ! -t 1 ] || printf '\r\033[K'
    if [ "$status" -eq 0 ]; then
        say "  $title: done in $((SECONDS - started)) s"
    else
        tail -c +"$((from + 1))" "$LOG" >"$LOG.last"
    fi
    return "$status"
}

# -------------------------------------------------------------------------------------------------------- the machine

has_gpu() { command -v nvidia-smi >/dev/null && nvidia-smi -L 2>/dev/null | grep -q '^GPU'; }

# The first Python that is new enough: $PYTHON, python3, or one with a version in its name.
find_python() {
    local candidate found=""
    for candidate in ${PYTHON:+"$PYTHON"} python3 python3.14 python3.13 python3.12 python3.11; do
        command -v "$candidate" >/dev/null || continue
        found=${found:-"$candidate is $("$candidate" -c 'import platform; print(platform.python_version())' 2>/dev/null || echo broken)"}
        if "$candidate" -c "import sys; sys.exit(sys.version_info < (${PYTHON_MINIMUM/./, }))" 2>/dev/null; then
            command -v "$candidate"
            return
        fi
    done
    fail "found ${found:-no Python}, expected Python $PYTHON_MINIMUM or newer" \
        "Debian 12, Ubuntu 24.04 and later releases have it: apt-get install python3 python3-venv" \
        "If it is installed elsewhere: PYTHON=/path/to/python3 bash install.sh"
}

# as_root COMMAND...: runs the command as root or with sudo; fails if neither is possible.
as_root() {
    if [ "$(id -u)" -eq 0 ]; then
        "$@"
    elif command -v sudo >/dev/null; then
        sudo "$@"
    else
        return 1
    fi
}

# apt_install TITLE PACKAGE...: fails if there is no apt-get, or no right to use it.
apt_install() {
    local title=$1
    shift
    command -v apt-get >/dev/null || return 1
    if [ "$(id -u)" -ne 0 ]; then
        command -v sudo >/dev/null || return 1
        say "  sudo apt-get install $*"
        sudo -v || return 1 # asks for the password here, because the output of the next command goes to the log
    fi
    watched "$title: lists" as_root apt-get update -q || true # an old list may be good enough
    watched "$title" as_root env DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends "$@"
}

need_disk() {
    local free
    free=$(df -Pm . | awk 'NR == 2 { print $4 }')
    [ "$free" -ge "$disk_mb" ] ||
        fail "found $free MB free on the disk of $PWD, expected at least $disk_mb MB" "Free some space and run this again."
}

# ---------------------------------------------------------------------------------------------------- Python libraries

pip_failed() {
    if grep -qiE 'No space left on device' "$LOG.last"; then
        fail "the disk became full while installing $1" "Free some space (about $disk_mb MB are needed) and run this again."
    elif grep -qiE 'Temporary failure in name resolution|Name or service not known|NewConnectionError|Network is unreachable|ConnectTimeout|Connection refused|ProxyError' "$LOG.last"; then
        fail "no network: the Python package registry cannot be reached" \
            "Check the connection, and pip's proxy and index settings: venv/bin/pip config list" \
            "Details are in $LOG"
    fi
    tail -n 15 "$LOG.last" >&2
    fail "pip could not install $1" "The lines above are the end of $LOG"
}

make_venv() {
    local python
    [ ! -e venv/.unfinished ] || rm -rf venv
    if [ -e venv ]; then
        if venv/bin/python -c "import sys; sys.exit(sys.version_info < (${PYTHON_MINIMUM/./, }))" 2>/dev/null &&
            venv/bin/python -m pip --version >/dev/null 2>&1; then
            return
        fi
        fail "venv/ is broken, or its Python is older than $PYTHON_MINIMUM" "Remove it and run this again: rm -r venv"
    fi
    python=$(find_python)
    need_disk
    if ! "$python" -c 'import venv, ensurepip' 2>/dev/null; then
        local package
        package=$("$python" -c 'import sys; print("python%d.%d-venv" % sys.version_info[:2])')
        say "Python's venv module is missing: installing $package"
        apt_install "$package" "$package" || fail "Python at $python has no venv module (python3-venv)" \
            "Install it and run this again: apt-get install $package"
    fi
    say "Making venv/ with $("$python" --version)"
    mkdir venv
    touch venv/.unfinished # marks a venv/ that this script did not finish, and may remove
    watched "venv" "$python" -m venv venv || fail "could not make venv/" "$(tail -n 3 "$LOG.last")"
    rm venv/.unfinished
}

# install_libraries EXTRAS: EXTRAS is empty, or a list such as dev,cuda.
install_libraries() {
    local extras=$1 stamp
    stamp=$(cat pyproject.toml constraints.txt <(echo "$extras" && venv/bin/python --version && pwd) | sha256sum | cut -d ' ' -f 1)
    if [ -f venv/.installed ] && grep -qx "$stamp" venv/.installed; then
        return
    fi
    need_disk
    say "Installing libraries"
    watched "libraries" venv/bin/pip install -c constraints.txt -e ".${extras:+[$extras]}" || pip_failed "the libraries"
    echo "$stamp" >>venv/.installed
}

# ---------------------------------------------------------------------------------------------- folders, .env, models

make_folders() { mkdir -p models/whisper models/silero_vad models/cache logs; }

# write_env MODEL: writes .env unless there is one.
write_env() {
    local temporary=".env.new.$$"
    if has_gpu; then
        venv/bin/python -m whisperlivekit.settings WHISPER_DEVICE=cuda "WLK_MODEL=$1" >"$temporary"
    else
        venv/bin/python -m whisperlivekit.settings WHISPER_DEVICE=cpu "WLK_MODEL=$1" >"$temporary"
    fi
    mv -n "$temporary" .env
    say "Wrote .env: model $1, $(has_gpu && echo "on the GPU" || echo "on the CPU (no NVIDIA GPU was found)")"
}

prepare_env_and_models() {
    if [ ! -e .env ]; then
        local model=base
        if has_gpu; then
            if venv/bin/whisperlivekit models fetch small; then
                model=small
            else
                say "The model small cannot be downloaded, so .env gets WLK_MODEL=base. To use small later, run" \
                    "venv/bin/whisperlivekit models fetch small, and set WLK_MODEL=small in .env"
            fi
        fi
        write_env "$model"
    fi
    venv/bin/whisperlivekit models fetch || exit 1
}

# -------------------------------------------------------------------------------------------------------------- tests

install_test_programs() {
    local missing=()
    command -v chromium >/dev/null || command -v google-chrome >/dev/null || missing+=(chromium fonts-dejavu-core)
    command -v ffmpeg >/dev/null || missing+=(ffmpeg)
    command -v node >/dev/null || missing+=(nodejs)
    [ ${#missing[@]} -eq 0 ] || {
        say "Installing programs for the tests: ${missing[*]}"
        apt_install "programs for the tests" "${missing[@]}" || fail "the tests need: ${missing[*]}" \
            "Install them and run this again: apt-get install ${missing[*]}"
    }
    # These are unpacked and not installed, because installed packages start services. prometheus has promtool.
    local name
    for name in nginx caddy prometheus; do
        command -v "$name" /usr/sbin/"$name" venv/proxies/usr/{,s}bin/"$name" >/dev/null && continue
        mkdir -p venv/proxies
        (cd venv/proxies && apt-get download -q "$name" && dpkg -x "$name"_*.deb .) >>"$LOG" 2>&1 ||
            say "$name could not be downloaded: its tests are skipped"
    done
    unpack_asterisk >>"$LOG" 2>&1 || say "asterisk could not be downloaded: its tests are skipped"
}

# Debian 12 has no Asterisk. The one of Debian's unstable distribution is unpacked, with the libraries that it needs: it
# runs with their dynamic linker. Lists of packages and downloads stay in venv/, and nothing is installed.
unpack_asterisk() (
    folder=$PWD/venv/proxies/asterisk
    [ ! -x "$folder/usr/sbin/asterisk" ] || return 0
    keys=/usr/share/keyrings/debian-archive-keyring.gpg
    rm -rf "$folder.new" && mkdir -p "$folder.new"/{lists/partial,cache/archives/partial,debs} && cd "$folder.new/debs"
    echo "deb [signed-by=$keys] http://deb.debian.org/debian sid main" >../sources.list
    options=(-q -o "Dir::Etc::SourceList=$folder.new/sources.list" -o Dir::Etc::SourceParts=- \
        -o "Dir::State::Lists=$folder.new/lists" -o "Dir::Cache=$folder.new/cache")
    apt-get "${options[@]}" update &&
        apt-get "${options[@]}" download asterisk asterisk-modules libc6 libcap2 libcrypt1 libedit2 libgcc-s1 \
            libjansson4 libpopt0 libsqlite3-0 libssl3t64 libstdc++6 libsystemd0 liburiparser1 libuuid1 libxml2-16 \
            libxslt1.1 libtinfo6 libbsd0 libmd0 zlib1g libzstd1 || return 1
    for package in *.deb; do dpkg -x "$package" ../root || return 1; done
    rm -rf "$folder" && mv "$folder.new/root" "$folder" && rm -rf "$folder.new"
)

# The clients of other projects, unmodified, each in an environment of its own: their requirements exclude each other's.
install_test_clients() {
    local list name
    for list in tests/clients/requirements/*.txt; do
        [ -e "$list" ] || continue
        name=$(basename "$list" .txt)
        cmp -s "$list" "venv/clients/$name/installed.txt" && continue
        say "Installing $name for the tests"
        mkdir -p venv/clients
        watched "$name" venv/bin/python -m venv --clear "venv/clients/$name" &&
            watched "$name" "venv/clients/$name/bin/pip" install --no-deps -r "$list" ||
            fail "could not install $name for the tests" "$(tail -n 3 "$LOG.last")"
        cp "$list" "venv/clients/$name/installed.txt"
    done
}

checks_failed=()

# checked TITLE COMMAND...: runs one check in plain sight and remembers whether it passed.
checked() {
    local title=$1 started=$SECONDS
    shift
    printf '\n== %s\n' "$title"
    if "$@"; then
        say "== $title: passed in $((SECONDS - started)) s"
    else
        say "== $title: FAILED"
        checks_failed+=("$title")
    fi
}

run_tests() {
    export PATH="$PWD/venv/bin:$PATH"
    checked "style (ruff)" ruff check .
    checked "types (mypy)" mypy
    checked "imports (import-linter)" lint-imports
    checked "page (node --test)" node --test --test-reporter=dot tests/web/*.test.js
    # Many tests wait for real time; two processes use the waiting. A file's tests stay together with their server.
    checked "tests (pytest)" python -m pytest -n 2 --dist loadfile --no-loadscope-reorder
    local kernels kernel skipped
    kernels=$(python -m tests.kernels --list) || checks_failed+=("list of CTranslate2's kernels")
    while IFS=$'\t' read -r kernel skipped <&3; do
        if [ -z "$skipped" ]; then
            checked "model tests under CTranslate2's kernel $kernel" python -m tests.kernels "$kernel"
        else
            say "" "== model tests under CTranslate2's kernel $kernel: skipped, $skipped"
        fi
    done 3< <(printf '%s' "${kernels:+$kernels$'\n'}")
    printf '\n'
    [ ${#checks_failed[@]} -eq 0 ] || fail "not passed: ${checks_failed[*]}"
    say "Everything passed in $SECONDS s."
}

# -------------------------------------------------------------------------------------------------------- certificate

# All names and addresses of this machine, one per line, in the notation of openssl.
own_names() {
    local address
    printf 'DNS:localhost\nDNS:%s\n' "$(hostname)"
    if command -v hostname >/dev/null && hostname -f >/dev/null 2>&1; then printf 'DNS:%s\n' "$(hostname -f)"; fi
    printf 'DNS:%s.local\n' "$(hostname -s 2>/dev/null || hostname)"
    printf 'IP:127.0.0.1\nIP:::1\n'
    for address in $(hostname -I 2>/dev/null); do printf 'IP:%s\n' "$address"; done
}

make_certificate() {
    command -v openssl >/dev/null || apt_install openssl openssl || fail "openssl is not installed" "apt-get install openssl"
    mkdir -p certs
    chmod 700 certs
    if [ -e certs/key.pem ]; then
        say "certs/cert.pem exists. To make a new one: rm -r certs, then run this again"
    else
        local names
        names=$(own_names | sort -u | paste -sd , -)
        # Browsers accept certificates for at most 825 days. EC keys are small and make fast handshakes.
        (umask 077 && openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 820 \
            -subj "/CN=$(hostname)" -addext "subjectAltName=$names" -addext "basicConstraints=critical,CA:FALSE" \
            -addext "extendedKeyUsage=serverAuth" -keyout certs/key.pem -out certs/cert.pem 2>>"$LOG") ||
            fail "openssl could not make the certificate" "Details are in $LOG"
        chmod 644 certs/cert.pem
        say "Made certs/cert.pem for ${names//,/, }"
    fi
    say "" "Set in .env:" "  WLK_HOST=0.0.0.0" "  WLK_SSL_CERTFILE=certs/cert.pem" "  WLK_SSL_KEYFILE=certs/key.pem" "" \
        "The certificate is self-signed, so browsers warn once. Accept it, or import certs/cert.pem into the browsers."
}

# ------------------------------------------------------------------------------------------------------------- service

need_systemd() {
    command -v systemctl >/dev/null || fail "there is no systemd here (no systemctl)" \
        "Start the server with this machine's own service manager: $PWD/venv/bin/whisperlivekit serve"
    as_root true || fail "a service can be installed by root only" "Run this as root: sudo bash install.sh service"
}

install_service() {
    local folder new=".unit.new.$$" program="$PWD/venv/bin/python"
    if ! id -u "$SERVICE_USER" >/dev/null 2>&1; then
        as_root useradd --system --user-group --no-create-home --home-dir "$PWD" --shell /usr/sbin/nologin "$SERVICE_USER" ||
            fail "could not add the user $SERVICE_USER"
        say "Added the user $SERVICE_USER"
    fi
    while read -r folder; do
        as_root mkdir -p "$folder"
        as_root chown -R "$SERVICE_USER": "$folder"
    done < <(venv/bin/python -m whisperlivekit.admin.unit --writable)
    # Files with keys can be read by the service's group, and by no other users.
    for folder in .env certs certs/*; do
        [ ! -e "$folder" ] || { as_root chgrp "$SERVICE_USER" "$folder" && as_root chmod g+rX,o-rwx "$folder"; }
    done
    as_root runuser -u "$SERVICE_USER" -- "$program" -c "from whisperlivekit.settings.env_file import load_settings; load_settings()" >>"$LOG" 2>&1 ||
        fail "the user $SERVICE_USER cannot run $program, or cannot read the settings" \
            "It must have access to every folder above $PWD, and to the Python of venv/. /opt is suitable, /root is not" \
            "Details are in $LOG"
    venv/bin/python -m whisperlivekit.admin.unit "$SERVICE_USER" >"$new" || { rm -f "$new"; fail "could not write the unit"; }
    if cmp -s "$new" "$UNIT_FOLDER/$UNIT"; then
        say "The unit $UNIT is up to date"
    else
        as_root install -m 644 "$new" "$UNIT_FOLDER/$UNIT"
        say "Wrote $UNIT_FOLDER/$UNIT"
    fi
    rm -f "$new"
    as_root systemctl daemon-reload
    as_root systemctl enable --quiet "$UNIT"
    # systemctl returns when a model is loaded, because the unit is Type=notify. A running server drains first.
    say "Starting the service. If it is running, its streams are finished first"
    as_root systemctl restart "$UNIT" || {
        as_root journalctl -u "$UNIT" -n 30 --no-pager >&2 || true
        fail "the service did not start" "The last lines of its log are above. When the cause is removed: bash install.sh service" \
            "After five failed starts, first: systemctl reset-failed $UNIT"
    }
    say "The service $UNIT is running. Its state: systemctl status $UNIT. Its log: journalctl -u $UNIT -f"
}

remove_service() {
    need_systemd
    as_root systemctl disable --now --quiet "$UNIT" 2>/dev/null || true
    as_root rm -f "$UNIT_FOLDER/$UNIT"
    as_root systemctl daemon-reload
    say "Removed the service. This folder and the user $SERVICE_USER remain. To remove the user: userdel $SERVICE_USER"
}

# --------------------------------------------------------------------------------------------------------------- main

main() {
    local extras=""
    local expected="expected one of install, serve, bench, test, doctor, certificate, service, service remove, --help"
    [ "$*" != "service remove" ] || { remove_service; return; }
    [ $# -le 1 ] || fail "found $# words: $*; $expected"
    local action=${1:-install}
    case $action in
    -h | --help | help)
        usage
        return
        ;;
    doctor)
        [ -x venv/bin/whisperlivekit ] || fail "the server is not installed in this folder" "First run: bash install.sh"
        exec venv/bin/whisperlivekit check
        ;;
    certificate)
        mkdir -p logs
        make_certificate
        return
        ;;
    service) need_systemd ;;
    install | serve | bench | test) ;;
    *) fail "found '$action', $expected" ;;
    esac

    if has_gpu; then
        extras=cuda
        disk_mb=$((disk_mb + 2000)) # an estimate: cuBLAS, its wheel in pip's cache, and the model small
    fi
    case $action in
    bench) extras="bench${extras:+,$extras}" disk_mb=$((disk_mb + 1000)) ;; # measured: 1035 MB of libraries, the rest as above
    test) extras="dev${extras:+,$extras}" disk_mb=$((disk_mb + 2800)) ;; # measured: 1335 MB of libraries, 1230 MB in venv/clients, 210 MB in venv/proxies
    esac
    make_folders
    make_venv
    [ "$action" != test ] || install_test_programs
    install_libraries "$extras"
    case $action in
    test)
        install_test_clients
        venv/bin/whisperlivekit models fetch base
        run_tests
        ;;
    serve)
        prepare_env_and_models
        exec venv/bin/whisperlivekit serve
        ;;
    bench)
        prepare_env_and_models
        say "Installed in $SECONDS s. To run a benchmark, for example: venv/bin/python -m benchmarks.live --help"
        ;;
    install)
        prepare_env_and_models
        venv/bin/whisperlivekit check || fail "there are problems, see above. To check again: bash install.sh doctor"
        say "Installed in $SECONDS s. To start the server: bash install.sh serve"
        ;;
    service)
        prepare_env_and_models
        install_service
        ;;
    esac
}

main "$@"
