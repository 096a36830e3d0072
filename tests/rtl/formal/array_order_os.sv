// SPDX-License-Identifier: Apache-2.0
// An output-stationary array of 2 x 2 under any stalls: two result beats a fold, in order, each the number of its beats.
module array_order_os (
    input wire clk_i,
    input wire weight_valid_i,
    input wire dense_i,
    input wire valid_i,
    input wire last_i,
    input wire ready_i
);
  reg started = 1'b0;
  reg [3:0] length_q, sent_q, received_q;
  reg [31:0] lengths_q;
  wire weight_ready, ready, valid, last;
  wire [23:0] sum;
  wire [ 3:0] expected = lengths_q[received_q[3:1]*4+:4];

  nm_systolic_array #(
      .Rows(2),
      .Cols(2),
      .N(1),
      .M(2),
      .DataWidth(4),
      .AccWidth(12),
      .OutputStationary(1'b1)
  ) u_array (
      .clk_i,
      .rst_ni(started),
      .clear_i(1'b0),
      .weight_valid_i,
      .weight_ready_o(weight_ready),
      .dense_i,
      .weight_i({4'd2, 4'd1}),
      .index_i(2'b00),
      .valid_i,
      .ready_o(ready),
      .last_i,
      .activation_i({4'd9, 4'd3, 4'd9, 4'd1}),
      .valid_o(valid),
      .ready_i,
      .last_o(last),
      .sum_o(sum)
  );

  wire [11:0] beats = {8'd0, expected};
  wire [11:0] times = received_q[0] ? 12'd3 : 12'd1;
  always @(posedge clk_i) begin
    started <= 1'b1;
    if (!started) begin
      length_q   <= 4'd1;
      sent_q     <= 4'd0;
      received_q <= 4'd0;
      lengths_q  <= 32'd0;
    end else begin
      assume (sent_q < 4'd7);
      if (valid_i && ready) begin
        assert (weight_valid_i);
        length_q <= last_i ? 4'd1 : length_q + 4'd1;
        if (last_i) begin
          lengths_q[sent_q*4+:4] <= length_q;
          sent_q <= sent_q + 4'd1;
        end
      end
      assert ((valid_i && ready) == (weight_valid_i && weight_ready));
      if (valid) begin
        assert (received_q[3:1] < sent_q);
        assert (sum[11:0] == beats * times);
        assert (sum[23:12] == beats * times * 12'd2);
        assert (last == received_q[0]);
      end
      if (valid && ready_i) received_q <= received_q + 4'd1;
    end
  end
endmodule
