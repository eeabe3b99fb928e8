// A chain of layers with its loss, trained a batch at a time on one or several threads.
#pragma once

#include <atomic>
#include <condition_variable>
#include <functional>
#include <mutex>
#include <thread>

#include "convolution_layers.h"
#include "layers.h"

namespace paribus {

// One batch. Pixels come as bytes, looked up in table[channel][256], or as floats that are ready.
struct Source {
  const uint8_t* bytes;
  const float* table;
  const float* floats;
  const int64_t* rows;    // Which image each sample is, null for the first `count` in order.
  const int64_t* labels;  // By image, as the rows count; null where no loss is asked for.
  int64_t count;
};

struct Sums {
  double loss, correct, squared_norm;
};

// Runs the same function on every thread of a fixed number, of which the caller is the first.
class Team {
 public:
  explicit Team(int size);
  ~Team();
  int size() const { return int(threads_.size()) + 1; }
  void run(const std::function<void(int)>& work);

 private:
  void serve(int index);
  std::vector<std::thread> threads_;
  std::mutex mutex_;
  std::condition_variable begin_, done_;
  const std::function<void(int)>* work_ = nullptr;
  std::atomic<long> round_{0};
  std::atomic<int> open_{0};
  std::atomic<bool> ends_{false};
};

// The values of one group of samples at every layer, and the errors, which go back and forth between two places.
struct Seat {
  std::vector<Desk> desks;
  std::vector<Floats> held;
  std::vector<float*> values;  // values[i] is the input of layer i, the last one the logits.
  Floats errors[2];
  Sums sums;
};

class Network {
 public:
  // `weights` and `gradients` belong to the caller and hold the layers' parameters in a row.
  Network(Maps input, std::vector<std::unique_ptr<Layer>> layers, float* weights, float* gradients, int threads);

  // Sets the gradients of the mean loss of a batch. Dropout is drawn from `key` where `training`.
  Sums differentiate(const Source& source, float label_smoothing, bool training, uint64_t key);
  // Writes logits [sample][class] in eval mode.
  void predict(const Source& source, float* logits);
  long parameters() const;

 private:
  void forward(const Pass& pass, Seat& seat) const;
  void backward(const Pass& pass, Seat& seat) const;
  void gather(const Source& source, long first, float* x) const;
  void announce(const Source& source, long first) const;
  Sums lose(const Source& source, long first, float label_smoothing, Seat& seat) const;
  double squared_norm() const;
  void join();
  void pack();

  Maps input_;
  std::vector<std::unique_ptr<Layer>> layers_;
  std::vector<long> offsets_;  // Where each layer's parameters begin.
  float *weights_, *gradients_;
  std::vector<Seat> seats_;  // One per thread.
  Team team_;
};

}  // namespace paribus
