"""Our own Modbus master: TCP and RTU, one open request per link, no value without proof.

``build.open_devices`` makes the devices; ``link`` is the transaction, ``device`` the polling and writing.
"""
