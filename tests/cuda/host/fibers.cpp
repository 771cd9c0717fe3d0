// Scheduler of the fibers. One launch and one fiber at a time; not safe to call from two threads.
#include "cuda/runtime/device.cuh"

#include <setjmp.h>
#include <ucontext.h>

#include <algorithm>
#include <array>
#include <exception>
#include <limits>
#include <map>
#include <memory>
#include <numeric>
#include <stdexcept>
#include <vector>

namespace cuda_on_cpu {

Place thread, block_extent;
std::int64_t block[2], grid[2];
std::uint64_t block_serial = 0;
int slot = 0, cluster = 1;

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
  int index;  // in its block
  int slot;
  int block_barriers = 0, wide_barriers = 0;  // passed
};

struct Warp {
  std::vector<Fiber*> runnable;
  std::vector<Fiber*> waiting;  // in a shuffle
  // Two generations: a lane may enter its next shuffle while another still has to read this one.
  std::array<std::array<unsigned char, kMaxExchange>, kWarp> values[2];
  int generation = 0;
};

// One barrier: who waits there, and where it stands.
struct Meeting {
  std::vector<Fiber*> waiting;
  const char* file = nullptr;
  int line = 0;
};

struct Block {
  Meeting meeting;
  std::vector<Warp> warps;
  std::int64_t place[2];
  std::uint64_t serial = 0;
  bool any = false, result = false;
  int done = 0;
  std::vector<unsigned char> shared;
};

std::vector<std::unique_ptr<Fiber>> pool;
std::vector<Block> gang;                     // the blocks that run side by side
std::map<const void*, Meeting> wide;         // barriers of several blocks, by counter
std::vector<std::pair<int, int>> order;      // of the warps (slot, warp), where some run ahead of the others
int threads_of_block = 0;
Fiber* current = nullptr;
jmp_buf scheduler;
const std::function<void()>* body = nullptr;
std::string error, dropped, passed;
std::vector<std::pair<const char*, int>> sites;
std::uint64_t random_state = 1, serials = 0, launches = 0;
wbm::cuda::Limits limits{3, 0, 1, false, 0};

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
    Block& own = gang[current->slot];
    if (++own.done == threads_of_block && cluster > 1) {
      // A peer that still reads the shared memory of a block that has left reads what is no longer there.
      Stamp last = now();
      last.block_barriers = std::numeric_limits<std::int32_t>::max();
      touch(own.shared.data(), own.shared.size(), true, last);
    }
    leave();
  }
}

void resume(Fiber* fiber) {
  current = fiber;
  thread = fiber->place;
  slot = fiber->slot;
  const Block& own = gang[slot];
  block[0] = own.place[0];
  block[1] = own.place[1];
  block_serial = own.serial;
  if (_setjmp(scheduler) != 0) return;
  if (fiber->started) _longjmp(fiber->resume, 1);
  fiber->started = true;
  setcontext(&fiber->context);
}

void make_runnable(Fiber* fiber) { gang[fiber->slot].warps[fiber->index / kWarp].runnable.push_back(fiber); }

void release(std::vector<Fiber*>& waiting) {
  for (Fiber* fiber : waiting) make_runnable(fiber);
  waiting.clear();
}

