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
