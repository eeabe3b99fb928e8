// The other layers of a chain.
#pragma once

#include <cmath>

#include "dense.h"
#include "layer.h"

namespace paribus {

class Linear : public Layer {
 public:
  Linear(Maps input, int outputs, bool has_bias) : inputs_(input.size()), outputs_(outputs), has_bias_(has_bias) {
    in = input;
    out = {outputs, 1, 1};
    parameters = inputs_ * outputs_ + (has_bias ? outputs_ : 0);
  }

  void prepare_desk(Desk& desk) const override {
    desk.sums = Floats(outputs_ * padded(inputs_));
    desk.biases = Floats(outputs_ * WIDTH);
    desk.kept = Floats(LANES * padded(inputs_));
  }

  void forward(const Pass&, const float* weights, const float* x, float* y, Desk&) const override {
    dense(inputs_, outputs_, x, weights, inputs_, 1, has_bias_ ? weights + inputs_ * outputs_ : nullptr, y);
  }

  void backward(const Pass&, const float* weights, const float* x, const float*, float* dy, float* dx, Desk& desk) const override {
    turn(inputs_, x, desk.kept.get());
    dense_weight_gradient(inputs_, outputs_, desk.kept.get(), dy, desk.sums.get());
    if (has_bias_)
      for (long o = 0; o < outputs_; ++o) {
        float* to = desk.biases.get() + o * WIDTH;
        for (int v = 0; v < PARTS; ++v) store(to, load(to) + load(dy + o * LANES + v * WIDTH));
      }
    if (dx) dense(outputs_, inputs_, dy, weights, 1, inputs_, nullptr, dx);
  }

  void collect(Desk& desk, float* gradients) const override {
    for (long o = 0; o < outputs_; ++o)
      for (long i = 0; i < inputs_; ++i) gradients[o * inputs_ + i] += desk.sums.get()[o * padded(inputs_) + i];
    if (has_bias_)
      for (long o = 0; o < outputs_; ++o) gradients[inputs_ * outputs_ + o] += sum(load(desk.biases.get() + o * WIDTH));
    desk.sums.clear();
    desk.biases.clear();
  }

 private:
  long inputs_, outputs_;
  bool has_bias_;
};

// Multiplies `count` errors by the slope of an activation, which its outputs `y` tell.
typedef void (*Slope)(const float* y, const float* dy, float* dx, long count);

// An activation whose slope its own output tells, so that it may overwrite its input.
class Activation : public Layer {
 public:
  Activation(Maps maps, Finish value, Slope slope) : value(value), slope(slope) { in = out = maps; }
  void forward(const Pass&, const float*, const float* x, float* y, Desk&) const override {
    if (!applied_before) value(x, y, in.size() * LANES);
  }
  void backward(const Pass&, const float*, const float*, const float* y, float* dy, float* dx, Desk&) const override {
    if (dx && !applied_behind) slope(y, dy, dx, in.size() * LANES);
  }

