/* What compilers call on their own account. Hidden, so that no other library's is bound to it; the empty asm keeps a
   loop from being taken for the function that it implements. */

#if !defined PART || PART == 0
__attribute__((visibility("hidden"), used)) void *memset(void *to, int value, __SIZE_TYPE__ count) {
  typedef word word_anywhere __attribute__((may_alias, aligned(1)));
  unsigned char *byte = to, *end = byte + count;
  word words = (unsigned char)value * 0x0101010101010101u;
  for (; end - byte >= 8; byte += 8) {
    *(word_anywhere *)byte = words;
    __asm__ volatile("" ::: "memory");
  }
  for (; byte < end; byte++) {
    *byte = (unsigned char)value;
    __asm__ volatile("" ::: "memory");
  }
  return to;
}

__attribute__((visibility("hidden"), used)) void *memmove(void *to, const void *from, __SIZE_TYPE__ count) {
  unsigned char *target = to;
  const unsigned char *source = from;
  for (__SIZE_TYPE__ i = 0; i < count; i++) {
    __SIZE_TYPE__ at = target < source ? i : count - 1 - i; /* overlapping parts are read before they are written */
    target[at] = source[at];
    __asm__ volatile("" ::: "memory");
  }
  return to;
}

__attribute__((visibility("hidden"), used)) void *memcpy(void *to, const void *from, __SIZE_TYPE__ count) {
  typedef word word_anywhere __attribute__((may_alias, aligned(1)));
  unsigned char *target = to;
  const unsigned char *source = from;
  for (; count >= 8; count -= 8, target += 8, source += 8) {
    *(word_anywhere *)target = *(const word_anywhere *)source;
    __asm__ volatile("" ::: "memory");
  }
  for (; count; count--) {
    *target++ = *source++;
    __asm__ volatile("" ::: "memory");
  }
  return to;
}
#endif
