// SPDX-License-Identifier: Apache-2.0
// One row of any pairs through spad_hash_accumulate, however both sides stall: every key comes out once with the sum
// of its values, or more keys came than there are slots, and then the overflow flag is up. A next row follows.
module hash_row #(
    parameter int Depth = 2,
    parameter int KeyWidth = 2,
    parameter int AccWidth = 3
) (
    input wire clk_i,
    input wire valid_i,
    input wire insert_i,
    input wire last_i,
    input wire [KeyWidth-1:0] key_i,
    input wire [1:0] value_i,
    input wire ready_i
);
  localparam int Keys = 1 << KeyWidth;
  reg reset_done = 1'b0, sent = 1'b0, ended = 1'b0;
  reg [Keys-1:0] came = '0, went = '0;
  reg [AccWidth-1:0] sum_q = '0;
  reg [KeyWidth-1:0] watched;  // any key, the same one for ever
  wire ready, valid, entry, last, overflow;
  wire [KeyWidth-1:0] key;
  wire [AccWidth-1:0] sum;
  wire offer = reset_done && valid_i;
  wire take = offer && ready;

  spad_hash_accumulate #(
      .Depth(Depth),
      .KeyWidth(KeyWidth),
      .ValueWidth(2),
      .AccWidth(AccWidth)
  ) u_hash (
      .clk_i,
      .rst_ni(reset_done),
      .valid_i(offer),
      .ready_o(ready),
      .insert_i,
      .last_i,
      .key_i,
      .value_i,
      .valid_o(valid),
      .ready_i,
      .entry_o(entry),
      .last_o(last),
      .overflow_o(overflow),
      .key_o(key),
      .sum_o(sum)
  );

  reg [KeyWidth:0] distinct;
  integer i;
  always @* begin
    distinct = '0;
    for (i = 0; i < Keys; i = i + 1) distinct = distinct + came[i];
  end

  always @(posedge clk_i) begin
    reset_done <= 1'b1;
    watched <= watched;
    if (take && last_i) sent <= 1'b1;
    if (take && insert_i && !sent) begin
      came[key_i] <= 1'b1;
      if (key_i == watched) sum_q <= sum_q + {{(AccWidth - 2) {value_i[1]}}, value_i};
    end
    if (valid && !ended) begin
      assert (sent);
      assert (overflow == (distinct > Depth));
      assert (entry == (came != '0));
      if (entry) assert (came[key] && !went[key]);
      if (entry && key == watched && !overflow) assert (sum == sum_q);
      if (last && entry && !overflow) assert ((went | (1 << key)) == came);
      if (ready_i) begin
        if (entry) went[key] <= 1'b1;
        ended <= last;
      end
    end
  end
endmodule
