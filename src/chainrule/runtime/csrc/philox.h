/* Random numbers by counter: Philox4x64-10 (Salmon et al., SC 2011), with NumPy's bits. Entry i of the tensor with this
   number among the program's random ones is made of word i mod 4 at the key (seed, tensor) and the counter
   (1 + i div 4, 0, step, 0). */

INLINE word multiply_words(word a, word b, word *high) {
#ifdef __SIZEOF_INT128__
  unsigned __int128 product = (unsigned __int128)a * b;
  *high = (word)(product >> 64);
  return (word)product;
#else
  word low = (a & 0xffffffff) * (b & 0xffffffff), one = (a >> 32) * (b & 0xffffffff) + (low >> 32);
  word two = (a & 0xffffffff) * (b >> 32) + (one & 0xffffffff);
  *high = (a >> 32) * (b >> 32) + (one >> 32) + (two >> 32);
  return (two << 32) | (low & 0xffffffff);
#endif
}

INLINE void philox(word out[4], word seed, word tensor, word step, word block) {
  word a = block + 1, b = 0, c = step, d = 0;
  for (int round = 0; round < 10; round++) {
    word high_a, high_c, low_a = multiply_words(a, 0xD2E7470EE14C6C93u, &high_a);
    word low_c = multiply_words(c, 0xCA5A826395121157u, &high_c);
    a = high_c ^ b ^ seed, b = low_c, c = high_a ^ d ^ tensor, d = low_a;
    seed += 0x9E3779B97F4A7C15u, tensor += 0xBB67AE8584CAA73Bu;
  }
  out[0] = a, out[1] = b, out[2] = c, out[3] = d;
}

/* Entries start … start + count − 1, each made of its word w by the expression `entry`. */
#define DRAW(entry)                                                                   \
  word words[4];                                                                      \
  long i = start, end = start + count;                                                \
  while (i < end) {                                                                   \
    philox(words, seed, tensor, step, (word)i / 4);                                   \
    if (!(i & 3) && end - i >= 4) {                                                   \
      for (int n = 0; n < 4; n++) {                                                   \
        const word w = words[n];                                                      \
        to[n] = entry;                                                                \
      }                                                                               \
      i += 4, to += 4;                                                                \
    } else {                                                                          \
      const word w = words[i & 3];                                                    \
      *to = entry;                                                                    \
      i++, to++;                                                                      \
    }                                                                                 \
  }

/* A mask: 1 where word·2^-64, cut to 53 bits, is less than the probability. */
static void __attribute__((unused)) draw_mask(real *to, long start, long count, word seed, word tensor, word step,
                                              double probability) {
  const double scaled = probability * 0x1p+53;
  const word limit = (word)scaled + ((double)(word)scaled < scaled);
  DRAW((real)((long)(w >> 11) < (long)limit))
}

/* Numbers from 0 to 1: the word's first 24 bits. */
static void __attribute__((unused)) draw_uniform(real *to, long start, long count, word seed, word tensor, word step) {
  DRAW((real)(int)(w >> 40) * 0x1p-24f)
}
