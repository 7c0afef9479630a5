// Runs the kernels on the CPU: a fibre per thread where threads of a block work together, blocks one after the other. Every access goes through
// load and store, which know the allocations and who touched which value last: what lies outside, what nobody wrote, and what two
// threads of a launch (or of a barrier interval, in shared memory) touch without order is a fault. Not shown: timing, and what
// registers a real compiler needs.
#pragma once
#include <cmath>
#include <csetjmp>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <ucontext.h>
#include <vector>

namespace emulator {

// No number, and no colour that a test has: a frame's codes are words of any bits.
constexpr uint32_t POISON = 0xffa5c3e1;

struct Cell {
  uint32_t written = 0, writer = 0, read = 0, reader = 0;
};
constexpr uint32_t MANY = 0xffffffff;

struct Memory {
  std::vector<uint32_t> values;
  std::vector<Cell> cells;
  explicit Memory(size_t n) : values(n, POISON), cells(n) {}
  bool holds(const float *p) const {
    const uintptr_t at = (uintptr_t)p, start = (uintptr_t)values.data();
    return at >= start && at < start + values.size() * 4;
  }
};

// What a fibre waits for: all threads of its block, or of its warp.
enum Wait { RUNS, BLOCK, WARP };
constexpr int LANES = 32;

struct Fibre {
  ucontext_t context;
  jmp_buf place;
  std::vector<char> stack;
  bool started = false, done = false;
  Wait waits = RUNS;
  int products = 0;
};

inline std::map<uintptr_t, std::unique_ptr<Memory>> allocations;
inline Memory *last = nullptr;
inline std::unique_ptr<Memory> shared;
inline std::vector<std::unique_ptr<Fibre>> fibres;
inline std::function<void()> body;
inline jmp_buf home;
inline ucontext_t home_context;
inline uint32_t launch = 0, interval = 0;
inline int thread = 0, block_threads = 0;
inline bool fibred = false;
inline long long bx = 0, by = 0, grid_x = 1;
inline std::string fault, kernel;

inline void fail(const char *what) {
  if (!fault.empty()) return;
  fault = kernel + ": " + what + ", block " + std::to_string(bx) + "," + std::to_string(by) + " thread " + std::to_string(thread);
}

inline Memory *find(const float *p) {
  if (last && last->holds(p)) return last;
  auto next = allocations.upper_bound((uintptr_t)p);
  if (next == allocations.begin()) return nullptr;
  Memory *m = std::prev(next)->second.get();
  return m->holds(p) ? last = m : nullptr;
}

// `when` is the launch or barrier interval, `who` the thread in it.
inline float read(Memory &m, const float *p, uint32_t when, uint32_t who) {
  const size_t i = ((uintptr_t)p - (uintptr_t)m.values.data()) / 4;
  Cell &c = m.cells[i];
  if (c.written == when && c.writer != who) fail("a race: reads what another thread writes");
  c.reader = c.read == when && c.reader != who ? MANY : who;
  c.read = when;
  if (m.values[i] == POISON) fail("reads what nobody wrote");
  float v;
  memcpy(&v, &m.values[i], 4);
  return v;
}
inline void write(Memory &m, float *p, float v, uint32_t when, uint32_t who) {
  const size_t i = ((uintptr_t)p - (uintptr_t)m.values.data()) / 4;
  Cell &c = m.cells[i];
  if (c.written == when && c.writer != who) fail("a race: two threads write one value");
  if (c.read == when && c.reader != who) fail("a race: writes what another thread reads");
  c.written = when;
  c.writer = who;
  memcpy(&m.values[i], &v, 4);
}
inline uint32_t who() { return (uint32_t)((by * grid_x + bx) * block_threads + thread); }

inline void leave() {
  if (!_setjmp(fibres[thread]->place)) _longjmp(home, 1);
}
inline void entry() {
  for (;;) {
    body();
    fibres[thread]->done = true;
    leave();
  }
}
inline void enter(int t) {
  thread = t;
  Fibre &f = *fibres[t];
  if (_setjmp(home)) return;
  if (f.started) _longjmp(f.place, 1);
  f.started = true;
  setcontext(&f.context);
}

inline void run_block() {
  while ((int)fibres.size() < block_threads) {
    auto f = std::make_unique<Fibre>();
    f->stack.resize(64 << 10);
    getcontext(&f->context);
    f->context.uc_stack.ss_sp = f->stack.data();
    f->context.uc_stack.ss_size = f->stack.size();
    f->context.uc_link = nullptr;
    makecontext(&f->context, entry, 0);
    fibres.push_back(std::move(f));
  }
  for (int t = 0; t < block_threads; t++) {
    fibres[t]->done = false;
    fibres[t]->waits = RUNS;
  }
  for (;;) {
    int done = 0, waits = 0;
    // Backwards every other time: an order that nobody promised must not matter.
    for (int k = 0; k < block_threads; k++) {
      const int t = interval & 1 ? block_threads - 1 - k : k;
      if (!fibres[t]->done && !fibres[t]->waits) enter(t);
    }
    bool together = false;
    for (int first = 0; first < block_threads; first += LANES) {
      int lanes = 0;
      for (int t = first; t < first + LANES && t < block_threads; t++) lanes += fibres[t]->waits == WARP;
      if (lanes != LANES) continue;
      for (int t = first; t < first + LANES; t++) fibres[t]->waits = RUNS;
      together = true;
    }
    if (together) continue;
    for (int t = 0; t < block_threads; t++) done += fibres[t]->done, waits += fibres[t]->waits == BLOCK;
    if (done == block_threads) return;
    if (waits != block_threads) {
      fail("a barrier, or a product of a warp, that not all threads reach");
      // Their stacks are in the middle of the kernel: never used again.
      fibres.clear();
      return;
    }
    interval++;
    for (int t = 0; t < block_threads; t++) fibres[t]->waits = RUNS;
  }
}

// Runs one launch; what went wrong, or nothing.
inline std::string run(const std::string &name, bool barriers, unsigned gx, unsigned gy, unsigned threads, size_t bytes,
                       std::function<void()> kernel_body) {
  kernel = name;
  fault.clear();
  body = std::move(kernel_body);
  launch++;
  block_threads = (int)threads;
  grid_x = gx;
  fibred = barriers;
  for (by = 0; by < gy && fault.empty(); by++)
    for (bx = 0; bx < gx && fault.empty(); bx++) {
      interval++;
      shared = std::make_unique<Memory>(bytes / 4);
      if (fibred)
        run_block();
      else
        for (thread = 0; thread < block_threads; thread++) body();
    }
  return fault;
}

}  // namespace emulator

