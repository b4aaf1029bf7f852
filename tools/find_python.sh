#!/bin/sh
# Print the path of a Python that MXNet 1.9.1 runs on (3.11 or 3.10) and that can make environments.
# Candidates are run, not only looked up: a pyenv shim is on PATH also where its Python is not.
# PYTHON=/path/to/python names the only candidate. Exit code 1, with one line, when there is none.

# True when the command $1 runs, is of a right version, and has venv with pip.
suitable() {
    "$1" -c 'import sys, venv, ensurepip; sys.exit(sys.version_info[:2] not in [(3, 10), (3, 11)])' \
        >/dev/null 2>&1
}

if [ -n "$PYTHON" ]; then
    if suitable "$PYTHON"; then
        "$PYTHON" -c 'import sys; print(sys.executable)'
        exit 0
    fi
    echo "PYTHON=$PYTHON is not a Python 3.10 or 3.11 with venv and ensurepip" >&2
    exit 1
fi

for name in python3.11 python3.10 python3 python; do
    # All of that name on PATH, not only the first: a shim may stand before the real one.
    IFS=:
    for folder in $PATH; do
        if [ -x "$folder/$name" ] && suitable "$folder/$name"; then
            "$folder/$name" -c 'import sys; print(sys.executable)'
            exit 0
        fi
    done
    unset IFS
done

echo "no Python 3.10 or 3.11 with venv was found (MXNet 1.9.1 runs on no later one): install it," \
    "on Debian and Ubuntu 'apt install python3.11 python3.11-venv' (or python3.10 ...)," \
    "or name one with PYTHON=/path/to/python3.11" >&2
exit 1
