"""DL/T 645-2007 electricity meters on a serial line, which they may share with Modbus RTU units.

Nothing is ever written to a meter.
"""
