// SPDX-License-Identifier: Apache-2.0
// Operand selection of N:M sparsity: N of M activations by index, registered.
//
// Sparse: operand j is activation index[j]. Dense: operand j is activation j and the indexes are ignored, so a dense
// group of M takes M / N beats. M is a power of two, so every index is in range; whether indexes ascend is not
// checked here (nm_decompress does). user_i rides along unchanged. A beat taken in cycle t is offered from t + 1 on.
`default_nettype none

module nm_select #(
    parameter  int N          = 2,
    parameter  int M          = 4,
    parameter  int DataWidth  = 8,
    parameter  int UserWidth  = 1,
    localparam int IndexWidth = $clog2(M)
) (
    input  wire                    clk_i,
    input  wire                    rst_ni,
    input  wire                    valid_i,
    output wire                    ready_o,
    input  wire                    dense_i,
    input  wire [ M*DataWidth-1:0] activation_i,
    input  wire [N*IndexWidth-1:0] index_i,
    input  wire [   UserWidth-1:0] user_i,
    output wire                    valid_o,
    input  wire                    ready_i,
    output wire [ N*DataWidth-1:0] operand_o,
    output wire [   UserWidth-1:0] user_o
);
`ifndef __ICARUS__
  if (M < 2 || M != 1 << $clog2(M)) begin : gen_illegal_m
    $fatal(1, "nm_select: M must be a power of two, 2 or more");
  end
  if (N < 1 || N > M) begin : gen_illegal_n
    $fatal(1, "nm_select: N must be in 1..M");
  end
`endif

  wire [N*DataWidth-1:0] operand;

  for (genvar j = 0; j < N; j++) begin : gen_lane
    wire [IndexWidth-1:0] index = dense_i ? IndexWidth'(j) : index_i[j*IndexWidth+:IndexWidth];
    assign operand[j*DataWidth+:DataWidth] = activation_i[index*DataWidth+:DataWidth];
  end

  stream_register #(
      .Width(N * DataWidth + UserWidth)
  ) u_register (
      .clk_i,
      .rst_ni,
      .valid_i,
      .ready_o,
      .data_i({user_i, operand}),
      .valid_o,
      .ready_i,
      .data_o({user_o, operand_o})
  );
endmodule

`default_nettype wire
