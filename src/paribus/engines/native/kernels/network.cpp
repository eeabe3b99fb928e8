#include "network.h"

#include <chrono>

namespace paribus {

namespace {

// Waits for `done()`: without sleep for a while, as the next step or the other thread's end is near, because to be woken
// takes a tenth of a millisecond; then asleep. What makes it true happens under `mutex`, with a notice.
template <typename Done>
void wait_for(Done done, std::mutex& mutex, std::condition_variable& notice) {
  const auto end = std::chrono::steady_clock::now() + std::chrono::microseconds(300);
  while (!done() && std::chrono::steady_clock::now() < end) std::this_thread::yield();
  if (done()) return;
  std::unique_lock<std::mutex> lock(mutex);
  notice.wait(lock, done);
}

}  // namespace

Team::Team(int size) {
  for (int index = 1; index < size; ++index) threads_.emplace_back([this, index] { serve(index); });
}

Team::~Team() {
  {
    std::lock_guard<std::mutex> lock(mutex_);
    ends_ = true;
  }
  begin_.notify_all();
  for (std::thread& thread : threads_) thread.join();
}

void Team::run(const std::function<void(int)>& work) {
  if (threads_.empty()) return work(0);
  {
    std::lock_guard<std::mutex> lock(mutex_);
    work_ = &work;
    open_ = int(threads_.size());
    ++round_;
  }
  begin_.notify_all();
  work(0);
  wait_for([this] { return open_ == 0; }, mutex_, done_);
}

void Team::serve(int index) {
  for (long seen = 0;;) {
    wait_for([&] { return ends_ || round_ != seen; }, mutex_, begin_);
    if (ends_) return;
    seen = round_;
    (*work_)(index);
    std::lock_guard<std::mutex> lock(mutex_);
    if (--open_ == 0) done_.notify_one();
  }
}

Network::Network(Maps input, std::vector<std::unique_ptr<Layer>> layers, float* weights, float* gradients, int threads)
    : input_(input), layers_(std::move(layers)), weights_(weights), gradients_(gradients), team_(threads) {
  join();
  long offset = 0, largest = input.size();
  for (const auto& layer : layers_) {
    offsets_.push_back(offset);
    offset += layer->parameters;
    largest = std::max(largest, layer->out.size());
  }
  for (int i = 0; i < threads; ++i) {
    Seat& seat = seats_.emplace_back();
    seat.held.emplace_back(input.size() * LANES);
    seat.values.push_back(seat.held.back().get());
    for (const auto& layer : layers_) {
      layer->prepare_desk(seat.desks.emplace_back());
      if (!layer->in_place) seat.held.emplace_back(layer->out.size() * LANES);
      seat.values.push_back(layer->in_place ? seat.values.back() : seat.held.back().get());
    }
    for (Floats& errors : seat.errors) errors = Floats(largest * LANES);
  }
}

// Lets activations be applied by their neighbours, while the values are near.
void Network::join() {
  for (size_t i = 0; i < layers_.size(); ++i) {
    auto* activation = dynamic_cast<Activation*>(layers_[i].get());
    if (!activation || !activation->in_place) continue;
    auto* before = i > 0 ? dynamic_cast<Convolution*>(layers_[i - 1].get()) : nullptr;
    auto* behind = i + 1 < layers_.size() ? dynamic_cast<Pooling*>(layers_[i + 1].get()) : nullptr;
    if (before) {
      before->finish = activation->value;
      activation->applied_before = true;
    }
    const bool kept = i + 2 >= layers_.size() || !layers_[i + 2]->in_place;  // Max pooling tells slopes by its outputs.
    if (behind && behind->covers() && kept) {
      behind->slope = activation->slope;
      activation->applied_behind = true;
    }
  }
}

long Network::parameters() const { return layers_.empty() ? 0 : offsets_.back() + layers_.back()->parameters; }

void Network::pack() {
  for (size_t i = 0; i < layers_.size(); ++i) layers_[i]->pack(weights_ + offsets_[i]);
}

Sums Network::differentiate(const Source& source, float label_smoothing, bool training, uint64_t key) {
  pack();
  const long groups = (source.count + LANES - 1) / LANES;
  team_.run([&](int index) {
    Seat& seat = seats_[size_t(index)];
    seat.sums = {};
    for (long group = groups * index / team_.size(); group < groups * (index + 1) / team_.size(); ++group) {
      const Pass pass = {training, key, group * LANES};
      gather(source, pass.first, seat.values[0]);
      announce(source, pass.first + LANES);
      forward(pass, seat);
      const Sums sums = lose(source, pass.first, label_smoothing, seat);
      seat.sums.loss += sums.loss;
      seat.sums.correct += sums.correct;
      backward(pass, seat);
    }
  });
  std::memset(gradients_, 0, size_t(parameters()) * 4);
  Sums total = {};
  for (Seat& seat : seats_) {
    total.loss += seat.sums.loss;
    total.correct += seat.sums.correct;
    for (size_t i = 0; i < layers_.size(); ++i) layers_[i]->collect(seat.desks[i], gradients_ + offsets_[i]);
  }
  total.squared_norm = squared_norm();
  return total;
}

// In several sums, so that one addition need not wait for the other.
double Network::squared_norm() const {
  constexpr int SUMS = 16;
  double parts[SUMS] = {}, total = 0;
  long i = 0;
  for (; i + SUMS <= parameters(); i += SUMS)
    for (int k = 0; k < SUMS; ++k) parts[k] += double(gradients_[i + k]) * gradients_[i + k];
  for (; i < parameters(); ++i) total += double(gradients_[i]) * gradients_[i];
  for (double part : parts) total += part;
  return total;
}

void Network::predict(const Source& source, float* logits) {
  pack();
  const long groups = (source.count + LANES - 1) / LANES;
  const int classes = int(layers_.back()->out.size());
  team_.run([&](int index) {
    Seat& seat = seats_[size_t(index)];
    for (long group = groups * index / team_.size(); group < groups * (index + 1) / team_.size(); ++group) {
      const Pass pass = {false, 0, group * LANES};
      gather(source, pass.first, seat.values[0]);
      announce(source, pass.first + LANES);
      forward(pass, seat);
      const long end = std::min<long>(LANES, source.count - pass.first);
      for (long s = 0; s < end; ++s)
        for (int k = 0; k < classes; ++k) logits[(pass.first + s) * classes + k] = seat.values.back()[k * LANES + s];
    }
  });
}

void Network::forward(const Pass& pass, Seat& seat) const {
  for (size_t i = 0; i < layers_.size(); ++i)
    layers_[i]->forward(pass, weights_ + offsets_[i], seat.values[i], seat.values[i + 1], seat.desks[i]);
}

void Network::backward(const Pass& pass, Seat& seat) const {
  float *error = seat.errors[0].get(), *other = seat.errors[1].get();
  for (size_t i = layers_.size(); i-- > 0;) {
    const Layer& layer = *layers_[i];
    const bool asked = offsets_[i] > 0;  // Whether a layer before this one has parameters.
    float* to = !asked ? nullptr : layer.in_place ? error : other;
    layer.backward(pass, weights_ + offsets_[i], seat.values[i], seat.values[i + 1], error, to, seat.desks[i]);
    if (!asked) return;
    if (to == other) std::swap(error, other);
  }
}

// Lays LANES images side by side: x[channel][pixel][sample]. Samples beyond the last are black and have no error.
void Network::gather(const Source& source, long first, float* x) const {
  const long pixels = input_.pixels(), size = input_.size();
  const int end = int(std::min<long>(LANES, source.count - first));
  if (end < LANES) std::memset(x, 0, size_t(size) * LANES * 4);
  long begins[LANES];
  for (int s = 0; s < end; ++s) begins[s] = (source.rows ? source.rows[first + s] : first + s) * size;
  auto lay = [&](int c, auto value) {  // Pixel by pixel, so that what is written is written in a row.
    float* to = x + c * pixels * LANES;
    for (long p = c * pixels; p < (c + 1) * pixels; ++p, to += LANES) {
      if (end == LANES) {
#pragma GCC unroll 16
        for (int s = 0; s < LANES; ++s) to[s] = value(begins[s] + p);
      } else {
        for (int s = 0; s < end; ++s) to[s] = value(begins[s] + p);
      }
    }
  };
  for (int c = 0; c < input_.channels; ++c) {
    const float* table = source.table + c * 256;
    if (source.bytes) lay(c, [&, bytes = source.bytes](long at) { return table[bytes[at]]; });
    else lay(c, [floats = source.floats](long at) { return floats[at]; });
  }
}

// Has the bytes of a group fetched from memory, as rows in random order are nowhere near.
void Network::announce(const Source& source, long first) const {
  constexpr long LINE = 64;
  for (long s = first; source.bytes && s < std::min<long>(first + LANES, source.count); ++s) {
    const uint8_t* image = source.bytes + (source.rows ? source.rows[s] : s) * input_.size();
    for (long at = 0; at < input_.size(); at += LINE) __builtin_prefetch(image + at, 0, 2);
  }
}

// Cross-entropy of the logits, and its gradient in the seat's first errors, as if the batch's mean loss were asked for.
Sums Network::lose(const Source& source, long first, float label_smoothing, Seat& seat) const {
  const float* logits = seat.values.back();
  float* errors = seat.errors[0].get();
  const int classes = int(layers_.back()->out.size());
  const int end = int(std::min<long>(LANES, source.count - first));
  alignas(64) float top[LANES], total[LANES], mean[LANES];
  for (int v = 0; v < LANES; v += WIDTH) {
    V most = load(logits + v), plain = V{}, sums = V{};
    for (int k = 0; k < classes; ++k) {
      const V logit = load(logits + k * LANES + v);
      most = where((logit > most) | (logit != logit), logit, most);
      plain += logit;
    }
    for (int k = 0; k < classes; ++k) {
      const V power = exponential(load(logits + k * LANES + v) - most);
      store(errors + k * LANES + v, power);
      sums += power;
    }
    store(top + v, most);
    store(total + v, sums);
    store(mean + v, plain / float(classes));
  }
  Sums sums = {};
  const float share = 1.0f / float(source.count), spread = label_smoothing / float(classes);
  for (int s = 0; s < LANES; ++s) {
    if (s >= end) {
      for (int k = 0; k < classes; ++k) errors[k * LANES + s] = 0.0f;
      continue;
    }
    const int label = int(source.labels[source.rows ? source.rows[first + s] : first + s]);
    const float norm = std::log(total[s]) + top[s];
    sums.loss += (1.0f - label_smoothing) * (norm - logits[label * LANES + s]) + (label_smoothing > 0 ? label_smoothing * (norm - mean[s]) : 0.0f);
    int best = 0;
    for (int k = 1; k < classes; ++k)
      if (logits[k * LANES + s] > logits[best * LANES + s]) best = k;
    sums.correct += best == label;
    const float scale = share / total[s];
    for (int k = 0; k < classes; ++k)
      errors[k * LANES + s] = errors[k * LANES + s] * scale - share * (spread + (k == label ? 1.0f - label_smoothing : 0.0f));
  }
  return sums;
}

}  // namespace paribus