#define KERNEL static void
#define INLINE static inline
#define INLINE_MEMBER inline
#define HAS_MMA 1
#define LOWEST (-INFINITY)
INLINE int thread_id() { return emulator::thread; }
INLINE int threads() { return emulator::block_threads; }
INLINE Index block_x() { return emulator::bx; }
INLINE Index block_y() { return emulator::by; }
INLINE void barrier() {
  if (!emulator::fibred) return emulator::fail("a barrier in a kernel that is listed without");
  emulator::fibres[emulator::thread]->waits = emulator::BLOCK;
  emulator::leave();
}
INLINE float *shared_memory() { return (float *)emulator::shared->values.data(); }
INLINE float load(const float *p, Index i) {
  emulator::Memory *m = emulator::find(p + i);
  if (m) return emulator::read(*m, p + i, emulator::launch, emulator::who());
  emulator::fail("reads outside of every allocation");
  return NAN;
}
INLINE void store(float *p, Index i, float v) {
  emulator::Memory *m = emulator::find(p + i);
  if (m) return emulator::write(*m, p + i, v, emulator::launch, emulator::who());
  emulator::fail("writes outside of every allocation");
}
INLINE float shared_load(const float *p, Index i) {
  if (emulator::shared->holds(p + i)) return emulator::read(*emulator::shared, p + i, emulator::interval, emulator::thread);
  emulator::fail("reads outside of shared memory");
  return NAN;
}
INLINE void shared_store(float *p, Index i, float v) {
  if (emulator::shared->holds(p + i))
    return emulator::write(*emulator::shared, p + i, v, emulator::interval, emulator::thread);
  emulator::fail("writes outside of shared memory");
}

