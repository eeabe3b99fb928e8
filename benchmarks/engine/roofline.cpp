// Times the kernels on LeNet-5 as the network runs them, and the processor's own multiply-adds beside them.
// Prints "round,net,part,seconds", one line per part; roofline.py compiles and reads it.
//
// Usage: roofline ROUNDS GROUPS. A round is the peak, then for each net GROUPS groups of 16 images layer by layer, then
// whole steps. The seconds of a part are the median over the groups of a round (of the peak: the best of many).
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <map>
#include <string>

#include "network.h"
#include "optimizer.h"

using namespace paribus;

namespace {

constexpr int IMAGES = 60000, SIDE = 32, CLASSES = 10;
constexpr int ACCUMULATORS = 12;  // Enough for a latency of 6 at two a cycle, and few enough for 16 registers.
constexpr long PEAK_TURNS = 200000;

using Clock = std::chrono::steady_clock;
double seconds_since(Clock::time_point start) { return std::chrono::duration<double>(Clock::now() - start).count(); }

using Times = std::map<std::string, std::vector<double>>;

double median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  const size_t middle = values.size() / 2;
  return values.size() % 2 ? values[middle] : (values[middle - 1] + values[middle]) / 2;
}

// Seconds per multiply-add of one float, at best.
double peak() {
  volatile float opaque = 0.999f;
  const V factor = all(opaque), term = all(opaque * 1e-3f);
  double best = 1e9;
  for (int attempt = 0; attempt < 50; ++attempt) {
    V acc[ACCUMULATORS];
    for (int i = 0; i < ACCUMULATORS; ++i) acc[i] = all(opaque * float(i));  // All different, or one would do for all.
    const auto start = Clock::now();
    for (long turn = 0; turn < PEAK_TURNS; ++turn)
#pragma GCC unroll 16
      for (int i = 0; i < ACCUMULATORS; ++i) acc[i] = acc[i] * factor + term;
    best = std::min(best, seconds_since(start));
    for (V& each : acc) opaque = opaque + 0.0f * sum(each);  // Someone reads them, so that they must be computed.
  }
  return best / (double(PEAK_TURNS) * ACCUMULATORS * WIDTH);
}

struct Named {
  const char* name;
  std::unique_ptr<Layer> layer;
};

template <typename Function, typename Pool>
std::vector<Named> lenet(Pool pool) {
  static const std::vector<int32_t> kernels = [] {
    std::vector<int32_t> all_to_all(6 * 16);
    for (size_t i = 0; i < all_to_all.size(); ++i) all_to_all[i] = int32_t(i);
    return all_to_all;
  }();
  std::vector<Named> layers;
  Maps maps = {1, SIDE, SIDE};
  const Window five = {5, 5, 1, 1, 0, 0}, two = {2, 2, 2, 2, 0, 0};
  auto add = [&](const char* name, std::unique_ptr<Layer> layer) {
    maps = layer->out;
    layers.push_back({name, std::move(layer)});
  };
  auto activate = [&](const char* name) {
    add(name, activation<Function>(maps));
    layers.back().layer->in_place = true;  // As network.py asks for.
  };
  add("conv1", convolution(maps, 6, five, true, kernels.data()));
  activate("activation1");
  add("pooling1", pool(maps, two));
  add("conv2", convolution(maps, 16, five, true, kernels.data()));
  activate("activation2");
  add("pooling2", pool(maps, two));
  add("fc1", std::make_unique<Linear>(maps, 120, true));
  activate("activation3");
  add("fc2", std::make_unique<Linear>(maps, 84, true));
  activate("activation4");
  add("fc3", std::make_unique<Linear>(maps, CLASSES, true));
  return layers;
}

std::vector<Named> build(const std::string& net) {
  if (net == "tanh-avg")
    return lenet<Tanh>([](Maps maps, Window window) { return std::make_unique<SumPooling>(maps, window, false); });
  return lenet<Relu>([](Maps maps, Window window) { return std::make_unique<MaxPooling>(maps, window); });
}

