"""Makes docs/demo.svg: the live picture of the running demo, while it follows a setpoint of the fleet.

.venv/bin/python docs/make_picture.py
"""

import subprocess
import sys
import tempfile
import time
from pathlib import Path

from rich.console import Console, Group
from rich.text import Text

from edge.cli.demo import SETPOINT_FOR_S, choose_kw, picture
from edge.demo.scene import Scene

TARGET = Path(__file__).with_name("demo.svg")
FOLLOWED_S = 6.0


def main() -> None:
    """Run the demo until the battery follows the fleet, then draw it."""
    with tempfile.TemporaryDirectory() as folder:
        scene = Scene(Path(folder), seed=1)
        try:
            for en, _, do in scene.steps():
                sys.stderr.write(f"{en} …\n")
                do()
            facts = scene.facts()
            assert facts is not None
            began = time.monotonic()
            power = f"{choose_kw(facts['decision']):.0f}kW"
            with scene.fleet(
                "dispatch", "demo", power, "--for", f"{SETPOINT_FOR_S:.0f}s", "--wait", "--clip"
            ) as asked:
                asked.communicate()
            time.sleep(FOLLOWED_S)
            facts = scene.facts()
            assert facts is not None
            draw(facts, time.monotonic() - began, plan_of(scene))
        finally:
            scene.close()


def plan_of(scene: Scene) -> str:
    """Return what ``edge plan`` says."""
    command = [sys.executable, "-m", "edge", "plan", "--run-dir", str(scene.run_dir), "--width", "96"]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout


def draw(facts: dict[str, object], passed_s: float, plan: str) -> None:
    """Write the picture; no font is fetched from anywhere."""
    console = Console(record=True, width=104, file=sys.stderr)
    demo = (Text("$ make demo", style="bold"), picture(facts, passed_s + 20.0, 60.0))
    console.print(Group(*demo, Text("\n$ edge plan", style="bold"), Text(plan)))
    svg = console.export_svg(title="edge demo")
    start, end = svg.index("@font-face"), svg.rindex("@font-face")
    end = svg.index("}", end) + 1
    TARGET.write_text(svg[:start] + svg[end:], encoding="utf-8")


if __name__ == "__main__":
    main()
