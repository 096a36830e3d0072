// SPDX-License-Identifier: Apache-2.0
// nm_stream_assert on both ends of a cell: assumed of the source, asserted of the cell.
`default_nettype none

module stream_rules #(
    parameter int Kind = 0
) (
    input wire       clk_i,
    input wire       valid_i,
    input wire [3:0] data_i,
    input wire       ready_i
);
  reg started = 1'b0;
  always_ff @(posedge clk_i) started <= 1'b1;

  wire ready, valid;
  wire [3:0] data;

  if (Kind == 0) begin : gen_skid
    skid_buffer #(
        .Width(4)
    ) u_cell (
        .clk_i,
        .rst_ni (started),
        .valid_i,
        .ready_o(ready),
        .data_i,
        .valid_o(valid),
        .ready_i,
        .data_o (data)
    );
  end else begin : gen_register
    stream_register #(
        .Width(4)
    ) u_cell (
        .clk_i,
        .rst_ni (started),
        .valid_i,
        .ready_o(ready),
        .data_i,
        .valid_o(valid),
        .ready_i,
        .data_o (data)
    );
  end

  nm_stream_assert #(
      .Width  (4),
      .Assumed(1'b1)
  ) u_in (
      .clk_i,
      .rst_ni (started),
      .valid_i,
      .ready_i(ready),
      .data_i
  );
  nm_stream_assert #(
      .Width(4)
  ) u_out (
      .clk_i,
      .rst_ni (started),
      .valid_i(valid),
      .ready_i,
      .data_i (data)
  );
endmodule

`default_nettype wire
