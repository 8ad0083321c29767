/* Workers that meet: threads that Python sends into one call. Python sets `stop` when one of them will never come. */

typedef struct {
  int workers;
  char apart[60]; /* what is written often has a cache line of its own */
  int arrived;
  char from[60];
  int phase; /* how often they have met */
  char each[60];
  int stop;
  char other[60];
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

INLINE int waits(team *t, int phase) { return __atomic_load_n(&t->phase, __ATOMIC_ACQUIRE) == phase; }

/* Wait until every worker is here. What each has written the others then see. Returns 1 to who is to leave, since one
   will never come: where all have, `stop` is set behind that, and does not count. */
static int __attribute__((unused)) meet(team *t) {
  if (t->workers == 1) return 0;
  int phase = __atomic_load_n(&t->phase, __ATOMIC_RELAXED);
  if (__atomic_add_fetch(&t->arrived, 1, __ATOMIC_ACQ_REL) == t->workers) {
    __atomic_store_n(&t->arrived, 0, __ATOMIC_RELAXED);
    __atomic_store_n(&t->phase, phase + 1, __ATOMIC_RELEASE);
    return 0;
  }
  for (int turn = 0; waits(t, phase); turn++)
    if (turn < 2000) {
      pause_a_little();
    } else {
      yield_to_others();
      turn = 2000;
      if (__atomic_load_n(&t->stop, __ATOMIC_ACQUIRE) && waits(t, phase)) return 1;
    }
  return 0;
}
