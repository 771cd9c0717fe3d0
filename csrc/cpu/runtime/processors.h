// The processors of this process: how many there are, how many threads of the solver are at work on them, and whether other
// processes are as well.
#pragma once

#include <chrono>

namespace wbm {

using Clock = std::chrono::steady_clock;

// That the affinity of the process allows.
int processors();

// A forked child has none of the threads of its parent.
bool forked();

// `count` more threads of the solver at work. False, and nothing is reserved, where they would be more than the processors.
bool reserve_processors(int count);
// The same whether there are so many or not: the threads that call the solver.
void add_threads(int count);
void release_processors(int count);

// A wait that took much longer than `expected` means that a thread was descheduled: other processes need the processor. Loops
// then stay on one thread for 16 times as long, so that no more than a sixteenth of the time is lost to such waits.
void note_wait(Clock::duration waited, Clock::duration expected);
bool contended();

}  // namespace wbm
