"""The testbench of a design: samples in, with bubbles, pauses and a reset; results are checked."""

from __future__ import annotations

from collections.abc import Sequence

from exporters.verilog.design import Design
from exporters.verilog.wiring import Signal

SEED = 0xACE1
"""Where the shift register of the bubbles starts."""


def bench_text(design: Design, vectors: int, checks: bool = True) -> str:
    """Module ``NAME_tb``. It reads ``NAME_inputs.hex`` and, where it ``checks``, ``NAME_outputs.hex``; else
    it prints every result as a line of hexadecimal digits."""
    lines = _clocked(design, vectors, checks) if design.latency else _combinational(design, vectors, checks)
    return "\n".join([*_head(design, vectors, checks), *lines, "endmodule", ""])


def total_width(signals: Sequence[Signal]) -> int:
    """Bits of all ports together."""
    return sum(signal.width for signal in signals)


def _head(design: Design, vectors: int, checks: bool) -> list[str]:
    name, inputs, outputs = design.name, total_width(design.inputs), total_width(design.outputs)
    lines = [
        f"// Self-checking testbench of {name}: {vectors} samples, prints PASS or FAIL."
        if checks
        else f"// Results of {name} for {vectors} samples.",
        f"module {name}_tb;",
        f"    localparam VECTORS = {vectors};",
        f"    reg [{inputs - 1}:0] stimuli [0:VECTORS-1];",
        f"    reg [{inputs - 1}:0] stimulus;",
        f"    wire [{outputs - 1}:0] found;",
        "    integer received;",
    ]
    if checks:
        lines += [f"    reg [{outputs - 1}:0] wanted [0:VECTORS-1];", "    integer errors, file, missing;"]
    if design.latency:
        lines += [
            "    reg clk, rst, ce, in_valid;",
            "    wire out_valid;",
            "    integer sent, idle, resets;",
            "    reg [15:0] noise;",
        ]
    lines += [f"    {name} dut ("]
    ports = ["clk", "rst", "ce", "in_valid", "out_valid"] if design.latency else []
    links = [f"        .{port}({port})" for port in ports]
    links += _links("stimulus", design.inputs) + _links("found", design.outputs)
    return [*lines, ",\n".join(links), "    );"]


def _links(word: str, signals: Sequence[Signal]) -> list[str]:
    links, start = [], 0
    for signal in signals:
        links.append(f"        .{signal.name}({word}[{start + signal.width - 1}:{start}])")
        start += signal.width
    return links


def _reading(design: Design, checks: bool) -> list[str]:
    """Read the vectors. Where there are none, of which a simulator only warns, nothing may pass."""
    if not checks:
        return [f'        $readmemh("{design.name}_inputs.hex", stimuli);']
    lines = ["        missing = 0;"]
    for what, into in (("inputs", "stimuli"), ("outputs", "wanted")):
        name = f"{design.name}_{what}.hex"
        lines += [
            f'        file = $fopen("{name}", "r");',
            "        if (file == 0) missing = 1;",
            "        else $fclose(file);",
            f'        $readmemh("{name}", {into});',
        ]
    return lines


def _check(checks: bool, indent: str) -> list[str]:
    """What happens to a result. ``!==`` differs for unknown bits too."""
    if not checks:
        return [f'{indent}$display("%h", found);']
    return [
        f"{indent}if (found !== wanted[received]) begin",
        f"{indent}    errors = errors + 1;",
        f"{indent}    if (errors < 10)",
        f'{indent}        $display("sample %0d: %h, not %h", received, found, wanted[received]);',
        f"{indent}end",
    ]


def _verdict(design: Design, checks: bool) -> list[str]:
    lines = []
    if checks:
        lines = [
            f'        if (missing != 0) $display("FAIL: run it where the files {design.name}_*.hex are");',
            '        else if (errors == 0 && received == VECTORS) $display("PASS: %0d samples", received);',
            '        else $display("FAIL: %0d of %0d samples wrong, %0d missing", errors, VECTORS,',
            "                      VECTORS - received);",
        ]
    return [*lines, "        $finish;", "    end"]


def _combinational(design: Design, vectors: int, checks: bool) -> list[str]:
    return [
        "    initial begin",
        *_reading(design, checks),
        *(["        errors = 0;"] if checks else []),
        "        for (received = 0; received < VECTORS; received = received + 1) begin",
        "            stimulus = stimuli[received];",
        "            #10;",
        *_check(checks, "            "),
        "        end",
        *_verdict(design, checks),
    ]


def _clocked(design: Design, vectors: int, checks: bool) -> list[str]:
    limit = 64 + 8 * design.latency
    return [
        "    always #5 clk = ~clk;",
        "    initial begin",
        *_reading(design, checks),
        *(["        errors = 0;"] if checks else []),
        "        clk = 1; rst = 1; ce = 0; in_valid = 1; stimulus = stimuli[0];",
        f"        sent = 0; received = 0; idle = 0; resets = 0; noise = 16'h{SEED:x};",
        "        @(negedge clk);",
        f"        while (received < VECTORS && idle < {limit}) begin",
        "            @(negedge clk);",
        "            // three bits of a maximal-length shift register: pauses, and bubbles between samples",
        "            repeat (3) noise = {1'b0, noise[15:1]} ^ (noise[0] ? 16'hb400 : 16'h0);",
        "            rst = 0;",
        "            ce = noise[2:0] != 0;",
        "            in_valid = sent < VECTORS && noise[5:4] != 0;",
        "            if (in_valid) stimulus = stimuli[sent];",
        "            // what is valid now is taken at the next edge, if that counts",
        "            idle = idle + 1;",
        "            if (ce && out_valid === 1'b1) begin",
        *_check(checks, "                "),
        "                received = received + 1;",
        "                idle = 0;",
        "            end",
        "            if (ce && in_valid) sent = sent + 1;",
        "            // one reset in the middle: samples on their way are forgotten and sent again",
        "            if (resets == 0 && received > VECTORS / 2) begin",
        "                rst = 1;",
        "                resets = 1;",
        "                sent = received;",
        "            end",
        "        end",
        *_verdict(design, checks),
    ]
