// Convolution as a layer, directly or by minimal filtering.
#pragma once

#include <vector>

#include "layer.h"
#include "winograd.h"

namespace paribus {

// What every way to convolve shares. The gradients of kernels are kept as [output][input][taps][WIDTH], the lanes apart.
class Convolution : public Layer {
 public:
  Finish finish = nullptr;  // The activation that follows, applied row by row.

  // `connections` gives for [output][input] which kernel joins them, -1 for none.
  Convolution(Maps input, int outputs, Window window, bool has_bias, const int32_t* connections)
      : window_(window), connections_(connections, connections + long(outputs) * input.channels), has_bias_(has_bias) {
    in = input;
    out = {outputs, (in.height + 2 * window.above - window.height) / window.down + 1,
           (in.width + 2 * window.left - window.width) / window.right + 1};
    area_ = window.height * window.width;
    kernels_ = *std::max_element(connections_.begin(), connections_.end()) + 1;
    parameters = kernels_ * area_ + (has_bias ? outputs : 0);
  }

  void collect(Desk& desk, float* gradients) const final {
    for (int o = 0; o < out.channels; ++o)
      for (int i = 0; i < in.channels; ++i)
        if (index_of(o, i) >= 0) collect_kernel(desk.sums.get(), long(o) * in.channels + i, gradients + index_of(o, i) * area_);
    if (has_bias_)
      for (int o = 0; o < out.channels; ++o) gradients[kernels_ * area_ + o] += sum(load(desk.biases.get() + o * WIDTH));
    desk.sums.clear();
    desk.biases.clear();
  }

 protected:
  // Adds to a kernel's gradient what the sums say, where it is the kernel number `place` of all output-input pairs.
  virtual void collect_kernel(const float* sums, long place, float* gradient) const = 0;

  long index_of(int output, int input) const { return connections_[size_t(output) * in.channels + input]; }
  const float* bias_of(const float* weights) const { return has_bias_ ? weights + kernels_ * area_ : nullptr; }
  float* biases_of(const Desk& desk) const { return has_bias_ ? desk.biases.get() : nullptr; }
  // The kernels of a parameter array in the order of correlate(), forwards and (turned by 180 degrees if `flip`) back.
  void pack_both(const float* weights, int area, bool flip, float* forward, float* backward) const {
    auto place = [&](int o, int i) { return index_of(o, i) < 0 ? -1 : index_of(o, i) * area; };
    pack_kernels(weights, forward, out.channels, in.channels, area, false, place);
    pack_kernels(weights, backward, in.channels, out.channels, area, flip, [&](int i, int o) { return place(o, i); });
  }
  long pairs() const { return long(out.channels) * in.channels; }

  Window window_;
  std::vector<int32_t> connections_;
  bool has_bias_;
  int area_;
  long kernels_;
};

class DirectConvolution : public Convolution {
 public:
  DirectConvolution(Maps input, int outputs, Window window, bool has_bias, const int32_t* connections)
      : Convolution(input, outputs, window, has_bias, connections), forward_(pairs() * area_), backward_(pairs() * area_) {}

  void prepare_desk(Desk& desk) const override {
    desk.sums = Floats(pairs() * area_ * WIDTH);
    desk.biases = Floats(long(out.channels) * WIDTH);
    if (window_.above || window_.left) desk.border = Floats(bordered().size() * LANES);
  }

  void pack(const float* weights) override { pack_both(weights, area_, steps_by_one(), forward_.get(), backward_.get()); }

  void forward(const Pass&, const float* weights, const float* x, float* y, Desk&) const override {
    correlate(in, out, window_, x, forward_.get(), bias_of(weights), y, finish);
  }

 protected:
  void backward(const Pass&, const float*, const float* x, const float*, float* dy, float* dx, Desk& desk) const override {
    const Maps wide = bordered();
    if (wide.height != in.height || wide.width != in.width) {
      for (int c = 0; c < in.channels; ++c)
        for (int row = 0; row < in.height; ++row)
          std::memcpy(desk.border.get() + ((long(c) * wide.height + row + window_.above) * wide.width + window_.left) * LANES,
                      x + (long(c) * in.height + row) * in.width * LANES, size_t(in.width) * LANES * 4);
      x = desk.border.get();
    }
    if (window_.width == 1) weight_gradient<true>(wide, out, window_, x, dy, desk.sums.get(), biases_of(desk));
    else weight_gradient<false>(wide, out, window_, x, dy, desk.sums.get(), biases_of(desk));
    if (!dx) return;
    const Window back = {window_.height, window_.width, 1, 1, window_.height - 1 - window_.above, window_.width - 1 - window_.left};
    if (steps_by_one()) correlate(out, in, back, dy, backward_.get(), nullptr, dx);
    else gather_gradient(in, out, window_, dy, backward_.get(), dx);
  }

  void collect_kernel(const float* sums, long place, float* gradient) const override {
    for (int k = 0; k < area_; ++k) gradient[k] += sum(load(sums + (place * area_ + k) * WIDTH));
  }

 private:
  bool steps_by_one() const { return window_.down == 1 && window_.right == 1; }
  Maps bordered() const { return {in.channels, in.height + 2 * window_.above, in.width + 2 * window_.left}; }

  Floats forward_, backward_;
};

// By Winograd's minimal filtering, for steps of one and kernels 7 - SPAN columns wide.
template <int SPAN>
class WinogradConvolution : public Convolution {
 public:
  WinogradConvolution(Maps input, int outputs, Window window, bool has_bias, const int32_t* connections)
      : Convolution(input, outputs, window, has_bias, connections), tiles_(tiles_of(out.width, SPAN)) {
    wide_ = {in.channels, in.height + 2 * window.above, tiles_};
    errors_ = {out.channels, out.height, tiles_};
    column_ = {window.height, 1, 1, 1, 0, 0};
    transformed_ = Floats(kernels_ * window.height);
    for (int point = 0; point < POINTS; ++point) {
      forward_.emplace_back(pairs() * window.height);
      backward_.emplace_back(pairs() * window.height);
    }
  }

