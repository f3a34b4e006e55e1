#!/bin/sh
# Print the Debian mirror that this machine uses.
set -eu
found=$(grep -rhoE 'https?://[^ ]+/debian/?( |$)' /etc/apt/sources.list /etc/apt/sources.list.d 2>/dev/null |
    head -n 1 | tr -d ' ')
echo "${found:-http://deb.debian.org/debian}"
