"""What Yosys and nextpnr make of the circuits, beside what the cost model says."""
