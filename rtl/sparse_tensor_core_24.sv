// SPDX-License-Identifier: Apache-2.0
// Sparse tensor core: one instruction is D = A B + C on a tile of TileM x TileN x TileK, A compressed 2:4.
//
// A has TileK / 2 values a row, in order, and a nibble of metadata for every four elements of k, as PyTorch and CUTLASS
// number them: bits 0-1 the index of the first value, bits 2-3 of the second, the first group of a row lowest. B and C
// are dense; all matrices are row-major, the first element lowest. Sums are signed and wrap modulo 2**AccWidth.
// A nibble whose indexes do not ascend is illegal: its group counts as zero and error_o rises with the result.
//
// An instruction takes TileK / StepK cycles on TileM x TileN dot products of StepK / 2 multipliers each: taken in
// cycle t, its result is offered from t + TileK / StepK + 1 on, and the next one can be taken in t + TileK / StepK.
// Only a result that is ready waits for the one before it to leave. It has no dense mode and no selector that shares
// metadata between instructions, and does not undo the interleaving in which CUTLASS stores metadata words.
`default_nettype none

module sparse_tensor_core_24 #(
    parameter int TileM       = 4,
    parameter int TileN       = 4,
    parameter int TileK       = 16,
    parameter int StepK       = 16,
    parameter int DataWidth   = 8,
    parameter int AccWidth    = 32,
    parameter int WeightWidth = DataWidth
) (
    input  wire                                 clk_i,
    input  wire                                 rst_ni,
    input  wire                                 valid_i,
    output wire                                 ready_o,
    input  wire [TileM*TileK/2*WeightWidth-1:0] a_i,
    input  wire [              TileM*TileK-1:0] metadata_i,
    input  wire [    TileK*TileN*DataWidth-1:0] b_i,
    input  wire [     TileM*TileN*AccWidth-1:0] c_i,
    output wire                                 valid_o,
    input  wire                                 ready_i,
    output wire [     TileM*TileN*AccWidth-1:0] d_o,
    output wire                                 error_o
);
  localparam int Passes = TileK / StepK;
  localparam int PassWidth = Passes > 1 ? $clog2(Passes) : 1;
  localparam int Groups = StepK / 4;
  localparam int ProductWidth = DataWidth + WeightWidth;
  localparam int DotWidth = ProductWidth + $clog2(2 * Groups);

`ifndef __ICARUS__
  if (StepK < 4 || StepK % 4 != 0 || TileK % StepK != 0) begin : gen_illegal_k
    $fatal(1, "sparse_tensor_core_24: StepK must be a multiple of 4 that divides TileK");
  end
  if (TileM < 1 || TileN < 1) begin : gen_illegal_size
    $fatal(1, "sparse_tensor_core_24: TileM and TileN must be at least 1");
  end
  if (AccWidth < DotWidth) begin : gen_illegal_acc_width
    $fatal(1, "sparse_tensor_core_24: AccWidth must hold the sum of StepK / 2 products");
  end
`endif

  logic busy_q, valid_q, bad_q, error_q;
  logic [PassWidth-1:0] pass_q;
  logic [TileM*TileK/2*WeightWidth-1:0] a_q;
  logic [TileM*TileK-1:0] metadata_q;
  logic [TileK*TileN*DataWidth-1:0] b_q;
  logic [TileM*TileN*AccWidth-1:0] partial_q, d_q;
  wire [TileM*TileN*AccWidth-1:0] total;
  wire [TileM*Groups-1:0] bad;

  wire last = pass_q == PassWidth'(Passes - 1);
  wire finish = busy_q & last & (~valid_q | ready_i);
  wire take = valid_i & ready_o;
  wire any_bad = bad_q | (|bad);

  assign ready_o = ~busy_q | finish;
  assign valid_o = valid_q;
  assign d_o = d_q;
  assign error_o = error_q;

  always_ff @(posedge clk_i or negedge rst_ni) begin
    if (!rst_ni) begin
      busy_q  <= 1'b0;
      valid_q <= 1'b0;
    end else begin
      busy_q  <= take | (busy_q & ~finish);
      valid_q <= finish | (valid_q & ~ready_i);
    end
  end

  always_ff @(posedge clk_i) begin
    if (take) begin
      pass_q <= '0;
      a_q <= a_i;
      metadata_q <= metadata_i;
      b_q <= b_i;
      partial_q <= c_i;
      bad_q <= 1'b0;
    end else if (busy_q && !last) begin
      pass_q <= pass_q + 1'b1;
      partial_q <= total;
      bad_q <= any_bad;
    end
    if (finish) begin
      d_q <= total;
      error_q <= any_bad;
    end
  end

  // Operands of this cycle.
  wire [StepK*TileN*DataWidth-1:0] b = b_q[pass_q*StepK*TileN*DataWidth+:StepK*TileN*DataWidth];

  for (genvar r = 0; r < TileM; r++) begin : gen_row
    wire [StepK/2*WeightWidth-1:0] a = a_q[(r*TileK/2+pass_q*StepK/2)*WeightWidth+:StepK/2*WeightWidth];
    wire [StepK-1:0] metadata = metadata_q[r*TileK+pass_q*StepK+:StepK];

    for (genvar g = 0; g < Groups; g++) begin : gen_group
      assign bad[r*Groups+g] = metadata[4*g+2+:2] <= metadata[4*g+:2];
    end

    for (genvar c = 0; c < TileN; c++) begin : gen_col
      logic signed [DotWidth-1:0] dot;
      logic [1:0] index;
      always_comb begin
        dot = '0;
        for (int v = 0; v < StepK / 2; v++) begin
          index = metadata[2*v+:2];
          if (!bad[r*Groups+v/2]) begin
            dot = dot + DotWidth'($signed(a[v*WeightWidth+:WeightWidth])) *
                DotWidth'($signed(b[((v/2*4+32'(index))*TileN+c)*DataWidth+:DataWidth]));
          end
        end
      end
      wire signed [AccWidth-1:0] partial = partial_q[(r*TileN+c)*AccWidth+:AccWidth];
      assign total[(r*TileN+c)*AccWidth+:AccWidth] = partial + AccWidth'(dot);
    end
  end
endmodule

`default_nettype wire