  const Finish value;
  const Slope slope;
  bool applied_before = false;  // The layer before this one applies it to its outputs.
  bool applied_behind = false;  // The layer behind this one applies the slope to its input gradient.
};

// y = F::value(x) with the gradient F::gradient(y, dy).
template <typename F>
std::unique_ptr<Activation> activation(Maps maps) {
  return std::make_unique<Activation>(
      maps,
      [](const float* x, float* y, long count) {
        for (long i = 0; i < count; i += WIDTH) store(y + i, F::value(load(x + i)));
      },
      [](const float* y, const float* dy, float* dx, long count) {
        for (long i = 0; i < count; i += WIDTH) store(dx + i, F::gradient(load(y + i), load(dy + i)));
      });
}

struct Tanh {
  static ALWAYS_INLINE V value(V x) { return hyperbolic_tangent(x); }
  static ALWAYS_INLINE V gradient(V y, V dy) { return dy * (1.0f - y * y); }
};
struct ScaledTanh {
  static ALWAYS_INLINE V value(V x) { return 1.7159f * hyperbolic_tangent(x * 0.66666666666666666f); }
  static ALWAYS_INLINE V gradient(V y, V dy) {
    const V t = y * float(1 / 1.7159);
    return dy * (float(1.7159 * 2 / 3) * (1.0f - t * t));
  }
};
struct Relu {
  static ALWAYS_INLINE V value(V x) { return at_least(x, 0.0f); }
  static ALWAYS_INLINE V gradient(V y, V dy) { return where(y <= V{}, V{}, dy); }  // A NaN lets errors through.
};
struct Sigmoid {
  static ALWAYS_INLINE V value(V x) { return 1.0f / (1.0f + exponential(-x)); }
  static ALWAYS_INLINE V gradient(V y, V dy) { return dy * (y * (1.0f - y)); }
};

class Gelu : public Layer {  // x * Phi(x), exact, as torch's default.
 public:
  explicit Gelu(Maps maps) { in = out = maps; }
  void forward(const Pass&, const float*, const float* x, float* y, Desk&) const override {
    for (long i = 0; i < in.size() * LANES; i += WIDTH) {
      const V v = load(x + i);
      store(y + i, v * (0.5f * (1.0f + error_function(v * 0.70710678118654752f))));
    }
  }
  void backward(const Pass&, const float*, const float* x, const float*, float* dy, float* dx, Desk&) const override {
    if (!dx) return;
    for (long i = 0; i < in.size() * LANES; i += WIDTH) {
      const V v = load(x + i);
      const V below = 0.5f * (1.0f + error_function(v * 0.70710678118654752f));
      store(dx + i, load(dy + i) * (below + v * (0.39894228040143268f * exponential(-0.5f * v * v))));
    }
  }
};

class Pooling : public Layer {
 public:
  Pooling(Maps input, Window window) : window_(window) {
    in = input;
    out = {in.channels, (in.height + 2 * window.above - window.height) / window.down + 1,
           (in.width + 2 * window.left - window.width) / window.right + 1};
  }
  // Whether the windows lie side by side and cover the maps, so that every input has its error from one output.
  bool covers() const {
    return window_.height == window_.down && window_.width == window_.right && !window_.above && !window_.left &&
           in.height == out.height * window_.down && in.width == out.width * window_.right;
  }
  Slope slope = nullptr;  // Of the activation before it, applied on the way back; only if `covers`.