struct Images {  // Made-up bytes; as many as MNIST has, so that a batch comes from as far away in memory.
  std::vector<uint8_t> bytes = std::vector<uint8_t>(size_t(IMAGES) * SIDE * SIDE);
  std::vector<float> table = std::vector<float>(256 * CLASSES);
  std::vector<int64_t> labels = std::vector<int64_t>(IMAGES), rows = std::vector<int64_t>(IMAGES);
  uint64_t state = 1;

  Images() {
    for (uint8_t& byte : bytes) byte = uint8_t(draw(256));
    for (size_t i = 0; i < table.size(); ++i) table[i] = (float(i % 256) - 128.0f) / 128.0f;
    for (int64_t& label : labels) label = draw(CLASSES);
    for (int64_t i = 0; i < IMAGES; ++i) rows[size_t(i)] = i;
    for (int64_t i = IMAGES - 1; i > 0; --i) std::swap(rows[size_t(i)], rows[size_t(draw(uint64_t(i) + 1))]);
  }
  int64_t draw(uint64_t below) {
    state = state * 6364136223846793005ull + 1442695040888963407ull;
    return int64_t((state >> 33) % below);
  }
  Source batch(long number, long count) const {
    const long first = number * count % (IMAGES - count);
    return {bytes.data(), table.data(), nullptr, rows.data() + first, labels.data(), count};
  }
};

std::vector<float> initial_weights(Images& images, long count) {
  std::vector<float> weights;
  for (long i = 0; i < count; ++i) weights.push_back((float(images.draw(2001)) - 1000.0f) * 1e-4f);
  return weights;
}

// The whole network on one thread, with the update: what `paribus_step` does.
class Trained {
 public:
  Trained(Maps input, std::vector<std::unique_ptr<Layer>> layers, Images& images) : images_(images) {
    long count = 0;
    for (const auto& layer : layers) count += layer->parameters;
    weights_ = initial_weights(images, count);
    gradients_ = first_ = second_ = std::vector<float>(size_t(count));
    network_ = std::make_unique<Network>(input, std::move(layers), weights_.data(), gradients_.data(), 1);
  }
  void step(long batch_size) {
    const Source source = images_.batch(number_++, batch_size);
    const Sums sums = network_->differentiate(source, 0.0f, true, 0);
    if (!(sums.loss > 0)) std::abort();
    const Optimizer sgd = {0, 0, 0.0, 0.0, 0.9, 0.999, 0.99, 1e-8};
    update(sgd, 0.01, number_, long(weights_.size()), weights_.data(), gradients_.data(), first_.data(), second_.data());
  }
  void predict(long batch_size, float* logits) { network_->predict(images_.batch(number_++, batch_size), logits); }
  void differentiate(long batch_size) { network_->differentiate(images_.batch(number_++, batch_size), 0.0f, true, 0); }

 private:
  Images& images_;
  std::vector<float> weights_, gradients_, first_, second_;
  std::unique_ptr<Network> network_;
  long number_ = 0;
};

// One group of samples through all layers and back, with the clock read around each layer.
class Walk {
 public:
  Walk(std::vector<Named> layers, Images& images) : layers_(std::move(layers)) {
    long largest = 0;
    values_.emplace_back(layers_.front().layer->in.size() * LANES);
    for (const Named& each : layers_) {
      each.layer->prepare_desk(desks_.emplace_back());
      weights_.push_back(initial_weights(images, std::max(1L, each.layer->parameters)));
      if (!each.layer->in_place) values_.emplace_back(each.layer->out.size() * LANES);
      largest = std::max({largest, each.layer->in.size(), each.layer->out.size()});
    }
    for (Floats& errors : errors_) errors = Floats(largest * LANES);
    for (long i = 0; i < layers_.front().layer->in.size() * LANES; ++i)
      values_[0].get()[i] = float(images.draw(256)) / 128.0f - 1.0f;
    for (size_t i = 0; i < layers_.size(); ++i) layers_[i].layer->pack(weights_[i].data());
  }

