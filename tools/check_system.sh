#!/bin/sh
# Check for what pip cannot install; one line for each thing that is missing, then exit code 1.

missing=0

# $CXX may hold options too; its first word is the command.
set -- ${CXX:-g++}
if ! command -v "$1" >/dev/null 2>&1; then
    echo "no C++ compiler ($1): install it (Debian and Ubuntu: apt install g++)" >&2
    missing=1
fi

# MXNet needs OpenMP's runtime. ldconfig is not on every user's PATH.
if ! PATH="$PATH:/sbin:/usr/sbin" ldconfig -p 2>/dev/null | grep -q 'libgomp\.so\.1'; then
    echo "no libgomp.so.1 (OpenMP): install it (Debian and Ubuntu: apt install libgomp1)" >&2
    missing=1
fi

exit $missing