 protected:
  // For each output pixel: begin(map), visit(place in the input) for each input pixel that it sees, then end(map, place
  // in the output, whether it is the last of its row).
  template <typename Begin, typename Visit, typename End>
  ALWAYS_INLINE void each_window(Begin begin, Visit visit, End end) const {
    const Window k = window_;  // Copies, so that what is written cannot change them.
    const Maps from = in, into = out;
    long to = 0;
    for (int c = 0; c < into.channels; ++c)
      for (int row = 0; row < into.height; ++row) {
        const int y = row * k.down - k.above, top = std::max(0, y), height = std::min(from.height, y + k.height) - top;
        const long line = long(from.width) * LANES, first = (long(c) * from.height + top) * line;
        for (int column = 0; column < into.width; ++column, to += LANES) {
          const int x = column * k.right - k.left, left = std::max(0, x), width = std::min(from.width, x + k.width) - left;
          const long corner = first + long(left) * LANES;
          begin(c);
          if (height == 2 && width == 2) {  // The usual window, unrolled.
            visit(corner);
            visit(corner + LANES);
            visit(corner + line);
            visit(corner + line + LANES);
          } else {
            for (int iy = 0; iy < height; ++iy)
              for (int ix = 0; ix < width; ++ix) visit(corner + iy * line + ix * LANES);
          }
          end(c, to, column + 1 == into.width);
        }
      }
  }
  // To be called behind each row of outputs in the backward pass, with the row's number over all maps.
  void finish_row(long row, const float* x, float* dx) const {
    const long count = long(window_.down) * in.width * LANES;
    if (slope) slope(x + row * count, dx + row * count, dx + row * count, count);
  }
  Window window_;
};

// Sums of windows times a factor (average pooling), or times a trainable coefficient per map plus a bias.
class SumPooling : public Pooling {
 public:
  SumPooling(Maps input, Window window, bool trainable) : Pooling(input, window), trainable_(trainable) {
    parameters = trainable ? 2L * in.channels : 0;
  }
  void prepare_desk(Desk& desk) const override {
    if (trainable_) desk.sums = Floats(2L * in.channels * WIDTH);
  }
  void forward(const Pass&, const float* weights, const float* x, float* y, Desk&) const override {
    V acc[PARTS];
    each_window([&](int) { for (V& v : acc) v = V{}; },
                [&](long from) { for (int v = 0; v < PARTS; ++v) acc[v] += load(x + from + v * WIDTH); },
                [&](int c, long to, bool) {
                  const float factor = coefficient(weights, c), bias = trainable_ ? weights[in.channels + c] : 0.0f;
                  for (int v = 0; v < PARTS; ++v) store(y + to + v * WIDTH, acc[v] * factor + bias);
                });
  }
  void backward(const Pass&, const float* weights, const float* x, const float*, float* dy, float* dx, Desk& desk) const override {
    if (trainable_) {
      V acc[PARTS];
      each_window([&](int) { for (V& v : acc) v = V{}; },
                  [&](long from) { for (int v = 0; v < PARTS; ++v) acc[v] += load(x + from + v * WIDTH); },
                  [&](int c, long to, bool) {
                    float* slope = desk.sums.get() + c * WIDTH;
                    float* bias = desk.sums.get() + (in.channels + c) * WIDTH;
                    for (int v = 0; v < PARTS; ++v) {
                      const V error = load(dy + to + v * WIDTH);
                      store(slope, load(slope) + error * acc[v]);
                      store(bias, load(bias) + error);
                    }
                  });
    }
    if (!dx) return;
    // Windows that cover the maps overwrite; others add.
    const bool exact = covers();
    if (!exact) std::memset(dx, 0, size_t(in.size()) * LANES * 4);
    V error[PARTS];
    long to = 0;
    each_window([&](int c) {
                  for (int v = 0; v < PARTS; ++v) error[v] = load(dy + to + v * WIDTH) * coefficient(weights, c);
                  to += LANES;
                },
                [&](long from) {
                  for (int v = 0; v < PARTS; ++v) {
                    float* at = dx + from + v * WIDTH;
                    store(at, exact ? error[v] : load(at) + error[v]);
                  }
                },
                [&](int, long end, bool last) { if (last) finish_row(end / LANES / out.width, x, dx); });
  }
  void collect(Desk& desk, float* gradients) const override {
    for (long i = 0; i < parameters; ++i) gradients[i] += sum(load(desk.sums.get() + i * WIDTH));
    if (trainable_) desk.sums.clear();
  }

