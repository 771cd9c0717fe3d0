// The few functions of OpenMP's run-time library that g++ calls for csrc/cpu, on std::thread, for ThreadSanitizer only.
//
// libgomp is not instrumented: ThreadSanitizer cannot see that its fork, join and barriers order memory, and reports a race
// at every loop that follows another one. Suppressing what comes from libgomp would suppress the true races of the loops'
// bodies too. Linked in libgomp's place, this file makes each of those edges a mutex, a condition variable or a join
// that the sanitizer knows, so that what is left to report is a race of the solver. A construct that the solver starts to use
// and that is missing here is an error at link time.
#include <condition_variable>
#include <cstddef>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

namespace {

// A loop with schedule(dynamic) that a team is in.
struct Loop {
  long next, end, step, chunk;
};

struct Team {
  explicit Team(int size_) : size(size_) {}
  const int size;
  std::mutex mutex;
  std::condition_variable arrived;
  int waiting = 0;
  long generation = 0;
  std::vector<std::unique_ptr<Loop>> loops;  // in program order, the same for all threads
};

struct Place {
  Team* team = nullptr;
  int number = 0;
  std::size_t loops = 0;  // loops that this thread has started
};

thread_local Place here;

void enter(Team& team, int number, void (*body)(void*), void* data) {
  const Place outside = here;
  here = {&team, number, 0};
  body(data);
  here = outside;
}

}  // namespace

extern "C" {

int omp_get_thread_num() { return here.number; }
int omp_get_num_threads() { return here.team ? here.team->size : 1; }

void GOMP_parallel(void (*body)(void*), void* data, unsigned threads, unsigned) {
  Team team(threads ? static_cast<int>(threads) : 1);
  std::vector<std::thread> others;
  for (int number = 1; number < team.size; ++number)
    others.emplace_back([&team, number, body, data] { enter(team, number, body, data); });
  enter(team, 0, body, data);
  for (std::thread& other : others) other.join();
}

void GOMP_barrier() {
  Team* team = here.team;
  if (!team || team->size == 1) return;
  std::unique_lock<std::mutex> lock(team->mutex);
  const long generation = team->generation;
  if (++team->waiting == team->size) {
    team->waiting = 0;
    ++team->generation;
    team->arrived.notify_all();
  } else {
    team->arrived.wait(lock, [&] { return team->generation != generation; });
  }
}

bool GOMP_loop_nonmonotonic_dynamic_next(long* begin, long* end) {
  const std::lock_guard<std::mutex> lock(here.team->mutex);
  Loop& loop = *here.team->loops[here.loops - 1];
  if (loop.next >= loop.end) return false;
  *begin = loop.next;
  loop.next += loop.chunk * loop.step;
  *end = loop.next < loop.end ? loop.next : loop.end;
  return true;
}

// The solver's loops count upwards.
bool GOMP_loop_nonmonotonic_dynamic_start(long first, long last, long step, long chunk, long* begin, long* end) {
  {
    const std::lock_guard<std::mutex> lock(here.team->mutex);
    if (here.loops == here.team->loops.size())
      here.team->loops.push_back(std::make_unique<Loop>(Loop{first, last, step, chunk}));
    ++here.loops;
  }
  return GOMP_loop_nonmonotonic_dynamic_next(begin, end);
}

void GOMP_loop_end_nowait() {}
void GOMP_loop_end() { GOMP_barrier(); }

}  // extern "C"