  void prepare_desk(Desk& desk) const override {
    desk.sums = Floats(POINTS * point_sums());
    desk.biases = Floats(long(out.channels) * WIDTH);
    desk.kept = Floats(POINTS * wide_.size() * LANES);  // The inputs, transformed; later their gradients.
    desk.border = Floats(std::max(POINTS * row_sums(), errors_.size() * LANES));
  }

  void pack(const float* weights) override {
    const int width = window_.width;
    for (int point = 0; point < POINTS; ++point) {
      for (long row = 0; row < kernels_ * window_.height; ++row) {
        double value = 0;
        for (int k = 0; k < width; ++k) value += share_of(point, k, width) * weights[row * width + k];
        transformed_.get()[row] = float(value);
      }
      pack_both(transformed_.get(), window_.height, true, forward_[point].get(), backward_[point].get());
    }
  }

  void forward(const Pass&, const float* weights, const float* x, float* y, Desk& desk) const override {
    spread_input(x, desk.kept.get());
    const Maps row_of = {out.channels, 1, tiles_};
    const float* bias = bias_of(weights);
    for (int row = 0; row < out.height; ++row) {
      Window window = column_;
      window.above = -row;
      for (int point = 0; point < POINTS; ++point)
        correlate(wide_, row_of, window, desk.kept.get() + point * wide_.size() * LANES, forward_[point].get(), nullptr,
                  desk.border.get() + point * row_sums());
      for (int o = 0; o < out.channels; ++o) {
        float* to = y + (long(o) * out.height + row) * out.width * LANES;
        join_row<SPAN>(out.width, tiles_, desk.border.get() + long(o) * tiles_ * LANES, row_sums(), bias ? bias[o] : 0.0f, to);
        if (finish) finish(to, to, long(out.width) * LANES);
      }
    }
  }

 protected:
  void backward(const Pass&, const float*, const float*, const float*, float* dy, float* dx, Desk& desk) const override {
    const Window back = {window_.height, 1, 1, 1, window_.height - 1 - window_.above, 0};
    const Maps inner = {in.channels, in.height, tiles_};
    for (int point = 0; point < POINTS; ++point) {
      float* seen = desk.kept.get() + point * wide_.size() * LANES;
      join_rows_back<SPAN>(point, long(out.channels) * out.height, out.width, tiles_, dy, desk.border.get());
      weight_gradient<true>(wide_, errors_, column_, seen, desk.border.get(), desk.sums.get() + point * point_sums(),
                            POINT[point] == 1 ? biases_of(desk) : nullptr);  // At 1 a tile's errors are added up.
      if (dx) correlate(errors_, inner, back, desk.border.get(), backward_[point].get(), nullptr, seen);
    }
    if (dx) spread_rows_back<SPAN>(long(in.channels) * in.height, in.width, window_.left, tiles_, desk.kept.get(), wide_.size() * LANES, dx);
  }

  void collect_kernel(const float* sums, long place, float* gradient) const override {
    const int width = window_.width;
    for (int ky = 0; ky < window_.height; ++ky)
      for (int point = 0; point < POINTS; ++point) {
        const float total = sum(load(sums + point * point_sums() + (place * window_.height + ky) * WIDTH));
        for (int k = 0; k < width; ++k) gradient[ky * width + k] += float(share_of(point, k, width)) * total;
      }
  }

 private:
  void spread_input(const float* x, float* to) const {
    for (int c = 0; c < in.channels; ++c) {
      const long border = long(window_.above) * tiles_ * LANES, rows = long(in.height) * tiles_ * LANES;
      float* first = to + c * wide_.pixels() * LANES;
      for (int point = 0; border && point < POINTS; ++point) {
        std::memset(first + point * wide_.size() * LANES, 0, size_t(border) * 4);
        std::memset(first + point * wide_.size() * LANES + border + rows, 0, size_t(border) * 4);
      }
      spread_rows<SPAN>(in.height, in.width, window_.left, tiles_, x + c * in.pixels() * LANES, first + border, wide_.size() * LANES);
    }
  }
  long row_sums() const { return long(out.channels) * tiles_ * LANES; }
  long point_sums() const { return pairs() * window_.height * WIDTH; }

  int tiles_;
  Maps wide_, errors_;  // Transformed inputs with their border above and below, and transformed errors.
  Window column_;       // What is left of the kernel at each point.
  Floats transformed_;
  std::vector<Floats> forward_, backward_;
};

// The faster of the two ways.
inline std::unique_ptr<Convolution> convolution(Maps in, int outputs, Window window, bool has_bias, const int32_t* connections) {
  // Transforms pay where they serve several channels and the last tile is not mostly beyond the edge.
  auto pays = [&](int span) {
    const int columns = in.width + 2 * window.left - window.width + 1;
    return in.channels > 2 && outputs > 2 && 5 * POINTS * tiles_of(columns, span) <= 4 * window.width * columns;
  };
  const bool by_one = window.down == 1 && window.right == 1;
  if (by_one && window.width == 5 && pays(2)) return std::make_unique<WinogradConvolution<2>>(in, outputs, window, has_bias, connections);
  if (by_one && window.width == 3 && pays(4)) return std::make_unique<WinogradConvolution<4>>(in, outputs, window, has_bias, connections);
  return std::make_unique<DirectConvolution>(in, outputs, window, has_bias, connections);
}

}  // namespace paribus
