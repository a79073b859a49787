// Cells of Gatefold's circuits. Verilog-2001, synthesizable; the same for all networks.
// One file for all of them:
// verilator lint_off DECLFILENAME

module gf_half_adder (
    input wire a,
    input wire b,
    output wire s,
    output wire c
);
    assign s = a ^ b;
    assign c = a & b;
endmodule

module gf_full_adder (
    input wire a,
    input wire b,
    input wire ci,
    output wire s,
    output wire c
);
    wire p;
    assign p = a ^ b;
    assign s = p ^ ci;
`ifdef GATEFOLD_GATES
    // for a library of gates, whose multiplexer is smaller than an OR of two ANDs
    assign c = p ? ci : a;
`else
    assign c = (a & b) | (p & ci);
`endif
endmodule

// A look-up table of 4 inputs: bit a of TABLE. With GATEFOLD_ICE40, GATEFOLD_ECP5 or GATEFOLD_XILINX defined
// it is a primitive of that technology, with GATEFOLD_LUT Yosys's own cell (read_verilog -icells).
module gf_lut4 #(
    parameter [15:0] TABLE = 16'd0
) (
    input wire [3:0] a,
    output wire y
);
`ifdef GATEFOLD_ICE40
    SB_LUT4 #(.LUT_INIT(TABLE)) lut (.I0(a[0]), .I1(a[1]), .I2(a[2]), .I3(a[3]), .O(y));
`elsif GATEFOLD_ECP5
    LUT4 #(.INIT(TABLE)) lut (.A(a[0]), .B(a[1]), .C(a[2]), .D(a[3]), .Z(y));
`elsif GATEFOLD_XILINX
    LUT4 #(.INIT(TABLE)) lut (.I0(a[0]), .I1(a[1]), .I2(a[2]), .I3(a[3]), .O(y));
`elsif GATEFOLD_LUT
    \$lut #(.WIDTH(4), .LUT(TABLE)) lut (.A(a), .Y(y));
`else
    assign y = TABLE[a];
`endif
endmodule

// A look-up table of 6 inputs.
module gf_lut6 #(
    parameter [63:0] TABLE = 64'd0
) (
    input wire [5:0] a,
    output wire y
);
`ifdef GATEFOLD_XILINX
    LUT6 #(.INIT(TABLE)) lut (.I0(a[0]), .I1(a[1]), .I2(a[2]), .I3(a[3]), .I4(a[4]), .I5(a[5]), .O(y));
`elsif GATEFOLD_LUT
    \$lut #(.WIDTH(6), .LUT(TABLE)) lut (.A(a), .Y(y));
`else
    assign y = TABLE[a];
`endif
endmodule

// A word DEPTH clocks later, 1 or more; clocks count while ce is 1. Data needs no reset.
module gf_delay #(
    parameter WIDTH = 1,
    parameter DEPTH = 1
) (
    input wire clk,
    input wire ce,
    input wire [WIDTH-1:0] d,
    output wire [WIDTH-1:0] q
);
    reg [WIDTH*DEPTH-1:0] r;
    generate
        if (DEPTH == 1) begin : one
            always @(posedge clk) if (ce) r <= d;
        end else begin : several
            always @(posedge clk) if (ce) r <= {r[WIDTH*(DEPTH-1)-1:0], d};
        end
    endgenerate
    assign q = r[WIDTH*DEPTH-1:WIDTH*(DEPTH-1)];
endmodule

// A bit for every sample in a pipeline of DEPTH registers. A reset, which needs no ce, forgets them all.
module gf_valid #(
    parameter DEPTH = 1
) (
    input wire clk,
    input wire rst,
    input wire ce,
    input wire d,
    output wire q
);
    reg [DEPTH-1:0] r;
    generate
        if (DEPTH == 1) begin : one
            always @(posedge clk)
                if (rst) r <= 1'b0;
                else if (ce) r <= d;
        end else begin : several
            always @(posedge clk)
                if (rst) r <= {DEPTH{1'b0}};
                else if (ce) r <= {r[DEPTH-2:0], d};
        end
    endgenerate
    assign q = r[DEPTH-1];
endmodule

// verilator lint_on DECLFILENAME
