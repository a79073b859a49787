"""Microcontrollers: cross-compile a program's C, size the linked image, run it under emulation.

docs/mcu.md says how every figure is made.
"""
