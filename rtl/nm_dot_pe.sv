// SPDX-License-Identifier: Apache-2.0
// Processing element of N:M sparsity: N signed products a beat, accumulated until last_i.
//
// Each beat brings M activations and N kept weights with their indexes; in dense mode, N activations (the low lanes)
// and N weights. The sum of products is exact; the accumulator wraps modulo 2**AccWidth. A result follows its last
// beat by three cycles, one beat a cycle when nothing stalls; beats that end no sum are never held up by a result that
// waits. It does not saturate, round, or start from a bias.
`default_nettype none

module nm_dot_pe #(
    parameter  int N           = 2,
    parameter  int M           = 4,
    parameter  int DataWidth   = 8,
    parameter  int AccWidth    = 32,
    parameter  int WeightWidth = DataWidth,
    localparam int IndexWidth  = $clog2(M)
) (
    input  wire                     clk_i,
    input  wire                     rst_ni,
    input  wire                     valid_i,
    output wire                     ready_o,
    input  wire                     dense_i,
    input  wire                     last_i,
    input  wire [  M*DataWidth-1:0] activation_i,
    input  wire [N*WeightWidth-1:0] weight_i,
    input  wire [ N*IndexWidth-1:0] index_i,
    output wire                     valid_o,
    input  wire                     ready_i,
    output wire [     AccWidth-1:0] sum_o
);
  wire operand_valid, operand_ready, operand_last;
  wire [  N*DataWidth-1:0] operand;
  wire [N*WeightWidth-1:0] weight;

  nm_select #(
      .N(N),
      .M(M),
      .DataWidth(DataWidth),
      .UserWidth(N * WeightWidth + 1)
  ) u_select (
      .clk_i,
      .rst_ni,
      .valid_i,
      .ready_o,
      .dense_i,
      .activation_i,
      .index_i,
      .user_i({last_i, weight_i}),
      .valid_o(operand_valid),
      .ready_i(operand_ready),
      .operand_o(operand),
      .user_o({operand_last, weight})
  );

  dot_accumulate #(
      .Lanes(N),
      .DataWidth(DataWidth),
      .AccWidth(AccWidth),
      .WeightWidth(WeightWidth)
  ) u_sum (
      .clk_i,
      .rst_ni,
      .valid_i(operand_valid),
      .ready_o(operand_ready),
      .last_i(operand_last),
      .activation_i(operand),
      .weight_i(weight),
      .valid_o,
      .ready_i,
      .sum_o
  );
endmodule

`default_nettype wire
