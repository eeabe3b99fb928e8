// Random chains of layers with random shapes, batches and threads: steps and predictions, for the sanitisers to watch.
// Its one argument is how many chains to make. It exits with 1 where a loss or a logit is not finite.
#include "api.cpp"

#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <random>

namespace {

std::mt19937 random_bits(0);

int draw(int low, int high) { return std::uniform_int_distribution<int>(low, high)(random_bits); }

struct Chain {
  std::vector<LayerSpec> specs;
  std::vector<std::unique_ptr<std::vector<int32_t>>> connections;
  long parameters = 0;
  paribus::Maps in, out;

  void add(LayerSpec spec) {
    const auto layer = build(spec, out, specs.size());
    parameters += layer->parameters;
    out = layer->out;
    specs.push_back(spec);
  }
};

// Kernel, step and border along one side; a pooling's border is at most half its kernel.
void draw_extent(int size, bool pooling, int32_t& kernel, int32_t& step, int32_t& border) {
  border = draw(0, 3);
  kernel = draw(pooling ? std::max(1, 2 * border) : border + 1, std::min(7, size + 2 * border));
  step = draw(1, 3);
}

LayerSpec with_window(int kind, const paribus::Maps& maps, bool pooling) {
  LayerSpec spec = {};
  spec.kind = kind;
  draw_extent(maps.height, pooling, spec.height, spec.down, spec.above);
  draw_extent(maps.width, pooling, spec.width, spec.right, spec.left);
  return spec;
}

void add_convolution(Chain& chain) {
  LayerSpec spec = with_window(CONVOLUTION, chain.out, false);
  spec.outputs = draw(1, 9);
  spec.has_bias = draw(0, 1);
  auto& places = *chain.connections.emplace_back(std::make_unique<std::vector<int32_t>>());
  int32_t kernels = 0;
  for (int place = 0; place < spec.outputs * chain.out.channels; ++place) places.push_back(place == 0 || draw(0, 4) ? kernels++ : -1);
  spec.connections = places.data();
  chain.add(spec);
}

void add_layer(Chain& chain) {
  const int kind = draw(CONVOLUTION, DROPOUT);
  const bool was_activation = !chain.specs.empty() && chain.specs.back().kind >= TANH && chain.specs.back().kind <= SIGMOID;
  LayerSpec spec = {};
  spec.kind = kind;
  if (kind == CONVOLUTION) return add_convolution(chain);
  if (kind == LINEAR || (kind == TRAINABLE && std::min(chain.out.height, chain.out.width) < 2)) return;
  if (kind == AVERAGE || kind == MAXIMUM) spec = with_window(kind, chain.out, true);
  if (kind == TRAINABLE) spec.height = spec.width = spec.down = spec.right = 2;
  if (kind == CROP) spec.height = draw(1, chain.out.height), spec.width = draw(1, chain.out.width);
  if (kind == DROPOUT) spec.value = 0.3f;
  spec.in_place = kind >= TANH && kind <= SIGMOID && !was_activation;
  chain.add(spec);
}

// Makes some steps with some batches, through exactly as much memory as they need, and predicts.
bool train(const Chain& chain, int steps, int largest_batch) {
  const long count = chain.parameters, pixels = chain.in.size(), classes = chain.out.size();
  std::vector<float> weights(count), gradients(count), first(count), second(count);
  for (float& weight : weights) weight = float(draw(-100, 100)) / 400;
  void* network = paribus_create(chain.specs.data(), int(chain.specs.size()), chain.in.channels, chain.in.height, chain.in.width,
                                 weights.data(), gradients.data(), draw(1, 3));
  if (!network || paribus_parameters(network) != count) return false;
  bool finite = true;
  for (int step = 1; step <= steps; ++step) {
    const long batch = draw(1, largest_batch), images = batch + draw(0, 5);
    const bool as_bytes = draw(0, 1);
    std::vector<uint8_t> bytes(as_bytes ? images * pixels : 0);
    std::vector<float> table(as_bytes ? chain.in.channels * 256 : 0), floats(as_bytes ? 0 : images * pixels);
    std::vector<int64_t> rows(batch), labels(images);
    for (uint8_t& value : bytes) value = uint8_t(draw(0, 255));
    for (float& value : table) value = float(draw(-100, 100)) / 100;
    for (float& value : floats) value = float(draw(-100, 100)) / 100;
    for (int64_t& row : rows) row = draw(0, int(images) - 1);
    for (int64_t& label : labels) label = draw(0, int(classes) - 1);
    const paribus::Source source = {as_bytes ? bytes.data() : nullptr, table.data(), floats.data(), rows.data(), labels.data(), batch};
    const paribus::Optimizer optimizer = {draw(0, 4), 0, 0.5, 0.001, 0.9, 0.999, 0.99, 1e-8};
    paribus::Sums sums;
    paribus_step(network, &source, 0.1f, step % 2, uint64_t(step), step % 7 ? &optimizer : nullptr, 1e-4, step, weights.data(),
                 gradients.data(), first.data(), second.data(), &sums);
    finite = finite && std::isfinite(sums.loss) && std::isfinite(sums.squared_norm);
    if (step > 3 && step < steps) continue;
    std::vector<float> logits(batch * classes);
    paribus_predict(network, &source, logits.data());
    for (float logit : logits) finite = finite && std::isfinite(logit);
  }
  paribus_destroy(network);
  return finite;
}

Chain draw_chain(int sides, int depth) {
  Chain chain;
  chain.in = chain.out = {draw(1, 9), draw(1, sides), draw(1, sides)};
  for (int layer = draw(0, depth); layer > 0; --layer) add_layer(chain);
  LayerSpec head = {};
  head.kind = LINEAR;
  head.outputs = draw(1, 30);
  head.has_bias = draw(0, 1);
  chain.add(head);
  return chain;
}

Chain small_chain() {
  Chain chain;
  chain.in = chain.out = {1, 6, 6};
  std::vector<int32_t>& places = *chain.connections.emplace_back(std::make_unique<std::vector<int32_t>>(std::vector<int32_t>{0, 1, 2}));
  chain.add({CONVOLUTION, 3, 3, 1, 1, 1, 1, 3, 1, 0, 0, 0, places.data()});
  chain.add({TANH, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, nullptr});
  chain.add({MAXIMUM, 2, 2, 2, 2, 0, 0, 0, 0, 0, 0, 0, nullptr});
  chain.add({DROPOUT, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0.2f, 0, nullptr});
  chain.add({LINEAR, 0, 0, 0, 0, 0, 0, 4, 1, 0, 0, 0, nullptr});
  return chain;
}

}  // namespace

int main(int, char** arguments) {
  for (int chain = std::atoi(arguments[1]); chain > 0; --chain)
    if (!train(draw_chain(20, 7), 3, 40)) return std::printf("chain %d is not finite\n", chain), 1;
  if (!train(small_chain(), 10000, 4)) return std::printf("10,000 steps are not finite\n"), 1;
  LayerSpec unknown = {};
  unknown.kind = DROPOUT + 1;
  if (paribus_create(&unknown, 1, 1, 1, 1, nullptr, nullptr, 1)) return std::printf("an unknown layer was taken\n"), 1;
  return 0;
}