INLINE bool by_four(const float *p, Index i) {
  if ((uintptr_t)(p + i) % 16 == 0) return true;
  emulator::fail("four values that do not begin at a multiple of four");
  return false;
}
INLINE Four load4(const float *p, Index i) {
  by_four(p, i);
  return {{load(p, i), load(p, i + 1), load(p, i + 2), load(p, i + 3)}};
}
INLINE Four shared_load4(const float *p, Index i) {
  by_four(p, i);
  return {{shared_load(p, i), shared_load(p, i + 1), shared_load(p, i + 2), shared_load(p, i + 3)}};
}
INLINE void shared_store4(float *p, Index i, const Four &f) {
  by_four(p, i);
  for (int k = 0; k < 4; k++) shared_store(p, i + k, f.v[k]);
}
INLINE float as_float(unsigned v) {
  float f;
  return memcpy(&f, &v, 4), f;
}
INLINE unsigned as_bits(float v) {
  unsigned bits;
  return memcpy(&bits, &v, 4), bits;
}
INLINE void store_word(float *p, Index i, unsigned v) { store(p, i, as_float(v)); }
INLINE void mark(float *p, Index i) {
  emulator::Memory *m = emulator::find(p + i);
  if (!m) return emulator::fail("marks outside of every allocation");
  const float one = 1.f;
  memcpy((void *)(p + i), &one, 4);
}
// What is no number comes out as one pattern, as on the device: bits that are no numbers must not be calculated with.
INLINE float result(float v) { return v != v ? as_float(0x7fffffff) : v; }
INLINE float times(float a, float b) { return result(a * b); }
INLINE float plus(float a, float b) { return result(a + b); }
INLINE double times(double a, double b) { return a * b; }
INLINE double plus(double a, double b) { return a + b; }

// To the nearest, ties to even, as the device rounds.
INLINE unsigned brain_bits(float v) {
  const unsigned bits = as_bits(v);
  return v != v ? 0x7fff : (bits + 0x7fff + (bits >> 16 & 1)) >> 16;
}
INLINE unsigned half_bits(float v) {
  const unsigned bits = as_bits(v), sign = bits >> 16 & 0x8000, size = bits & 0x7fffffff;
  if (v != v) return 0x7fff;
  if (size >= 0x477ff000) return sign | 0x7c00;
  if (size < 0x38800000) return sign | (unsigned)nearbyintf(as_float(size) * 16777216.f);
  return sign | (size - 0x38000000 + 0xfff + (size >> 13 & 1)) >> 13;
}
INLINE float of_half(unsigned bits) {
  const float sign = bits & 0x8000 ? -1.f : 1.f;
  const int power = bits >> 10 & 31, rest = bits & 0x3ff;
  if (power == 31) return rest ? NAN : sign * INFINITY;
  return sign * (power ? ldexpf((float)(rest + 1024), power - 25) : ldexpf((float)rest, -24));
}
template <bool BRAIN> INLINE unsigned two_halves(float low, float high) {
  return BRAIN ? brain_bits(low) | brain_bits(high) << 16 : half_bits(low) | half_bits(high) << 16;
}

namespace emulator {
// What each lane brings to a product; twice, for one lane may be a product ahead of another.
struct Lane {
  float a[8], b[4];
};
inline Lane lanes[2][1024];
}  // namespace emulator

template <bool BRAIN> INLINE void mma(float *sum, const unsigned *a, const unsigned *b) {
  using namespace emulator;
  if (!fibred) return fail("a product in a kernel that is listed without");
  Fibre &fibre = *fibres[thread];
  Lane *all = lanes[fibre.products++ & 1], &own = all[thread];
  auto value = [](unsigned bits) { return BRAIN ? as_float((bits & 0xffff) << 16) : of_half(bits & 0xffff); };
  for (int r = 0; r < 4; r++) own.a[2 * r] = value(a[r]), own.a[2 * r + 1] = value(a[r] >> 16);
  for (int r = 0; r < 2; r++) own.b[2 * r] = value(b[r]), own.b[2 * r + 1] = value(b[r] >> 16);
  fibre.waits = WARP;
  leave();
  const int first = thread / LANES * LANES, group = thread % LANES / 4, pair = thread % 4;
  for (int r = 0; r < 4; r++) {
    const int row = group + r / 2 * 8, column = 2 * pair + r % 2;
    for (int k = 0; k < 16; k++) {
      const float left = all[first + row % 8 * 4 + k % 8 / 2].a[(row / 8 + k / 8 * 2) * 2 + k % 2];
      sum[r] += left * all[first + column * 4 + k % 8 / 2].b[k / 8 * 2 + k % 2];
    }
  }
}