 private:
  ALWAYS_INLINE float coefficient(const float* weights, int c) const {
    return trainable_ ? weights[c] : 1.0f / float(window_.height * window_.width);
  }
  bool trainable_;
};

class MaxPooling : public Pooling {
 public:
  MaxPooling(Maps input, Window window) : Pooling(input, window) {}
  // Keeps for every output which pixel of its window was taken, the first of equals, as torch does.
  void prepare_desk(Desk& desk) const override { desk.kept = Floats(out.size() * LANES); }
  void forward(const Pass&, const float*, const float* x, float* y, Desk& desk) const override {
    V best[PARTS];
    I taken[PARTS];
    int32_t index = 0;
    each_window([&](int) { for (int v = 0; v < PARTS; ++v) { best[v] = all(-INFINITY); taken[v] = I{}; } index = 0; },
                [&](long from) {
                  for (int v = 0; v < PARTS; ++v) {
                    const V seen = load(x + from + v * WIDTH);
                    const I better = (seen > best[v]) | (seen != seen);
                    best[v] = where(better, seen, best[v]);
                    taken[v] = better ? I{} + index : taken[v];
                  }
                  ++index;
                },
                [&](int, long to, bool) {
                  for (int v = 0; v < PARTS; ++v) {
                    store(y + to + v * WIDTH, best[v]);
                    store(desk.kept.get() + to + v * WIDTH, reinterpret_cast<V>(taken[v]));
                  }
                });
  }
  void backward(const Pass&, const float*, const float*, const float* y, float* dy, float* dx, Desk& desk) const override {
    if (!dx) return;
    if (slope) slope(y, dy, dy, out.size() * LANES);  // The slope at a pixel that was taken is that at the output.
    const bool exact = covers();
    if (!exact) std::memset(dx, 0, size_t(in.size()) * LANES * 4);
    V error[PARTS];
    I taken[PARTS];
    int32_t index = 0;
    long to = 0;
    each_window([&](int) {
                  for (int v = 0; v < PARTS; ++v) {
                    error[v] = load(dy + to + v * WIDTH);
                    taken[v] = reinterpret_cast<I>(load(desk.kept.get() + to + v * WIDTH));
                  }
                  to += LANES;
                  index = 0;
                },
                [&](long from) {
                  for (int v = 0; v < PARTS; ++v) {
                    float* at = dx + from + v * WIDTH;
                    const V mine = where(taken[v] == (I{} + index), error[v], V{});
                    store(at, exact ? mine : load(at) + mine);
                  }
                  ++index;
                },
                [](int, long, bool) {});
  }
};

class Crop : public Layer {  // The upper left part of every map.
 public:
  Crop(Maps input, int height, int width) { in = input; out = {in.channels, height, width}; }
  void forward(const Pass&, const float*, const float* x, float* y, Desk&) const override {
    each_row([&](long from, long to) { std::memcpy(y + to, x + from, row_bytes()); });
  }
  void backward(const Pass&, const float*, const float*, const float*, float* dy, float* dx, Desk&) const override {
    if (!dx) return;
    std::memset(dx, 0, size_t(in.size()) * LANES * 4);
    each_row([&](long from, long to) { std::memcpy(dx + from, dy + to, row_bytes()); });
  }

 private:
  size_t row_bytes() const { return size_t(out.width) * LANES * 4; }
  template <typename Copy>
  void each_row(Copy copy) const {
    for (int c = 0; c < out.channels; ++c)
      for (int row = 0; row < out.height; ++row)
        copy((long(c) * in.height + row) * in.width * LANES, (long(c) * out.height + row) * out.width * LANES);
  }
};

// Sets values to 0 with a probability and scales the others up. What happens to a value depends on the step's key, the
// sample's place in the batch and the value's place in the layer, and on nothing else.
class Dropout : public Layer {
 public:
  Dropout(Maps maps, float probability, uint64_t number) : probability_(probability), number_(number) { in = out = maps; }
  void prepare_desk(Desk& desk) const override { desk.kept = Floats(in.size() * LANES); }
  void forward(const Pass& pass, const float*, const float* x, float* y, Desk& desk) const override {
    float* factors = desk.kept.get();
    const float scale = 1.0f / (1.0f - probability_);
    const uint32_t limit = uint32_t(std::min(4294967295.0, double(probability_) * 4294967296.0));
    for (long unit = 0; unit < in.size(); ++unit) {
      const uint64_t key = mixed(pass.key ^ mixed(number_ * 0x9E3779B97F4A7C15ull + uint64_t(unit)));
      for (int s = 0; s < LANES; ++s)
        factors[unit * LANES + s] = !pass.training ? 1.0f : uint32_t(mixed(key + uint64_t(pass.first + s)) >> 32) < limit ? 0.0f : scale;
    }
    for (long i = 0; i < in.size() * LANES; i += WIDTH) store(y + i, load(x + i) * load(factors + i));
  }
  void backward(const Pass&, const float*, const float*, const float*, float* dy, float* dx, Desk& desk) const override {
    if (!dx) return;
    for (long i = 0; i < in.size() * LANES; i += WIDTH) store(dx + i, load(dy + i) * load(desk.kept.get() + i));
  }

 private:
  static uint64_t mixed(uint64_t x) {  // The finaliser of splitmix64 (Steele, Lea, Flood 2014).
    x += 0x9E3779B97F4A7C15ull;
    x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9ull;
    x = (x ^ (x >> 27)) * 0x94D049BB133111EBull;
    return x ^ (x >> 31);
  }
  float probability_;
  uint64_t number_;
};

}  // namespace paribus