// The next fiber, null when none can run. In half of the gangs any warp may be next; in the others the first of a
// random order that can run, but for one choice in kChange. The lanes of a warp come in random order always.
Fiber* next_fiber() {
  const std::size_t per_block = gang[0].warps.size(), warps = gang.size() * per_block;
  const bool ordered = !order.empty() && random_below(kChange) != 0;
  const std::size_t first = ordered ? 0 : random_below(warps);
  for (std::size_t k = 0; k < warps; ++k) {
    const std::size_t place = (first + k) % warps;
    Warp& warp = ordered ? gang[order[place].first].warps[order[place].second]
                         : gang[place / per_block].warps[place % per_block];
    if (warp.runnable.empty()) continue;
    std::swap(warp.runnable[random_below(warp.runnable.size())], warp.runnable.back());
    Fiber* fiber = warp.runnable.back();
    warp.runnable.pop_back();
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

void start_block(int slot, std::int64_t x, std::int64_t y) {
  Block& own = gang[slot];
  own.meeting.waiting.clear();
  own.warps.resize(threads_of_block / kWarp);
  for (Warp& warp : own.warps) warp.runnable.clear(), warp.waiting.clear(), warp.generation = 0;
  own.place[0] = x;
  own.place[1] = y;
  own.serial = ++serials;
  own.any = false;
  own.done = 0;
  std::fill(own.shared.begin(), own.shared.end(), 0xff);
  watch(own.shared.data(), own.shared.size(), "shared memory of the launch", true);
  for (int index = 0; index < threads_of_block; ++index) {
    Fiber* fiber = fiber_for(slot * threads_of_block + index);
    fiber->done = false;
    fiber->block_barriers = fiber->wide_barriers = 0;
    fiber->index = index;
    fiber->slot = slot;
    fiber->place = {index % block_extent.x, index / block_extent.x};
    make_runnable(fiber);
  }
}

// Runs the blocks that start_block has set up, side by side.
void run_gang() {
  wide.clear();
  order.clear();
  if (random_below(2))
    for (std::size_t k = 0; k < gang.size(); ++k)
      for (std::size_t warp = 0; warp < gang[k].warps.size(); ++warp)
        order.emplace_back(static_cast<int>(k), static_cast<int>(warp));
  shuffle(order);
  while (error.empty()) {
    Fiber* fiber = next_fiber();
    if (!fiber) break;
    resume(fiber);
  }
  int waiting = 0, meeting = 0;
  std::string where = "(none)";
  const auto look = [&](const Meeting& at) {
    if (at.waiting.empty()) return;
    meeting += static_cast<int>(at.waiting.size());
    where = site(at.file, at.line);
  };
  for (const Block& one : gang) waiting += threads_of_block - one.done, look(one.meeting);
  for (const auto& entry : wide) look(entry.second);
  if (error.empty() && waiting > 0)
    error = std::to_string(waiting) + " threads wait for others that have returned or wait elsewhere, " +
            std::to_string(meeting) + " of them at the barrier " + where;
  if (error.empty()) return;
  pool.clear();  // what was suspended is abandoned
  throw std::runtime_error(error);
}

void check(const wbm::cuda::Shape& shape) {
  const unsigned threads = shape.block.x * shape.block.y;
  const auto refuse = [](bool wrong, const char* message) {
    if (wrong) throw std::runtime_error(message);
  };
  refuse(!shape.grid.x || !shape.grid.y || !threads || threads > kMaxThreads || threads % kWarp,
         "an empty grid, or a block that is not one to 32 whole warps");
  refuse(shape.grid.x > wbm::cuda::kMaxGridX || shape.grid.y > wbm::cuda::kMaxGridY, "a grid beyond the limits");
  refuse(shape.shared > limits.shared, "more shared memory than a block may have");
  refuse(shape.cluster < 1 || static_cast<int>(shape.cluster) > limits.cluster, "a cluster that the device does not have");
  refuse(shape.grid.x % shape.cluster != 0, "a grid that is not of whole clusters");
  refuse(shape.cooperative && !limits.cooperative, "a cooperative launch that the device does not have");
  refuse(shape.cooperative && static_cast<int>(shape.grid.x * shape.grid.y) > limits.multiprocessors,
         "a cooperative launch of more blocks than run at once");
}

// Whether the threads at a barrier stand at the same one; the first to come says where it is.
void gather(Meeting& meeting, const char* file, int line, const char* whose) {
  if (meeting.waiting.empty()) {
    meeting.file = file;
    meeting.line = line;
  } else if (meeting.line != line || std::strcmp(meeting.file, file) != 0) {
    fail(std::string("threads of one ") + whose + " meet at two barriers, " + site(meeting.file, meeting.line) + " and " +
         site(file, line));
  }
  meeting.waiting.push_back(current);
}

bool left_out(const char* file, int line) {
  note_barrier(file, line);
  return !dropped.empty() && site(file, line) == dropped;
}

}  // namespace

void configure(std::uint64_t seed, const std::string& dropped_barrier) {
  random_state = seed;
  dropped = dropped_barrier;
  error.clear();
}

void configure_device(const wbm::cuda::Limits& wanted) { limits = wanted; }

const wbm::cuda::Limits& device() { return limits; }

const std::string& barriers_passed() { return passed; }
void forget_barriers() {
  passed.clear();
  sites.clear();
}

Stamp now() {
  if (!current) return {};
  return {launches, gang[current->slot].serial, current->index, current->block_barriers, current->wide_barriers};
}

void run(const wbm::cuda::Shape& shape, const std::function<void()>& kernel) {
  check(shape);
  ++launches;
  body = &kernel;
  threads_of_block = static_cast<int>(shape.block.x * shape.block.y);
  block_extent = {static_cast<int>(shape.block.x), static_cast<int>(shape.block.y)};
  grid[0] = shape.grid.x;
  grid[1] = shape.grid.y;
  cluster = static_cast<int>(shape.cluster);
  const std::int64_t blocks = grid[0] * grid[1], together = shape.cooperative ? blocks : cluster;
  gang.resize(together);
  for (Block& one : gang) one.shared.resize(shape.shared);
  std::vector<std::int64_t> turn(blocks / together);
  std::iota(turn.begin(), turn.end(), 0);
  shuffle(turn);
  for (const std::int64_t k : turn) {
    for (std::int64_t j = 0; j < together; ++j)
      start_block(static_cast<int>(j), (k * together + j) % grid[0], (k * together + j) / grid[0]);
    run_gang();
  }
  current = nullptr;
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
  if (may_be_dropped && left_out(file, line)) return perhaps_yield(), false;
  Block& own = gang[current->slot];
  gather(own.meeting, file, line, "block");
  own.any |= value;
  if (static_cast<int>(own.meeting.waiting.size()) == threads_of_block) {
    own.result = own.any;
    own.any = false;
    release(own.meeting.waiting);
  }
  leave();
  ++current->block_barriers;
  return gang[current->slot].result;
}

void wide_barrier(const void* counter, int blocks, const char* file, int line) {
  if (left_out(file, line)) return perhaps_yield();
  // The blocks of a cluster stand side by side in the gang; two clusters may wait at once.
  const void* key = counter ? counter : &gang[current->slot - current->slot % cluster];
  Meeting& meeting = wide[key];
  gather(meeting, file, line, "group");
  if (static_cast<int>(meeting.waiting.size()) == blocks * threads_of_block) release(meeting.waiting);
  leave();
  ++current->block_barriers;
  ++current->wide_barriers;
}

unsigned char* dynamic_memory(int of) {
  Block& owner = gang[of];
  if (owner.done == threads_of_block) fail("shared memory of a block that has returned");
  return owner.shared.data();
}

std::size_t dynamic_bytes() { return gang[current->slot].shared.size(); }

void exchange(const void* mine, void* theirs, std::size_t bytes, const std::function<int(int)>& source) {
  if (bytes > kMaxExchange) fail("a shuffle of too many bytes");
  Warp& warp = gang[current->slot].warps[current->index / kWarp];
  const int lane = current->index % kWarp, generation = warp.generation;
  std::memcpy(warp.values[generation][lane].data(), mine, bytes);
  warp.waiting.push_back(current);
  if (warp.waiting.size() == kWarp) {
    warp.generation = 1 - generation;
    release(warp.waiting);
  }
  leave();
  std::memcpy(theirs, warp.values[generation][source(lane)].data(), bytes);
}

}  // namespace cuda_on_cpu
