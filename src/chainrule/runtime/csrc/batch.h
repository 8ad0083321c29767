/* A batch into blocks and out of them. A block has WIDTH samples; in it component f of sample s is at f·WIDTH + s. */

#define EVERY_SAMPLE _Pragma("GCC unroll 16") for (int s = 0; s < WIDTH; s++)
#define FEW 4 /* so many are quicker one by one */
/* row[s] is where sample s of a block lies: row `which` of what is given, in entries of `size`. Of a block with fewer
   samples than lanes the last one is repeated. */
#define ROWS(row, given, size, live, which)                               \
  do {                                                                    \
    const long there = (live);                                            \
    if (there >= WIDTH) {                                                 \
      EVERY_SAMPLE row[s] = (given) + (which) * (size);                   \
    } else {                                                              \
      for (int lane = 0, s = 0; lane < WIDTH; lane++, s += s < there - 1) \
        row[lane] = (given) + (which) * (size);                           \
    }                                                                     \
  } while (0)
#if WIDTH > 1
/* Components first … first + count − 1 of a block's samples, from rows that begin at row[s]. */
static void __attribute__((unused)) take(real *to, const real *const row[], long first, long count) {
  long f = 0;
  for (; f + WIDTH <= count; f += WIDTH) {
    vec part[WIDTH];
    EVERY_SAMPLE part[s] = load(row[s] + first + f);
    transpose(part);
    EVERY_SAMPLE store(to + (f + s) * WIDTH, part[s]);
  }
  if (f + FEW < count) {
    vec part[WIDTH];
    EVERY_SAMPLE part[s] = load_part(row[s] + first + f, count - f);
    transpose(part);
    EVERY_SAMPLE if (f + s < count) store(to + (f + s) * WIDTH, part[s]);
    return;
  }
  for (; f < count; f++)
    for (int s = 0; s < WIDTH; s++) to[f * WIDTH + s] = row[s][first + f];
}
/* The same components of the first `live` samples, into rows that are `apart` entries apart. */
static void __attribute__((unused)) give(real *to, long apart, const real *from, long count, long live) {
  long f = 0;
  for (; f + WIDTH <= count; f += WIDTH) {
    vec part[WIDTH];
    EVERY_SAMPLE part[s] = load(from + (f + s) * WIDTH);
    transpose(part);
    if (live >= WIDTH) {
      EVERY_SAMPLE store(to + s * apart + f, part[s]);
    } else {
      for (int s = 0; s < live; s++) store(to + s * apart + f, part[s]);
    }
  }
  if (f + FEW < count) {
    vec part[WIDTH];
    EVERY_SAMPLE part[s] = f + s < count ? load(from + (f + s) * WIDTH) : splat(0);
    transpose(part);
    for (int s = 0; s < WIDTH && s < live; s++) store_part(to + s * apart + f, part[s], count - f);
    return;
  }
  for (; f < count; f++)
    for (int s = 0; s < WIDTH && s < live; s++) to[s * apart + f] = from[f * WIDTH + s];
}
#else
static void __attribute__((unused)) take(real *to, const real *const row[], long first, long count) {
  for (long f = 0; f < count; f++) to[f] = row[0][first + f];
}
static void __attribute__((unused)) give(real *to, long apart, const real *from, long count, long live) {
  for (long f = 0; f < count && live > 0; f++) to[f] = from[f];
}
#endif
static void __attribute__((unused)) take_ints(whole *to, const whole *const row[], long first, long count) {
  for (long f = 0; f < count; f++)
    for (int s = 0; s < WIDTH; s++) to[f * WIDTH + s] = row[s][first + f];
}
INLINE void copy(real *to, const real *from, long count) {
  const long full = count - count % LANES;
  for (long f = 0; f < full; f += LANES) store(to + f, load(from + f));
  if (full < count) store_part(to + full, load_part(from + full, count - full), count - full);
}

/* Bring to the cache what is read soon: memory answers while other work is done. */
INLINE void prefetch(const void *from) { __builtin_prefetch(from, 0, 2); }
INLINE void fetch(const void *from, long bytes) {
  for (long at = 0; at < bytes; at += 64) prefetch((const char *)from + at);
  prefetch((const char *)from + bytes - 1); /* it may begin within a line */
}

/* The numbers 0 … count − 1 in an order made of random words, as `shuffled` in train/shuffle.py makes it. */
#if !defined PART || PART == 0
__attribute__((visibility("default"))) void chainrule_shuffle(long *order, const word *words, long count) {
  word rest = 0;
  for (long i = 0; i < count; i++) {
    const unsigned __int128 product = (unsigned __int128)(i & 1 ? rest : *words++) * (word)(i + 1);
    const long j = (long)(product >> 64);
    rest = (word)product, order[i] = order[j], order[j] = i;
  }
}
#endif

/* A worker's share of `count` positions, in whole units but for the last. */
INLINE void share(long count, long unit, long worker, long workers, long *from, long *to) {
  const long units = (count + unit - 1) / unit;
  *from = units * worker / workers * unit;
  *to = units * (worker + 1) / workers * unit;
  if (*to > count) *to = count;
}


/* Where time goes: with PROFILED, ticks[n] grows by the ticks from the mark before to mark n. */
#ifdef PROFILED
#if defined(__x86_64__)
#define TICKS __builtin_ia32_rdtsc()
#else
INLINE word ticks_now(void) { word t; __asm__ volatile("mrs %0, cntvct_el0" : "=r"(t)); return t; }
#define TICKS ticks_now()
#endif
#if !defined PART || PART == 0
__attribute__((visibility("default"))) word chainrule_ticks(void) { return TICKS; }
#endif
#define MARKS(table) word *const ticks = worker ? 0 : (word *)(table); word before = TICKS
#define MARK(n) do { const word now = TICKS; if (ticks) ticks[n] += now - before; before = now; } while (0)
#else
#define MARKS(table)
#define MARK(n)
#endif
