// Scheduler of the fibers. One launch, one block, one fiber at a time; not safe to call from two threads.
#include "fibers.h"

#include <setjmp.h>
#include <ucontext.h>

#include <algorithm>
#include <array>
#include <exception>
#include <memory>
#include <numeric>
#include <stdexcept>
#include <vector>

namespace cuda_on_cpu {

Place thread, block_extent;
std::int64_t block[2], grid[2];
std::uint64_t block_serial = 0;

namespace {

constexpr int kWarp = 32, kMaxThreads = 1024;
constexpr std::size_t kStack = 1 << 16, kMaxExchange = 16;
constexpr std::uint64_t kYieldOneIn = 8;  // accesses to shared memory and atomics
constexpr std::uint64_t kChange = 256;

// A fiber lives as long as the library: ucontext starts it once, _setjmp and _longjmp change between fibers (glibc's
// swapcontext makes a system call each time).
struct Fiber {
  ucontext_t context;
  jmp_buf resume;
  std::unique_ptr<char[]> stack{new char[kStack]};
  bool started = false, done = false;
  Place place;
  int index;
};

struct Warp {
  std::vector<Fiber*> runnable;
  std::vector<Fiber*> waiting;  // in a shuffle
  // Two generations: a lane may enter its next shuffle while another still has to read this one.
  std::array<std::array<unsigned char, kMaxExchange>, kWarp> values[2];
  int generation = 0;
};

struct Block {
  std::vector<Fiber*> waiting;  // at the barrier
  std::vector<Warp> warps;
  std::vector<int> order;  // of the warps, in a block where some run ahead of the others as far as they get
  const char* file = nullptr;
  int line = 0;
  bool any = false, result = false;
  int threads = 0, done = 0;
};

std::vector<std::unique_ptr<Fiber>> pool;
Block now;
Fiber* current = nullptr;
jmp_buf scheduler;
const std::function<void()>* body = nullptr;
std::string error, dropped, passed;
std::vector<std::pair<const char*, int>> sites;
std::uint64_t random_state = 1;

std::uint64_t random_below(std::uint64_t bound) {  // splitmix64
  std::uint64_t z = random_state += 0x9e3779b97f4a7c15u;
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
  return (z ^ (z >> 31)) % bound;
}

template <typename Element>
void shuffle(std::vector<Element>& elements) {
  for (std::size_t k = elements.size(); k > 1; --k) std::swap(elements[k - 1], elements[random_below(k)]);
}

void leave() {  // back to the scheduler, until it resumes this fiber
  if (_setjmp(current->resume) == 0) _longjmp(scheduler, 1);
}

void fiber_main() {
  for (;;) {
    try {
      (*body)();
    } catch (const std::exception& thrown) {
      error = thrown.what();
    }
    current->done = true;
    ++now.done;
    leave();
  }
}

void resume(Fiber* fiber) {
  current = fiber;
  thread = fiber->place;
  if (_setjmp(scheduler) != 0) return;
  if (fiber->started) _longjmp(fiber->resume, 1);
  fiber->started = true;
  setcontext(&fiber->context);
}

void make_runnable(Fiber* fiber) { now.warps[fiber->index / kWarp].runnable.push_back(fiber); }

void release(std::vector<Fiber*>& waiting) {
  for (Fiber* fiber : waiting) make_runnable(fiber);
  waiting.clear();
}

// The next fiber, null when none can run. In half of the blocks any warp may be next; in the others the first of a
// random order that can run, but for one choice in kChange. The lanes of a warp come in random order always.
Fiber* next_fiber() {
  const std::size_t warps = now.warps.size();
  const bool ordered = !now.order.empty() && random_below(kChange) != 0;
  const std::size_t first = ordered ? 0 : random_below(warps);
  for (std::size_t k = 0; k < warps; ++k) {
    const std::size_t place = (first + k) % warps;
    std::vector<Fiber*>& runnable = now.warps[ordered ? now.order[place] : place].runnable;
    if (runnable.empty()) continue;
    std::swap(runnable[random_below(runnable.size())], runnable.back());
    Fiber* fiber = runnable.back();
    runnable.pop_back();
    return fiber;
  }
  return nullptr;
}

std::string site(const char* file, int line) {
  const char* name = std::strrchr(file, '/');
  return std::string(name ? name + 1 : file) + ":" + std::to_string(line);
}

void note_barrier(const char* file, int line) {
  for (const auto& known : sites)
    if (known.first == file && known.second == line) return;
  sites.emplace_back(file, line);
  const std::string text = site(file, line) + "\n";
  if (passed.find(text) == std::string::npos) passed += text;
}

Fiber* fiber_for(int index) {
  if (index == static_cast<int>(pool.size())) {
    auto fiber = std::make_unique<Fiber>();
    getcontext(&fiber->context);
    fiber->context.uc_stack.ss_sp = fiber->stack.get();
    fiber->context.uc_stack.ss_size = kStack;
    fiber->context.uc_link = nullptr;
    makecontext(&fiber->context, fiber_main, 0);
    pool.push_back(std::move(fiber));
  }
  return pool[index].get();
}

void start_block(int threads) {
  now.waiting.clear();
  now.warps.resize(threads / kWarp);
  for (Warp& warp : now.warps) warp.runnable.clear(), warp.waiting.clear(), warp.generation = 0;
  now.order.resize(random_below(2) ? threads / kWarp : 0);
  std::iota(now.order.begin(), now.order.end(), 0);
  shuffle(now.order);
  now.any = false;
  now.threads = threads;
  now.done = 0;
  ++block_serial;
  for (int index = 0; index < threads; ++index) {
    Fiber* fiber = fiber_for(index);
    fiber->done = false;
    fiber->index = index;
    fiber->place = {index % block_extent.x, index / block_extent.x};
    make_runnable(fiber);
  }
}

void run_block(int threads) {
  start_block(threads);
  while (error.empty()) {
    Fiber* fiber = next_fiber();
    if (!fiber) break;
    resume(fiber);
  }
  if (error.empty() && now.done < threads)
    error = std::to_string(threads - now.done) + " threads wait for others that have returned or wait elsewhere, " +
            std::to_string(now.waiting.size()) + " of them at the barrier " +
            (now.waiting.empty() ? std::string("(none)") : site(now.file, now.line));
  if (error.empty()) return;
  pool.clear();  // what was suspended is abandoned
  throw std::runtime_error(error);
}

}  // namespace

void configure(std::uint64_t seed, const std::string& dropped_barrier) {
  random_state = seed;
  dropped = dropped_barrier;
  error.clear();
}

const std::string& barriers_passed() { return passed; }

void run(unsigned grid_x, unsigned grid_y, unsigned block_x, unsigned block_y, const std::function<void()>& kernel) {
  const unsigned threads = block_x * block_y;
  if (!grid_x || !grid_y || !threads || threads > kMaxThreads || threads % kWarp)
    throw std::runtime_error("an empty grid, or a block that is not one to 32 whole warps");
  body = &kernel;
  block_extent = {static_cast<int>(block_x), static_cast<int>(block_y)};
  grid[0] = grid_x;
  grid[1] = grid_y;
  std::vector<std::int64_t> order(static_cast<std::size_t>(grid_x) * grid_y);
  std::iota(order.begin(), order.end(), 0);
  shuffle(order);
  for (const std::int64_t k : order) {
    block[0] = k % grid_x;
    block[1] = k / grid_x;
    run_block(static_cast<int>(threads));
  }
}

void fail(const std::string& message) {
  error = message;
  leave();
  std::terminate();  // an abandoned fiber is never resumed
}

void perhaps_yield() {
  if (random_below(kYieldOneIn) != 0) return;
  make_runnable(current);
  leave();
}

bool barrier(const char* file, int line, bool value, bool may_be_dropped) {
  if (may_be_dropped) note_barrier(file, line);
  if (may_be_dropped && !dropped.empty() && site(file, line) == dropped) return perhaps_yield(), false;
  if (now.waiting.empty()) {
    now.file = file;
    now.line = line;
  } else if (now.line != line || std::strcmp(now.file, file) != 0) {
    fail("threads of one block meet at two barriers, " + site(now.file, now.line) + " and " + site(file, line));
  }
  now.any |= value;
  now.waiting.push_back(current);
  if (static_cast<int>(now.waiting.size()) == now.threads) {
    now.result = now.any;
    now.any = false;
    release(now.waiting);
  }
  leave();
  return now.result;
}

void exchange(const void* mine, void* theirs, std::size_t bytes, int offset) {
  if (bytes > kMaxExchange) fail("a shuffle of too many bytes");
  Warp& warp = now.warps[current->index / kWarp];
  const int lane = current->index % kWarp, generation = warp.generation;
  std::memcpy(warp.values[generation][lane].data(), mine, bytes);
  warp.waiting.push_back(current);
  if (warp.waiting.size() == kWarp) {
    warp.generation = 1 - generation;
    release(warp.waiting);
  }
  leave();
  const int other = lane + offset < kWarp ? lane + offset : lane;
  std::memcpy(theirs, warp.values[generation][other].data(), bytes);
}

}  // namespace cuda_on_cpu
