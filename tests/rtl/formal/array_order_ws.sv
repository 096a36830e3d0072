// SPDX-License-Identifier: Apache-2.0
// A weight-stationary array of 2 x 2 under any stalls: every token gives one result, in order, with its fold's weights.
// No more weights are taken than the fold that runs and the next one need.
// Column 0 gives back the token's number, column 1 the number of the fold.
module array_order_ws (
    input wire clk_i,
    input wire weight_valid_i,
    input wire dense_i,
    input wire valid_i,
    input wire last_i,
    input wire ready_i
);
  reg started = 1'b0;
  reg [3:0] word_q, sent_q, received_q, fold_q, begun_q;
  reg first_q;
  reg [15:0] last_q;
  wire weight_ready, ready, valid, last;
  wire [23:0] sum;
  wire [ 3:0] fold = word_q >> 1;

  nm_systolic_array #(
      .Rows(2),
      .Cols(2),
      .N(1),
      .M(2),
      .DataWidth(4),
      .AccWidth(12),
      .OutputStationary(1'b0)
  ) u_array (
      .clk_i,
      .rst_ni(started),
      .clear_i(1'b0),
      .weight_valid_i,
      .weight_ready_o(weight_ready),
      .dense_i,
      .weight_i(word_q[0] ? {fold, 4'd0} : {4'd0, 4'd1}),
      .index_i(2'b00),
      .valid_i,
      .ready_o(ready),
      .last_i,
      .activation_i({4'd9, 4'd1, 4'd9, sent_q}),
      .valid_o(valid),
      .ready_i,
      .last_o(last),
      .sum_o(sum)
  );

  always @(posedge clk_i) begin
    started <= 1'b1;
    if (!started) begin
      word_q     <= 4'd0;
      sent_q     <= 4'd0;
      received_q <= 4'd0;
      fold_q     <= 4'd0;
      last_q     <= 16'd0;
      begun_q    <= 4'd0;
      first_q    <= 1'b1;
    end else begin
      assume (sent_q < 4'd7);
      if (weight_valid_i && weight_ready) word_q <= word_q + 4'd1;
      if (valid_i && ready) begin
        sent_q <= sent_q + 4'd1;
        last_q[sent_q] <= last_i;
        first_q <= last_i;
        if (first_q) begin
          begun_q <= begun_q + 4'd1;
          assert (word_q == {begun_q[2:0], 1'b0} + 4'd2);
        end
      end
      assert (word_q <= {begun_q[2:0], 1'b0} + 4'd2);
      if (valid) begin
        assert (received_q < sent_q);
        assert (sum[11:0] == {8'd0, received_q});
        assert (sum[23:12] == {8'd0, fold_q});
        assert (last == last_q[received_q]);
      end
      if (valid && ready_i) begin
        received_q <= received_q + 4'd1;
        if (last) fold_q <= fold_q + 4'd1;
      end
    end
  end
endmodule
