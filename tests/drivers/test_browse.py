"""What an OPC UA server has is listed as the catalog writes it."""

import pytest

from drivers.browse import browse
from models.errors import LinkError
from tests.drivers.opcua_server import Plant


def test_variables_with_type_and_value(plant: Plant) -> None:
    found = {variable.path: variable for variable in browse(plant.url, 5)}
    power = found["Inverter/ActivePower"]
    assert (power.type, float(power.value)) == ("Double", 42.5)
    assert power.node.startswith(f"nsu={plant.uri};")
    assert {path.partition("/")[0] for path in found} == {"Inverter", "Battery"}


def test_the_depth_is_kept(plant: Plant) -> None:
    assert all("/" not in variable.path for variable in browse(plant.url, 1))


def test_nobody_there() -> None:
    with pytest.raises(LinkError):
        browse("opc.tcp://127.0.0.1:1", 2)
