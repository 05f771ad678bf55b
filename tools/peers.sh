#!/bin/sh
# Brings the peers that the benchmarks and peer tests compare with; says what is missing and how to get it.
set -eu
need=""
[ -e /usr/include/modbus/modbus.h ] || need="$need libmodbus-dev"
command -v mbpoll >/dev/null 2>&1 || need="$need mbpoll"
command -v npm >/dev/null 2>&1 || need="$need npm"
if [ -n "$need" ]; then
    install="apt-get update && apt-get install -y$need"
    if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then
        echo "Missing:$need. Running: $install"
        sh -c "$install"
    else
        echo "Missing:$need. Run this once, then try again:" >&2
        echo "    sudo sh -c '$install'" >&2
        exit 1
    fi
fi
mkdir -p build/peers/node-opcua
[ -d build/peers/node-opcua/node_modules/node-opcua ] || npm install --prefix build/peers/node-opcua --no-audit --no-fund node-opcua@2
echo "The peers are there. Benchmarks: .venv/bin/edge bench"
