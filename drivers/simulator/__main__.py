"""``python -m drivers.simulator ROLE --dir D …``: one process of the simulated site, or a fault switch."""

import argparse
from pathlib import Path


def parser() -> argparse.ArgumentParser:
    """Return the command line; only the chosen role is imported."""
    top = argparse.ArgumentParser(prog="drivers.simulator", description=__doc__)
    roles = top.add_subparsers(dest="role", required=True)
    for role in ("plant", "wire", "pcs", "bms", "meter", "pv", "fault"):
        sub = roles.add_parser(role)
        sub.add_argument("--dir", type=Path, required=True, help="work directory that all processes share")
        sub.add_argument("--tied", action="store_true", help="end when standard input closes")
        if role in ("pcs", "pv"):
            sub.add_argument("--port", type=int, required=True)
        if role in ("bms", "meter"):
            sub.add_argument("--tty", required=True, help="device side of the line")
        if role == "fault":
            sub.add_argument("name")
            sub.add_argument("value", type=float)
        if role == "plant":
            _plant_options(sub)
    return top


def _plant_options(sub: argparse.ArgumentParser) -> None:
    """Add how the plant starts and what it judges."""
    sub.add_argument("--soc", type=float, default=0.5)
    sub.add_argument("--seed", type=int, default=1)
    sub.add_argument("--utc-s", type=float, default=None, help="the site's clock at the start")
    limits = {
        "import-kw": 360.0,
        "export-kw": 0.0,
        "transformer-kva": 400.0,
        "soc-min": 0.04,
        "soc-max": 0.97,
    }
    for name, value in limits.items():
        sub.add_argument(f"--{name}", type=float, default=value)


def plant(arguments: argparse.Namespace) -> None:
    """Run the physics."""
    from drivers.simulator.physics import Setup, run
    from drivers.simulator.violation import Limits

    a = arguments
    limits = Limits(a.import_kw, a.export_kw, a.transformer_kva, a.soc_min, a.soc_max)
    run(a.dir, Setup(a.soc, a.seed, a.utc_s, limits))


def wire(arguments: argparse.Namespace) -> None:
    """Join the serial lines."""
    from drivers.simulator.wire import run

    run(arguments.dir)


def pcs(arguments: argparse.Namespace) -> None:
    """Serve Modbus TCP."""
    from drivers.simulator.pcs import run

    run(arguments.dir, arguments.port)


def serial(arguments: argparse.Namespace) -> None:
    """Serve Modbus RTU."""
    from drivers.simulator.serial_device import run

    run(arguments.dir, f"{arguments.role}-1", arguments.tty)


def pv(arguments: argparse.Namespace) -> None:
    """Serve OPC UA."""
    from drivers.simulator.pv import run

    run(arguments.dir, arguments.port)


def fault(arguments: argparse.Namespace) -> None:
    """Set a fault switch of a running site."""
    from drivers.simulator.board import FAULTS, Board

    if arguments.name not in FAULTS:
        raise SystemExit(f"no fault {arguments.name!r}; there are: {', '.join(FAULTS)}")
    Board(arguments.dir)[f"fault/{arguments.name}"] = arguments.value


ROLES = {"plant": plant, "wire": wire, "pcs": pcs, "bms": serial, "meter": serial, "pv": pv, "fault": fault}


def main(words: list[str] | None = None) -> None:
    """Run one role."""
    arguments = parser().parse_args(words)
    if arguments.tied:
        from drivers.simulator.tie import tie

        tie()
    ROLES[arguments.role](arguments)


if __name__ == "__main__":
    main()
