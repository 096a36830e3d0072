// SPDX-License-Identifier: Apache-2.0
// decompress(prune(x)) = x for every group of M with at most N non-zeros, the first after reset.
module decompress_prune #(
    parameter int N = 4,
    parameter int M = 8,
    parameter int DataWidth = 4
) (
    input wire clk_i,
    input wire [M*DataWidth-1:0] group_i
);
  localparam int IndexWidth = $clog2(M);
  reg [4:0] step = 5'd0;
  reg [M*DataWidth-1:0] group_q, rest_q;
  wire [ N*DataWidth-1:0] value;
  wire [N*IndexWidth-1:0] index;
  wire [ M*DataWidth-1:0] back;
  wire pruned, valid, illegal, ready_prune, ready_decompress;
  wire sending = step != 5'd0 && step <= 5'(M);

  nm_prune #(
      .N(N),
      .M(M),
      .DataWidth(DataWidth)
  ) u_prune (
      .clk_i,
      .rst_ni (step != 5'd0),
      .valid_i(sending),
      .ready_o(ready_prune),
      .value_i(rest_q[0+:DataWidth]),
      .valid_o(pruned),
      .ready_i(1'b1),
      .value_o(value),
      .index_o(index)
  );

  nm_decompress #(
      .N(N),
      .M(M),
      .DataWidth(DataWidth)
  ) u_decompress (
      .clk_i,
      .rst_ni(step != 5'd0),
      .valid_i(pruned),
      .ready_o(ready_decompress),
      .value_i(value),
      .metadata_i(index),
      .valid_o(valid),
      .ready_i(1'b1),
      .dense_o(back),
      .error_o(illegal)
  );

  reg [3:0] kept;
  integer i;
  always @* begin
    kept = 4'd0;
    for (i = 0; i < M; i = i + 1) if (|group_q[i*DataWidth+:DataWidth]) kept = kept + 4'd1;
  end

  always @(posedge clk_i) begin
    if (step != 5'd31) step <= step + 5'd1;
    if (step == 5'd0) begin
      group_q <= group_i;
      rest_q  <= group_i;
    end else begin
      assume (kept <= 4'(N));
      rest_q <= rest_q >> DataWidth;
      if (step <= 5'(M)) assert (ready_prune);
    end
    if (step == 5'(M + 2)) begin
      assert (valid);
      assert (!illegal);
      assert (back == group_q);
    end
  end
endmodule
