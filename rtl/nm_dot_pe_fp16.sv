// SPDX-License-Identifier: Apache-2.0
// Processing element of N:M sparsity in floating point: N fp16 products a beat, accumulated in fp32 until last_i.
//
// Beats are as in nm_dot_pe. Products are exact (fp16_mul); every addition rounds to nearest even (fp32_add), in this
// order: neighbours pairwise, lane 0 + lane 1, lane 2 + lane 3, ..., then neighbours of those sums, an odd one out
// passing on as it is, until one is left; that is added to the sum so far, which starts at +0. Subnormals count in
// full, NaN comes out as 32'h7fc00000, and a sum is never -0. A result follows its last beat by 3 + clog2(N) cycles,
// one beat a cycle when nothing stalls; beats that end no sum are never held up by a result that waits.
`default_nettype none

module nm_dot_pe_fp16 #(
    parameter  int N          = 2,
    parameter  int M          = 4,
    localparam int IndexWidth = $clog2(M)
) (
    input  wire                    clk_i,
    input  wire                    rst_ni,
    input  wire                    valid_i,
    output wire                    ready_o,
    input  wire                    dense_i,
    input  wire                    last_i,
    input  wire [        M*16-1:0] activation_i,
    input  wire [        N*16-1:0] weight_i,
    input  wire [N*IndexWidth-1:0] index_i,
    output wire                    valid_o,
    input  wire                    ready_i,
    output wire [            31:0] sum_o
);
  localparam int Levels = $clog2(N);

  // Operands.
  wire operand_valid, operand_last;
  wire [N*16-1:0] operand, weight;
  wire dot_ready;

  // Stage l takes from stage l - 1: 0 the products, then the levels of the tree.
  for (genvar l = 0; l <= Levels; l++) begin : gen_level
    localparam int Count = (N + (1 << l) - 1) >> l;
    wire valid_in, ready_in, last_in, valid, ready, last;
    wire [Count*32-1:0] value_in, value;

    if (l == 0) begin : gen_products
      assign valid_in = operand_valid;
      assign last_in  = operand_last;
      for (genvar j = 0; j < N; j++) begin : gen_lane
        fp16_mul u_mul (
            .a_i(operand[j*16+:16]),
            .b_i(weight[j*16+:16]),
            .product_o(value_in[j*32+:32])
        );
      end
    end else begin : gen_sums
      localparam int Before = (N + (1 << (l - 1)) - 1) >> (l - 1);
      assign valid_in = gen_level[l-1].valid;
      assign last_in = gen_level[l-1].last;
      assign gen_level[l-1].ready = ready_in;
      for (genvar j = 0; j < Count; j++) begin : gen_node
        if (2 * j + 1 < Before) begin : gen_add
          fp32_add u_add (
              .a_i  (gen_level[l-1].value[2*j*32+:32]),
              .b_i  (gen_level[l-1].value[(2*j+1)*32+:32]),
              .sum_o(value_in[j*32+:32])
          );
        end else begin : gen_pass
          assign value_in[j*32+:32] = gen_level[l-1].value[2*j*32+:32];
        end
      end
    end

    stream_register #(
        .Width(Count * 32 + 1)
    ) u_register (
        .clk_i,
        .rst_ni,
        .valid_i(valid_in),
        .ready_o(ready_in),
        .data_i ({last_in, value_in}),
        .valid_o(valid),
        .ready_i(ready),
        .data_o ({last, value})
    );
  end
  assign gen_level[Levels].ready = dot_ready;

  nm_select #(
      .N(N),
      .M(M),
      .DataWidth(16),
      .UserWidth(N * 16 + 1)
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
      .ready_i(gen_level[0].ready_in),
      .operand_o(operand),
      .user_o({operand_last, weight})
  );

  // Accumulation; a finished sum moves to a register of its own.
  logic valid_q;
  logic [31:0] partial_q, sum_q;
  wire [31:0] total;
  wire dot_last = gen_level[Levels].last;
  wire take = gen_level[Levels].valid & dot_ready;

  fp32_add u_accumulate (
      .a_i  (partial_q),
      .b_i  (gen_level[Levels].value[31:0]),
      .sum_o(total)
  );

  assign dot_ready = ~dot_last | ~valid_q | ready_i;
  assign valid_o = valid_q;
  assign sum_o = sum_q;

  always_ff @(posedge clk_i or negedge rst_ni) begin
    if (!rst_ni) begin
      valid_q   <= 1'b0;
      partial_q <= '0;
    end else begin
      valid_q <= (take & dot_last) | (valid_q & ~ready_i);
      if (take) partial_q <= dot_last ? '0 : total;
    end
  end

  always_ff @(posedge clk_i) begin
    if (take && dot_last) sum_q <= total;
  end
endmodule

`default_nettype wire