  // Layers with parameters give both gradients in one call. Where not `whole`, the weights' alone is timed instead.
  void group(Times& times, bool whole) {
    const Pass pass = {true, 0, 0};
    std::vector<float*> values = {values_[0].get()};
    size_t next = 1;
    for (size_t i = 0; i < layers_.size(); ++i) {
      const Layer& layer = *layers_[i].layer;
      values.push_back(layer.in_place ? values.back() : values_[next++].get());
      const auto start = Clock::now();
      layer.forward(pass, weights_[i].data(), values[i], values[i + 1], desks_[i]);
      note(times, i, "forward", start);
    }
    float *error = errors_[0].get(), *other = errors_[1].get();
    for (long i = 0; i < CLASSES * LANES; ++i) error[i] = values.back()[i] * 1e-3f;
    for (size_t i = layers_.size(); i-- > 0;) {
      const Layer& layer = *layers_[i].layer;
      float* to = i == 0 ? nullptr : layer.in_place ? error : other;
      auto backward = [&](float* dx, const char* what) {
        const auto start = Clock::now();
        layer.backward(pass, weights_[i].data(), values[i], values[i + 1], error, dx, desks_[i]);
        if (what) note(times, i, what, start);
      };
      if (layer.parameters && (!to || !whole)) backward(nullptr, "weight gradient");
      if (to) backward(to, layer.parameters && !whole ? nullptr : "backward");
      if (to == other) std::swap(error, other);
    }
  }

 private:
  void note(Times& times, size_t index, const char* what, Clock::time_point start) {
    times[layers_[index].name + std::string(" ") + what].push_back(seconds_since(start));
  }
  std::vector<Named> layers_;
  std::vector<Desk> desks_;
  std::vector<std::vector<float>> weights_;
  std::vector<Floats> values_;
  Floats errors_[2];
};

std::vector<std::unique_ptr<Layer>> nothing(Maps maps) {
  std::vector<std::unique_ptr<Layer>> layers;
  layers.push_back(std::make_unique<Crop>(maps, 1, 1));
  return layers;
}

std::vector<std::unique_ptr<Layer>> unnamed(std::vector<Named> named) {
  std::vector<std::unique_ptr<Layer>> layers;
  for (Named& each : named) layers.push_back(std::move(each.layer));
  return layers;
}

class Bench {
 public:
  explicit Bench(const char* net)
      : net_(net),
        walk_(build(net), images_),
        whole_({1, SIDE, SIDE}, unnamed(build(net)), images_),
        gather_({1, SIDE, SIDE}, nothing({1, SIDE, SIDE}), images_),
        loss_({CLASSES, 1, 1}, nothing({CLASSES, 1, 1}), images_) {}

  // Networks of one layer that does next to nothing show what gathering images costs, and what the loss costs: the
  // latter is the difference between a step and a prediction of a network on ten pixels.
  void round(int number, int groups) {
    Times times;
    std::vector<float> logits(CLASSES * LANES);
    for (int group = 0; group < groups; ++group) {
      walk_.group(times, group % 2 == 0);
      timed(times, "gather", [&] { gather_.predict(LANES, logits.data()); });
      timed(times, "loss with its logits", [&] { loss_.differentiate(LANES); });
      timed(times, "logits alone", [&] { loss_.predict(LANES, logits.data()); });
    }
    for (long batch_size : {128L, 512L})
      for (long group = 0; group < std::max(3L * batch_size / LANES, long(groups)); group += batch_size / LANES)
        timed(times, "step of " + std::to_string(batch_size), [&] { whole_.step(batch_size); });
    for (const auto& [part, seconds] : times) std::printf("%d,%s,%s,%.6e\n", number, net_, part.c_str(), median(seconds));
    std::fflush(stdout);
  }

 private:
  template <typename Work>
  static void timed(Times& times, const std::string& part, Work work) {
    const auto start = Clock::now();
    work();
    times[part].push_back(seconds_since(start));
  }
  const char* net_;
  Images images_;
  Walk walk_;
  Trained whole_, gather_, loss_;
};

}  // namespace

int main(int count, char** words) {
  if (count != 3) return 2;
  const int rounds = std::atoi(words[1]), groups = std::atoi(words[2]);
  Bench tanh_avg("tanh-avg"), relu_max("relu-max");
  for (int number = -1; number < rounds; ++number) {  // The round before the first warms up and is not read.
    std::printf("%d,,peak,%.6e\n", number, peak());
    tanh_avg.round(number, groups);
    relu_max.round(number, groups);
  }
}
