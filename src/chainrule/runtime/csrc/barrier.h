/* Workers that meet: threads that Python sends into one call. `steps` and `stop` are for Python to read and to set
   while they run. */

typedef struct {
  int workers, leaving; /* how many meet; whether they were told to leave when they last met */
  char apart[56];       /* what is written often has a cache line of its own */
  int arrived;
  char from[60];
  int phase; /* how often they have met */
  char each[60];
  long long steps;
  int stop;
  char other[52];
} team;

INLINE void pause_a_little(void) {
#if defined(__x86_64__) || defined(__i386__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  __asm__ volatile("yield" ::: "memory");
#else
  __asm__ volatile("" ::: "memory");
#endif
}

/* Let another thread run: sched_yield, called without libc. */
INLINE void yield_to_others(void) {
#if defined(__linux__) && defined(__x86_64__)
  long result;
  __asm__ volatile("syscall" : "=a"(result) : "a"(24L) : "rcx", "r11", "memory");
#elif defined(__linux__) && defined(__aarch64__)
  register long result __asm__("x0");
  register long call __asm__("x8") = 124;
  __asm__ volatile("svc #0" : "=r"(result) : "r"(call) : "memory");
#else
  pause_a_little();
#endif
}

/* Wait until every worker is here. What each has written the others then see. Returns, the same to all, whether they
   are to leave: `stop` is read once, by the last to come. */
static int __attribute__((unused)) meet(team *t) {
  int phase = __atomic_load_n(&t->phase, __ATOMIC_RELAXED);
  if (__atomic_add_fetch(&t->arrived, 1, __ATOMIC_ACQ_REL) == t->workers) {
    t->leaving = __atomic_load_n(&t->stop, __ATOMIC_RELAXED);
    __atomic_store_n(&t->arrived, 0, __ATOMIC_RELAXED);
    __atomic_store_n(&t->phase, phase + 1, __ATOMIC_RELEASE);
  } else {
    for (int turn = 0; __atomic_load_n(&t->phase, __ATOMIC_ACQUIRE) == phase; turn++)
      if (turn < 2000)
        pause_a_little();
      else
        yield_to_others(), turn = 2000;
  }
  return t->leaving;
}

/* For one worker: count a step, or ask all to leave where they next meet. */
INLINE void count_step(team *t) { __atomic_store_n(&t->steps, t->steps + 1, __ATOMIC_RELAXED); }
INLINE void ask_to_leave(team *t) { __atomic_store_n(&t->stop, 1, __ATOMIC_RELAXED); }
