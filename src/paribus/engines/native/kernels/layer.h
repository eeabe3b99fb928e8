// What every layer of a chain is: its shape, its parameters, and what one thread keeps for it beside the values.
#pragma once

#include <algorithm>
#include <cstdlib>
#include <memory>
#include <new>

#include "convolution.h"

namespace paribus {

// Memory aligned to 64 bytes, set to zero, never resized.
class Floats {
 public:
  Floats() = default;
  explicit Floats(long count) : count_(count), data_(static_cast<float*>(std::aligned_alloc(64, bytes(count)))) {
    if (!data_) throw std::bad_alloc();
    clear();
  }
  float* get() const { return data_.get(); }
  void clear() { std::memset(data_.get(), 0, bytes(count_)); }

 private:
  struct Free { void operator()(float* data) const { std::free(data); } };
  static size_t bytes(long count) { return size_t(std::max(16L, (count + 15) / 16 * 16)) * 4; }
  long count_ = 0;
  std::unique_ptr<float, Free> data_;
};

// What one thread keeps for one layer: partial sums of gradients, and what the backward pass must know of the forward.
struct Desk {
  Floats sums, biases, kept, border;
};

struct Pass {  // One group of LANES samples on its way through the network.
  bool training;
  uint64_t key;  // Of this step's dropout.
  long first;    // The place of the group's first sample in the batch.
};

struct Layer {
  Maps in{}, out{};
  long parameters = 0;  // How many, weights before biases, as torch has them.
  bool in_place = false;  // The values may be overwritten: then x == y and dx == dy.

  virtual ~Layer() = default;
  virtual void prepare_desk(Desk&) const {}
  // Once per step, before any group: bring weights into the order in which they are read.
  virtual void pack(const float*) {}
  virtual void forward(const Pass&, const float* weights, const float* x, float* y, Desk&) const = 0;
  // `dx` is null where nobody asks for it. `x` and `y` are those of the forward pass of the same group.
  virtual void backward(const Pass&, const float* weights, const float* x, const float* y, float* dy, float* dx, Desk&) const = 0;
  // Adds a desk's sums to the gradients and clears them.
  virtual void collect(Desk&, float*) const {}
};

}  // namespace paribus
