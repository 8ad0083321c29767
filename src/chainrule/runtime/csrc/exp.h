/* exp, expm1, sigmoid and tanh, without branches. Errors over all floats, in units in the last place (a test measures
   them): exp ≤ 1.1, expm1 ≤ 1.6, sigmoid ≤ 1.7, tanh ≤ 1.2.

   e^r − 1 = r + r²·q(r) for |r| ≤ log(2)/2; q is a minimax fit of degree 4, wrong by at most 0.12 units in the last
   place of e^r − 1. */

#define LOG2E 0x1.715476p+0f
#define LOG2 0x1.62e430p-1f
#define LOG2_HIGH 0x1.62e4p-1f
#define LOG2_LOW 0x1.7f7d1cp-20f
#define SHIFT 0x1.8p+23f /* adding it rounds to an integer, which stands in the low bits */

/* x = n·log(2) + result; the low bits of *n hold the integer n. */
INLINE vec reduced(vec x, vec *n) {
  *n = mac(x, splat(LOG2E), splat(SHIFT));
  vec whole = *n - SHIFT, r = mac(whole, splat(-LOG2_HIGH), x);
  return mac(whole, splat(-LOG2_LOW), r);
}

INLINE vec exp_fit(vec r) { /* q */
  vec q = mac(splat(0x1.6d722cp-10f), r, splat(0x1.122680p-7f));
  q = mac(q, r, splat(0x1.5554c8p-5f));
  q = mac(q, r, splat(0x1.5554b2p-3f));
  return mac(q, r, splat(0.5f));
}

/* e^x = 2^n·(1 + result). */
INLINE vec reduced_exp(vec x, vec *n) {
  vec r = reduced(x, n);
  return mac(r * r, exp_fit(r), r);
}

/* 2^n for n from −126 to 127; of n only the low bits count. */
INLINE vec power_of_two(ints n) { return (vec)((n + 127) << 23); }

/* x within bounds; NaN stays. */
INLINE vec between(vec x, real low, real high) { return smaller(splat(high), larger(splat(low), x)); }

/* y·2^n. 2^n is the product of two factors, so that one rounding leads to infinity or to a denormal number; AVX-512 has
   an instruction for this. */
INLINE vec scaled(vec y, vec n) {
#if defined(BUILTIN) && LANES == 16
  return (vec)__builtin_ia32_scalefps512_mask(y, n - SHIFT, y, LOWEST_BITS(16), 4);
#else
  ints whole = (ints)n - (ints)splat(SHIFT), half = whole >> 1;
  return y * power_of_two(half) * power_of_two(whole - half);
#endif
}

INLINE vec exp_(vec x) {
  vec n, y = 1 + reduced_exp(between(x, -105, 90), &n);
  return scaled(y, n);
}

/* 2^n·(e^r − 1) + (2^n − 1), made at half its size so that 2^n does not overflow. */
INLINE vec expm1_(vec x) {
  vec n, y = reduced_exp(between(x, -20, 89), &n);
  vec half = power_of_two((ints)n - 1);
  y = mac(y, half, half - 0.5f);
  return select(x == 0, x, y + y);
}

/* e^x/(e^x + 1) with e^x = 2^n·e^r is p/(p + 1 + (e^−r − 1)) with p = 2^n. Of p what is a multiple of ½ goes to the 1,
   which is exact, and what is left to −r: where the sum is near 1 it is rounded once. Beyond 18 all is 1. */
#define HALVES 0x1.8p+22f /* adding it rounds to a multiple of ½ */
INLINE vec sigmoid_(vec x) {
  vec n, r = reduced(between(x, -105, 18), &n), p = scaled(splat(1), n);
  vec high = p + HALVES - HALVES, low = p - high;
  return p / (1 + high + mac(r * r, exp_fit(-r), low - r));
}

/* Below 5/8, x − x³/d(x²) with a minimax fit d of degree 2, wrong by at most 0.1 units; above, 1 − 2/(e^2|x| + 1), which
   is 1 − 2p/(1 + p + (e^r − 1)) with p = 2^−n, and there no more of log(2) is needed than a float holds. One division
   does for both, and the sign of x comes last. */
INLINE vec tanh_(vec x) {
  vec size = abs_(x), square = x * x, twice = smaller(splat(40), size + size);
  vec n = mac(twice, splat(LOG2E), splat(SHIFT)), r = mac(n - SHIFT, splat(-LOG2), twice);
  vec p = power_of_two(-(ints)n), y = mac(r * r, exp_fit(r), r);
  vec d = mac(mac(splat(-0x1.6a5590p-8f), square, splat(0x1.33307cp+0f)), square, splat(0x1.800016p+1f));
  mask small = size < 0.625f;
  vec from = select(small, size, splat(1)), above = select(small, size * square, p + p);
  return (vec)((ints)(from - above / select(small, d, 1 + p + y)) | ((ints)x & SIGN));
}

INLINE real exp_1(real x) { return exp_(splat(x))[0]; }
INLINE real expm1_1(real x) { return expm1_(splat(x))[0]; }
INLINE real sigmoid_1(real x) { return sigmoid_(splat(x))[0]; }
INLINE real tanh_1(real x) { return tanh_(splat(x))[0]; }
