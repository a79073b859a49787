"""Proofs that a circuit is its program, and that synthesized Verilog is the circuit.

docs/proof.md says what each method proves, and what it takes for granted.
"""
