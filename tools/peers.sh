#!/bin/sh
# Brings the peers that the benchmarks and peer tests compare with; says what is missing and how to get it.
set -eu
need=""
command -v cc >/dev/null 2>&1 || need="$need gcc libc6-dev"
command -v pkg-config >/dev/null 2>&1 || need="$need pkg-config"
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
# the web page of pymodbus.simulator, kept out of our own environment
[ -d build/peers/python/aiohttp ] || .venv/bin/python -m pip install --quiet --target build/peers/python 'aiohttp>=3.14.1,<4'
echo "The peers are there. Benchmarks: .venv/bin/edge bench; tests: make test-peers"
